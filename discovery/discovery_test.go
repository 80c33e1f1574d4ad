package discovery

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/memberlist"
)

func TestBadConfig(t *testing.T) {
	good := Config{Mesh: "lab", Instance: 1, Meta: Meta{Name: "a"}, Port: 7000, NoMDNS: true}
	for name, edit := range map[string]func(*Config){
		"no mesh":       func(c *Config) { c.Mesh = "" },
		"long mesh":     func(c *Config) { c.Mesh = strings.Repeat("m", 65) },
		"no instance":   func(c *Config) { c.Instance = 0 },
		"no name":       func(c *Config) { c.Meta.Name = "" },
		"no port":       func(c *Config) { c.Port = 0 },
		"port too high": func(c *Config) { c.Port = 65536 },
		"bind to all":   func(c *Config) { c.Bind = "0.0.0.0" },
		"bind to name":  func(c *Config) { c.Bind = "localhost" },
		"short key":     func(c *Config) { c.Key = make([]byte, 16) },
		"empty key":     func(c *Config) { c.Key = []byte{} },
		"seed":          func(c *Config) { c.Seeds = []string{"10.0.0.1"} },
		"many seeds":    func(c *Config) { c.Seeds = make([]string, 65) },
	} {
		_, udp, err := listenUDP(t)
		if err != nil {
			t.Fatal(err)
		}
		c := good
		c.Packets = udp
		edit(&c)
		d, err := Start(c)
		if !errors.Is(err, ErrConfig) {
			t.Errorf("%s: %v", name, err)
		}
		if d != nil {
			_ = d.Close(0)
		}
		if err := udp.Close(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("%s: the socket was left open", name)
		}
	}
}

func listenUDP(t *testing.T) (netip.AddrPort, *net.UDPConn, error) {
	t.Helper()
	udp, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return netip.AddrPort{}, nil, err
	}
	return udp.LocalAddr().(*net.UDPAddr).AddrPort(), udp, nil
}

func TestListenPair(t *testing.T) {
	for _, addr := range []string{":0", "127.0.0.1:0", "localhost:0"} {
		tcp, udp, err := ListenPair(t.Context(), new(net.ListenConfig), addr)
		if err != nil {
			t.Errorf("%s: %v", addr, err)
			continue
		}
		a, b := tcp.Addr().(*net.TCPAddr), udp.LocalAddr().(*net.UDPAddr)
		if a.Port != b.Port || a.Port == 0 || !a.IP.Equal(b.IP) {
			t.Errorf("%s: %v and %v", addr, a, b)
		}
		if _, _, err := ListenPair(t.Context(), new(net.ListenConfig), a.String()); err == nil {
			t.Errorf("%s was given twice", a)
		}
		_, _ = tcp.Close(), udp.Close()
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, addr := range []string{"127.0.0.1", "127.0.0.1:x"} {
		if _, _, err := ListenPair(ctx, new(net.ListenConfig), addr); err == nil {
			t.Errorf("listened on %q", addr)
		}
	}
}

// The whole way by mDNS alone: found, a member, seen to change, seen to die.
func TestFoundByMDNS(t *testing.T) {
	t.Parallel()
	needMDNS(t)
	a := startPeer(t, 1, Config{Beacon: true, Meta: Meta{Name: "a", Relay: true, Term: 7}}, nil)
	began := time.Now()
	b := startPeer(t, 2, Config{Beacon: true}, nil)
	b.await(t, "a first sight of the relay", func(n []Node) bool { return len(n) == 1 && n[0].Meta.Relay && n[0].Meta.Term == 7 })
	t.Logf("the relay is seen after %v", time.Since(began))
	b.await(t, "it as a member", in(Alive, a))
	t.Logf("and a member after %v", time.Since(began))
	a.await(t, "the other as a member", in(Alive, b))
	c := startPeer(t, 3, Config{Beacon: true}, nil)
	c.await(t, "both", in(Alive, a, b))

	b.stop(t, 0)
	t.Logf("a crash is noticed after %v", a.await(t, "the crash", in(Gone, b)))
	c.await(t, "the crash", in(Gone, b))
	began = time.Now()
	c.stop(t, within)
	a.await(t, "the leave", in(Gone, c))
	t.Logf("a leave is noticed after %v", time.Since(began))
}

// Without gossip, what mDNS tells is all, and it is told at once when it changes.
func TestBrowseOnly(t *testing.T) {
	t.Parallel()
	needMDNS(t)
	a := startPeer(t, 1, Config{Beacon: true, Meta: Meta{Name: "a"}}, nil)
	cfg := Config{Mesh: meshHash(t.Name()) + label(process), Instance: id(2), Meta: Meta{Name: "watcher"}, Bind: "127.0.0.1"}
	d, err := Start(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close(0)
	w := &peer{Discovery: d, instance: id(2)}
	w.await(t, "a hint", in(Hint, a))
	a.SetMeta(Meta{Name: "a", Relay: true, Term: 2})
	took := w.await(t, "the new relay", says(a, Meta{Relay: true, Term: 2}))
	t.Logf("the change is seen after %v", took)
	if addrs := w.Addrs(); len(addrs) != 0 {
		t.Errorf("a node without a port can be dialled at %v", addrs)
	}
	w.Browse()
	w.SetMeta(Meta{Name: "watcher", Term: 1})
	w.Hint(a.addr)
	a.stop(t, 0)
	w.await(t, "the goodbye", func(n []Node) bool { return len(n) == 0 })

	ours, theirs := net.Pipe()
	w.HandleStream(ours)
	if _, err := theirs.Read(make([]byte, 1)); err == nil {
		t.Error("a stream was kept without gossip")
	}
}

func TestSeeds(t *testing.T) {
	t.Parallel()
	a := startPeer(t, 1, Config{NoMDNS: true}, nil)
	b := startPeer(t, 2, Config{NoMDNS: true, Seeds: []string{a.addr.String()}}, nil)
	c := startPeer(t, 3, Config{NoMDNS: true, Seeds: []string{b.addr.String(), "127.0.0.1:1"}}, nil)
	for _, p := range []*peer{a, b, c} {
		for _, q := range []*peer{a, b, c} {
			if p != q {
				p.await(t, "all", in(Alive, q))
			}
		}
	}
	want := Meta{Name: "node-2", Role: RoleServer, Relay: true, Term: 5}
	b.SetMeta(want)
	a.await(t, "the new meta", says(b, want))
	c.await(t, "the new meta", says(b, want))
	b.SetMeta(Meta{}) // cannot be told
	for _, n := range a.Nodes() {
		if len(n.Addrs) != 1 || n.Instance == a.instance || n.Seen.IsZero() {
			t.Errorf("%+v", n)
		}
	}
	if got := a.Addrs(); len(got) != 1 || got[0] != a.addr {
		t.Errorf("own addresses %v", got)
	}
}

func TestSeedThatComesLater(t *testing.T) {
	t.Parallel()
	addr, reserved, err := listenUDP(t)
	if err != nil {
		t.Fatal(err)
	}
	a := startPeer(t, 1, Config{NoMDNS: true, Seeds: []string{addr.String()}}, nil)
	probe, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(addr))
	if err != nil {
		t.Skipf("the port was taken meanwhile: %v", err)
	}
	if err := probe.SetDeadline(time.Now().Add(within)); err != nil {
		t.Fatal(err)
	}
	conn, err := probe.Accept()
	if err != nil {
		t.Fatalf("the seed was not tried: %v", err)
	}
	_, _, _ = conn.Close(), probe.Close(), reserved.Close() // and that attempt failed
	tcp, udp, err := ListenPair(t.Context(), new(net.ListenConfig), addr.String())
	if err != nil {
		t.Skipf("the port was taken meanwhile: %v", err)
	}
	defer tcp.Close()
	b, err := Start(Config{
		Mesh: meshHash(t.Name()) + label(process), Instance: id(2), Meta: Meta{Name: "late"},
		Bind: "127.0.0.1", Port: int(addr.Port()), Packets: udp, NoMDNS: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close(0)
	var accepts sync.WaitGroup
	accepts.Go(func() {
		if conn, err := tcp.Accept(); err == nil {
			b.HandleStream(conn)
		}
	})
	a.await(t, "the seed", in(Alive, &peer{instance: id(2)}))
	accepts.Wait()
}

func TestHintJoins(t *testing.T) {
	t.Parallel()
	a := startPeer(t, 1, Config{NoMDNS: true}, nil)
	b := startPeer(t, 2, Config{NoMDNS: true}, nil)
	b.Hint(a.addr, b.addr)
	a.await(t, "the other", in(Alive, b))
	b.await(t, "the other", in(Alive, a))
}

// Nodes that differ in mesh or key meet, and stay strangers. That nothing happens is waited for as long as it takes
// another node, started later, to be found.
func TestStrangers(t *testing.T) {
	t.Parallel()
	key := bytes.Repeat([]byte{7}, 32)
	for name, c := range map[string]struct{ one, other Config }{
		"other mesh":   {Config{Mesh: "one" + label(process)}, Config{Mesh: "other" + label(process)}},
		"other key":    {Config{Mesh: "k" + label(process), Key: key}, Config{Mesh: "k" + label(process), Key: make([]byte, 32)}},
		"no key there": {Config{Mesh: "n" + label(process), Key: key}, Config{Mesh: "n" + label(process)}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c.one.Beacon, c.other.Beacon = true, true
			a := startPeer(t, 1, c.one, nil)
			c.other.Seeds = []string{a.addr.String()}
			b := startPeer(t, 2, c.other, nil)
			friend := c.one
			friend.Seeds = []string{b.addr.String(), a.addr.String()}
			d := startPeer(t, 3, friend, nil)
			a.await(t, "its friend", in(Alive, d))
			d.await(t, "its friend", in(Alive, a))
			for _, p := range []*peer{a, d} {
				if in(Alive, b)(p.Nodes()) {
					t.Errorf("took in a stranger: %+v", p.Nodes())
				}
			}
			for _, n := range b.Nodes() {
				if n.State != Hint || c.one.Mesh != c.other.Mesh {
					t.Errorf("the stranger knows %+v", n)
				}
			}
		})
	}
}

func TestBeaconOff(t *testing.T) {
	t.Parallel()
	needMDNS(t)
	a := startPeer(t, 1, Config{Beacon: true}, nil)
	b := startPeer(t, 2, Config{Beacon: false}, nil)
	b.await(t, "the other", in(Alive, a))
	for _, n := range a.Nodes() {
		if n.State == Hint {
			t.Errorf("%+v was found by mDNS", n)
		}
	}
}

// Both sides of a partition give each other up, and become one again by themselves.
func TestPartitionHeals(t *testing.T) {
	t.Parallel()
	var cut cable
	a := startPeer(t, 1, Config{NoMDNS: true}, &cut)
	b := startPeer(t, 2, Config{NoMDNS: true}, &cut)
	a.Hint(b.addr)
	a.await(t, "the other", in(Alive, b))
	b.await(t, "the other", in(Alive, a))
	cut.Store(true)
	a.await(t, "the partition", in(Gone, b))
	b.await(t, "the partition", in(Gone, a))
	a.SetMeta(Meta{Name: "node-1", Relay: true, Term: 1})
	cut.Store(false)
	t.Logf("healed after %v", a.await(t, "the other again", in(Alive, b)))
	b.await(t, "the other again", in(Alive, a))
	b.await(t, "its news", says(a, Meta{Name: "node-1", Relay: true, Term: 1}))
}

// Garbage, on every way in, changes nothing.
func TestGarbage(t *testing.T) {
	t.Parallel()
	a := startPeer(t, 1, Config{Beacon: true}, nil)
	_, udp, err := listenUDP(t)
	if err != nil {
		t.Fatal(err)
	}
	defer udp.Close()
	meshLabel := append([]byte{StreamByte, 1}, 'x')
	for _, b := range [][]byte{{}, {0}, {StreamByte}, {StreamByte, 255}, meshLabel, bytes.Repeat([]byte{StreamByte}, 1400), make([]byte, 60000)} {
		if _, err := udp.WriteToUDPAddrPort(b, a.addr); err != nil {
			t.Error(err)
		}
		conn, err := net.Dial("tcp", a.addr.String())
		if err != nil {
			t.Fatal(err)
		}
		_, _ = conn.Write(b)
		_ = conn.Close()
	}
	b := startPeer(t, 2, Config{NoMDNS: true, Seeds: []string{a.addr.String()}}, nil)
	b.await(t, "the node after the garbage", in(Alive, a))
	a.await(t, "the other", in(Alive, b))
	if len(a.Nodes()) != 1 {
		t.Errorf("knows %+v", a.Nodes())
	}
}

// What gossip may say of members that cannot be.
func TestForgedMembers(t *testing.T) {
	var meta atomic.Pointer[[]byte]
	e := &events{self: id(1), loopback: true, meta: &meta, facts: newFacts(id(1)), log: slog.New(slog.DiscardHandler)}
	good := memberlist.Node{Name: label(id(2)), Addr: net.IPv4(127, 0, 0, 1), Port: 7000, PMin: 1, PMax: 5}
	for name, c := range map[string]struct {
		edit func(*memberlist.Node)
		ok   bool
	}{
		"good":          {func(*memberlist.Node) {}, true},
		"itself":        {func(n *memberlist.Node) { n.Name = label(id(1)); n.Addr = net.IPv4(8, 8, 8, 8) }, true},
		"a name":        {func(n *memberlist.Node) { n.Name = "relay" }, false},
		"capitals":      {func(n *memberlist.Node) { n.Name = strings.ToUpper(label(0xabc)) }, false},
		"no port":       {func(n *memberlist.Node) { n.Port = 0 }, false},
		"no address":    {func(n *memberlist.Node) { n.Addr = nil }, false},
		"odd address":   {func(n *memberlist.Node) { n.Addr = net.IP{1, 2, 3} }, false},
		"multicast":     {func(n *memberlist.Node) { n.Addr = net.IPv4(224, 0, 0, 251) }, false},
		"the LAN":       {func(n *memberlist.Node) { n.Addr = net.IPv4(192, 168, 1, 1) }, false},
		"new protocol":  {func(n *memberlist.Node) { n.PMin, n.PMax = 3, 9 }, false},
		"delegate vers": {func(n *memberlist.Node) { n.DMin = 1 }, false},
	} {
		n := good
		c.edit(&n)
		if err := e.NotifyAlive(&n); (err == nil) != c.ok {
			t.Errorf("%s: %v", name, err)
		}
		e.NotifyJoin(&n)
		e.NotifyLeave(&n)
	}
	bad := good
	bad.Meta = []byte("nonsense")
	e.NotifyUpdate(&bad)
	if nodes := e.facts.snapshot(); len(nodes) == 0 || nodes[0].State != Alive && nodes[len(nodes)-1].State != Alive {
		t.Errorf("a member with unreadable meta: %+v", nodes)
	}
}
