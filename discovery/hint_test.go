package discovery

import (
	"net"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/miekg/dns"
)

var (
	lanHash = meshHash("lab")
	lan     = netInterface{
		index: 2, name: "eth0", flags: net.FlagUp | net.FlagMulticast,
		prefixes: []netip.Prefix{netip.MustParsePrefix("203.0.113.5/24"), netip.MustParsePrefix("fe80::5/64")},
	}
	loop = netInterface{
		index: 1, name: "lo", flags: net.FlagUp | net.FlagLoopback,
		prefixes: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/8"), netip.MustParsePrefix("::1/128")},
	}
)

func testZone(t testing.TB, instance uint64, txt []string, addrs ...string) *zone {
	t.Helper()
	var shared atomic.Pointer[[]string]
	shared.Store(&txt)
	ips := make([]netip.Addr, len(addrs))
	for i, a := range addrs {
		ips[i] = netip.MustParseAddr(a)
	}
	z, err := newZone(instance, 7000, ips, &shared)
	if err != nil {
		t.Fatal(err)
	}
	return z
}

// unpack reads a packet made by our own side.
func unpack(t testing.TB, b []byte, err error) *dns.Msg {
	t.Helper()
	var msg dns.Msg
	if err == nil {
		err = msg.Unpack(b)
	}
	if err != nil {
		t.Fatal(err)
	}
	return &msg
}

func announcement(t testing.TB, z *zone) *dns.Msg {
	t.Helper()
	b, err := response(z.all())
	return unpack(t, b, err)
}

func TestTXT(t *testing.T) {
	const hash = "0123456789abcdef"
	for name, c := range map[string]struct {
		txt   []string
		relay bool
		term  uint32
		ok    bool
	}{
		"ours":              {txt: makeTXT(hash, false, 9), ok: true},
		"relay":             {txt: makeTXT(hash, true, 9), relay: true, term: 9, ok: true},
		"key in capitals":   {txt: []string{"V=1", "MESH=" + hash}, ok: true},
		"unknown keys":      {txt: []string{"x", "=", "v=1", "y=z", "mesh=" + hash}, ok: true},
		"first one counts":  {txt: []string{"v=1", "v=2", "mesh=" + hash}, ok: true},
		"first one is bad":  {txt: []string{"v=2", "v=1", "mesh=" + hash}},
		"other version":     {txt: []string{"v=2", "mesh=" + hash}},
		"other mesh":        {txt: makeTXT("fedcba9876543210", true, 9)},
		"nothing":           {},
		"relay, no term":    {txt: []string{"v=1", "mesh=" + hash, "relay=1"}, relay: true},
		"term is no number": {txt: []string{"v=1", "mesh=" + hash, "relay=1", "term=-1"}, relay: true},
		"term too high":     {txt: []string{"v=1", "mesh=" + hash, "relay=1", "term=4294967296"}, relay: true},
		"term, no relay":    {txt: []string{"v=1", "mesh=" + hash, "term=7"}, ok: true},
	} {
		relay, term, ok := parseTXT(c.txt, hash)
		if ok != c.ok || ok && (relay != c.relay || term != c.term) {
			t.Errorf("%s: relay %v, term %d, ok %v", name, relay, term, ok)
		}
	}
}

func TestLabel(t *testing.T) {
	for s, want := range map[string]uint64{
		"00000000000000ff": 255, "FFFFFFFFFFFFFFFF": 1<<64 - 1,
		"0000000000000000": 0, "ff": 0, "+0000000000000ff": 0, "0x000000000000ff": 0, "00000000000000fg": 0,
	} {
		if got, ok := parseLabel(s); ok != (want != 0) || ok && got != want {
			t.Errorf("%q: %d, %v", s, got, ok)
		}
	}
}

func TestHints(t *testing.T) {
	addrs := func(all ...string) []netip.AddrPort {
		var ap []netip.AddrPort
		for _, a := range all {
			ap = append(ap, netip.AddrPortFrom(netip.MustParseAddr(a), 7000))
		}
		return ap
	}
	relay := makeTXT(lanHash, true, 3)
	for name, c := range map[string]struct {
		txt  []string
		at   []string
		via  netInterface
		edit func(*dns.Msg)
		want []hint
	}{
		"relay": {
			txt: relay, at: []string{"203.0.113.9", "fd00::9"}, via: lan,
			want: []hint{{instance: 9, addrs: addrs("203.0.113.9", "fd00::9"), relay: true, term: 3}},
		},
		"peer on loopback": {
			txt: makeTXT(lanHash, false, 0), at: []string{"127.0.0.1", "::1"}, via: loop,
			want: []hint{{instance: 9, addrs: addrs("127.0.0.1", "::1")}},
		},
		"link-local gets the zone it was heard on": {
			txt: relay, at: []string{"fe80::9"}, via: lan,
			want: []hint{{instance: 9, addrs: addrs("fe80::9%eth0"), relay: true, term: 3}},
		},
		"names in capitals": {
			txt: relay, at: []string{"203.0.113.9"}, via: lan,
			edit: func(m *dns.Msg) {
				for _, rr := range m.Answer {
					rr.Header().Name = strings.ToUpper(rr.Header().Name)
				}
			},
			want: []hint{{instance: 9, addrs: addrs("203.0.113.9"), relay: true, term: 3}},
		},
		"addresses among the additional records": {
			txt: relay, at: []string{"203.0.113.9"}, via: lan,
			edit: func(m *dns.Msg) { m.Extra, m.Answer = m.Answer[1:], m.Answer[:1] },
			want: []hint{{instance: 9, addrs: addrs("203.0.113.9"), relay: true, term: 3}},
		},
		"goodbye": {
			txt: relay, at: []string{"203.0.113.9"}, via: lan,
			edit: func(m *dns.Msg) { eachRecord(m, func(rr dns.RR) { rr.Header().Ttl = 0 }) },
			want: []hint{{instance: 9, gone: true}},
		},
		"goodbye of another mesh":        {txt: makeTXT("x", false, 0), at: []string{"203.0.113.9"}, via: lan, edit: func(m *dns.Msg) { m.Answer[0].Header().Ttl = 0 }},
		"another mesh":                   {txt: makeTXT("x", true, 3), at: []string{"203.0.113.9"}, via: lan},
		"no TXT":                         {txt: relay, at: []string{"203.0.113.9"}, via: lan, edit: without(dns.TypeTXT)},
		"no SRV":                         {txt: relay, at: []string{"203.0.113.9"}, via: lan, edit: without(dns.TypeSRV)},
		"no address":                     {txt: relay, at: []string{"203.0.113.9"}, via: lan, edit: without(dns.TypeA)},
		"port 0":                         {txt: relay, at: []string{"203.0.113.9"}, via: lan, edit: func(m *dns.Msg) { eachRecord(m, port0) }},
		"loopback heard on the LAN":      {txt: relay, at: []string{"127.0.0.1"}, via: lan},
		"the LAN heard on loopback":      {txt: relay, at: []string{"203.0.113.9"}, via: loop},
		"an address elsewhere":           {txt: relay, at: []string{"198.51.100.1", "2001:db8::1"}, via: lan},
		"addresses of nobody":            {txt: relay, at: []string{"0.0.0.0", "255.255.255.255", "224.0.0.251", "::", "ff02::fb"}, via: lan},
		"an address for another service": {txt: relay, at: []string{"203.0.113.9"}, via: lan, edit: func(m *dns.Msg) { eachRecord(m, otherService) }},
	} {
		t.Run(name, func(t *testing.T) {
			msg := announcement(t, testZone(t, 9, c.txt, c.at...))
			if c.edit != nil {
				c.edit(msg)
			}
			from := netip.MustParseAddr(c.at[0])
			if from.Is6() && from.IsLinkLocalUnicast() {
				from = from.WithZone(c.via.name)
			}
			for i := range c.want {
				c.want[i].from = from
			}
			if got := hintsIn(msg, lanHash, c.via, from); !reflect.DeepEqual(got, c.want) {
				t.Errorf("got %+v\nwant %+v", got, c.want)
			}
		})
	}
}

// Who speaks for another is not believed as much as who speaks for itself.
func TestHearsay(t *testing.T) {
	for _, c := range []struct {
		at, from string
		via      netInterface
		hearsay  bool
	}{
		{"203.0.113.9", "203.0.113.9", lan, false},
		{"203.0.113.9", "203.0.113.66", lan, true},
		{"203.0.113.9", "fe80::9%eth0", lan, true},
		{"fe80::9", "fe80::9%eth0", lan, false},
		{"fe80::9", "fe80::66%eth0", lan, true},
		{"127.0.0.1", "127.0.0.1", loop, false},
		{"::1", "127.0.0.1", loop, false},
	} {
		msg := announcement(t, testZone(t, 9, makeTXT(lanHash, true, 3), c.at))
		got := hintsIn(msg, lanHash, c.via, netip.MustParseAddr(c.from))
		if len(got) != 1 || got[0].hearsay != c.hearsay {
			t.Errorf("%s says that one is at %s: %+v", c.from, c.at, got)
		}
	}
}

func eachRecord(m *dns.Msg, edit func(dns.RR)) {
	for _, rr := range m.Answer {
		edit(rr)
	}
}

func without(rrtype uint16) func(*dns.Msg) {
	return func(m *dns.Msg) {
		m.Answer = slices.DeleteFunc(m.Answer, func(rr dns.RR) bool { return rr.Header().Rrtype == rrtype })
	}
}

func port0(rr dns.RR) {
	if srv, ok := rr.(*dns.SRV); ok {
		srv.Port = 0
	}
}

func otherService(rr dns.RR) {
	rr.Header().Name = strings.Replace(rr.Header().Name, "_ultrasockets", "_printer", 1)
}

// Whatever is on the network, what comes out keeps to the bounds.
func FuzzHints(f *testing.F) {
	for _, z := range []*zone{
		testZone(f, 9, makeTXT(lanHash, true, 3), "203.0.113.9", "fe80::9"),
		testZone(f, 8, makeTXT(lanHash, false, 0), "127.0.0.1"),
	} {
		b, _ := response(z.all())
		f.Add(b)
		b, _ = goodbye(z.all())
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var msg dns.Msg
		if msg.Unpack(b) != nil {
			return
		}
		for _, via := range []netInterface{lan, loop} {
			hints := hintsIn(&msg, lanHash, via, via.prefixes[0].Addr())
			if len(hints) > maxTold {
				t.Fatalf("%d hints", len(hints))
			}
			for _, h := range hints {
				if h.instance == 0 || len(h.addrs) > maxAddrs || h.gone != (len(h.addrs) == 0) {
					t.Fatalf("%+v", h)
				}
				for _, a := range h.addrs {
					if a.Port() == 0 || a.Addr().IsLoopback() != via.loopback() || a.Addr().Is4In6() {
						t.Fatalf("%v heard on %s", a, via.name)
					}
				}
			}
		}
		testZone(t, 9, makeTXT(lanHash, true, 3), "203.0.113.9").answers(&msg)
	})
}
