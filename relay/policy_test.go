package relay

import (
	"fmt"
	"net"
	"testing"
	"time"

	"ultrasockets/codec"
)

func TestHeartbeatGrows(t *testing.T) {
	h := NewHub(HubConfig{Mesh: "lab", Own: hello("relay")})
	for _, c := range []struct {
		links int
		want  time.Duration
	}{{0, time.Second}, {500, time.Second}, {1000, 2 * time.Second}, {5000, 10 * time.Second}} {
		for i := len(h.names); i < c.links; i++ {
			h.names[fmt.Sprint(i)] = &peer{}
		}
		if got := h.heartbeat(); got != c.want {
			t.Errorf("%d links: %v, want %v", c.links, got, c.want)
		}
	}
}

func TestCandidates(t *testing.T) {
	h := NewHub(HubConfig{Mesh: "lab", Own: hello("relay")})
	add := func(name string, instance uint64, role codec.Role, listed bool, addrs ...string) {
		h.names[name] = &peer{
			listing: listing{entry: codec.Entry{Name: name, Instance: instance, Role: role, Addrs: addrs}},
			seat:    seat{name: name, listed: listed},
		}
	}
	add("peer", 1, codec.RolePeer, true, "127.0.0.1:1")
	add("visitor", 2, codec.RoleAuto, false, "127.0.0.1:2")
	add("nowhere", 3, codec.RoleAuto, true)
	add("server", 1000, codec.RoleServer, true, "127.0.0.1:3")
	for i := range 20 {
		add(fmt.Sprint("auto", i), uint64(100+i), codec.RoleAuto, true, fmt.Sprintf("127.0.0.1:%d", 100+i))
	}
	got := h.candidates()
	if len(got) != maxCandidates || got[0][0] != "127.0.0.1:3" {
		t.Fatal(got)
	}
	for i, c := range got[1:] {
		if want := fmt.Sprintf("127.0.0.1:%d", 100+i); c[0] != want {
			t.Errorf("%d: %s, want %s", i+1, c[0], want)
		}
	}
}

func TestAddrOf(t *testing.T) {
	for addr, want := range map[string]string{
		"192.0.2.7:1":           "192.0.2.7/32",
		"[::ffff:192.0.2.7]:1":  "192.0.2.7/32",
		"[2001:db8:1:2:3::4]:1": "2001:db8:1:2::/64",
		"[fe80::1%eth0]:1":      "fe80::/64",
		"127.0.0.1:1":           "",
		"[::1]:1":               "",
		"pipe":                  "",
	} {
		key, ok := addrOf(&from{addr: fakeAddr(addr)})
		if ok != (want != "") || ok && key.p.String() != want {
			t.Errorf("%s: %v %v, want %q", addr, key, ok, want)
		}
	}
}

type fakeAddr string

func (a fakeAddr) Network() string { return "tcp" }
func (a fakeAddr) String() string  { return string(a) }

// from is a connection that claims to come from an address, and says nothing until it is closed.
type from struct {
	net.Conn
	addr fakeAddr
}

func (c *from) RemoteAddr() net.Addr { return c.addr }

// TestPerAddress: one host can have only so many handshakes under way, and when all places are taken, who has many gives way to who has few.
func TestPerAddress(t *testing.T) {
	h := NewHub(HubConfig{Mesh: "lab", Own: hello("relay")})
	var ends []net.Conn
	dial := func(addr string) (net.Conn, codec.Status) {
		t.Helper()
		ours, theirs := net.Pipe()
		h.receive(&from{theirs, fakeAddr(addr)})
		ends = append(ends, ours)
		ours.SetDeadline(time.Now().Add(waitLimit))
		if _, err := ours.Write(preamble(1, codec.ModeOpen)); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, codec.PreambleSize)
		if _, err := ours.Read(b); err != nil {
			t.Fatal(err)
		}
		a, err := codec.ParseAnswer(b)
		if err != nil {
			t.Fatal(err)
		}
		return ours, a.Status
	}
	host := func(i int) string { return fmt.Sprintf("192.0.2.%d:1", i) }
	for i := range maxPlaces {
		want := codec.StatusGoOn
		if i%(maxPerAddr+1) == maxPerAddr {
			want = codec.StatusWait
		}
		if _, got := dial(host(1 + i/(maxPerAddr+1))); got != want {
			t.Fatalf("%d: %v, want %v", i, got, want)
		}
	}
	for placesOf(h) < maxPlaces { // the last of them by hosts with one or two
		dial(host(100 + placesOf(h)))
	}
	for i := range 40 { // one each: the others have to share
		if _, got := dial(host(200 + i)); got != codec.StatusGoOn {
			t.Fatalf("host %d: %v", i, got)
		}
	}
	h.mu.Lock()
	most, greedy := 0, ""
	for addr, n := range h.perAddr {
		if n > most {
			most, greedy = n, addr.p.Addr().String()
		}
	}
	h.mu.Unlock()
	if n := placesOf(h); n != maxPlaces || most > 3 {
		t.Fatalf("%d places taken, %d by one host", n, most)
	}
	if _, got := dial(greedy + ":2"); got != codec.StatusWait { // it has as many as anybody
		t.Fatal(got)
	}
	for _, c := range ends {
		c.Close()
	}
	waitFor(t, h, "the end of the handshakes", func() bool { return h.Stats().Pending == 0 })
	if len(h.perAddr) != 0 || len(h.places) != 0 || len(h.lobby) != 0 {
		t.Fatal(h.perAddr, h.places, h.lobby)
	}
	h.Close()
}

func TestLogLimit(t *testing.T) {
	var now time.Duration
	l := limiter{now: func() time.Duration { return now }}
	allowed := 0
	for range 100 {
		if _, ok := l.allow(); ok {
			allowed++
		}
	}
	now += time.Second
	if skipped, ok := l.allow(); !ok || skipped != 90 || allowed != maxLogLines {
		t.Fatal(skipped, ok, allowed)
	}
}

func TestClockGoesOn(t *testing.T) {
	for _, c := range []clock{SystemClock, monotonic} {
		if a, b := c(), c(); a <= 0 || b < a {
			t.Fatal(a, b)
		}
	}
}
