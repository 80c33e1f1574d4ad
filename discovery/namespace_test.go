package discovery

import (
	"log/slog"
	"net"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/mdns"

	"ultrasockets/testdata/alone"
)

// The tests of this file need a network of their own: they change interfaces and addresses, or speak to the group
// as programs do that cannot be kept to loopback.

func shell(t *testing.T, script string) {
	t.Helper()
	if out, err := exec.Command("sh", "-c", script).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v %s", script, err, out)
	}
}

// glance makes a peer look at its interfaces now instead of within the next seconds.
func (p *peer) glance(t *testing.T) {
	t.Helper()
	if err := p.look(); err != nil {
		t.Error(err)
	}
}

func (p *peer) hasProblem(code string) bool {
	return slices.ContainsFunc(p.Problems(), func(p Problem) bool { return p.Code == code && p.Text != "" })
}

// A DNS-SD client that is not ours, asking from a port of its own, gets an answer it understands.
func TestForeignClient(t *testing.T) {
	t.Parallel()
	if !alone.Run(t, alone.Loopback) {
		return
	}
	a := startPeer(t, 1, Config{Beacon: true, Meta: Meta{Name: "a", Relay: true, Term: 12}}, nil)
	entries := make(chan *mdns.ServiceEntry, 16)
	err := mdns.Query(&mdns.QueryParam{
		Service: service, Domain: "local", Timeout: 300 * time.Millisecond, Entries: entries,
		Logger: libraryLog(slog.New(slog.DiscardHandler), "mdns"),
	})
	if err != nil {
		t.Fatal(err)
	}
	select {
	case e := <-entries:
		if e.Port != int(a.addr.Port()) || !e.AddrV4.Equal(net.IPv4(127, 0, 0, 1)) || !strings.Contains(e.Info, "term=12") {
			t.Errorf("%+v", e)
		}
	default:
		t.Error("not found")
	}
}

// And a responder that is not ours, which answers by unicast to the asker's port, is heard.
func TestForeignServer(t *testing.T) {
	t.Parallel()
	if !alone.Run(t, alone.Loopback) {
		return
	}
	mesh := meshHash(t.Name()) + label(process)
	z := testZone(t, id(9), makeTXT(meshHash(mesh), false, 0), "127.0.0.1")
	server, err := mdns.NewServer(&mdns.Config{Zone: z, Logger: libraryLog(slog.New(slog.DiscardHandler), "mdns")})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Shutdown()
	a := startPeer(t, 1, Config{}, nil)
	a.await(t, "the foreign node", in(Hint, &peer{instance: id(9)}))
}

// No route leads to the groups, and that does not matter.
func TestNoMulticastRoute(t *testing.T) {
	t.Parallel()
	if !alone.Run(t, "ip link set lo up") {
		return
	}
	a := startPeer(t, 1, Config{Beacon: true}, nil)
	b := startPeer(t, 2, Config{Beacon: true, Bind: "every"}, nil)
	b.await(t, "the other", in(Alive, a))
	if problems := append(a.Problems(), b.Problems()...); len(problems) > 0 {
		t.Errorf("%v", problems)
	}
}

// Another program keeps port 5353 to itself: said in a sentence, and mended when it ends.
func TestPortTaken(t *testing.T) {
	t.Parallel()
	if !alone.Run(t, "ip link set lo up") {
		return
	}
	hog, err := net.ListenUDP("udp4", &net.UDPAddr{Port: mdnsPort})
	if err != nil {
		t.Fatal(err)
	}
	a := startPeer(t, 1, Config{Beacon: true}, nil)
	b := startPeer(t, 2, Config{Beacon: true}, nil)
	if !a.hasProblem(ProblemPort) {
		t.Errorf("problems %v", a.Problems())
	}
	b.Hint(a.addr)
	b.await(t, "the other, by its address", in(Alive, a))
	_ = hog.Close()
	a.glance(t)
	if len(a.Problems()) != 0 {
		t.Errorf("problems %v", a.Problems())
	}
	c := startPeer(t, 3, Config{}, nil)
	c.await(t, "the node that is free to speak", in(Alive, a))
}

// A machine without any network says so, and works as soon as there is one.
func TestNoInterface(t *testing.T) {
	t.Parallel()
	if !alone.Run(t, "true") {
		return
	}
	a := startPeer(t, 1, Config{Beacon: true, Bind: "every", Seeds: []string{"nowhere.invalid:7000"}}, nil)
	b := startPeer(t, 2, Config{Beacon: true, Bind: "every"}, nil)
	if !a.hasProblem(ProblemInterface) || len(a.Addrs()) != 0 {
		t.Errorf("problems %v, addresses %v", a.Problems(), a.Addrs())
	}
	shell(t, "ip link set lo up")
	a.glance(t)
	b.glance(t)
	a.await(t, "the other", in(Alive, b))
	if a.hasProblem(ProblemInterface) || len(a.Addrs()) == 0 {
		t.Errorf("problems %v, addresses %v", a.Problems(), a.Addrs())
	}
}

// A machine gets another address: its node takes it along.
func TestAddressChanges(t *testing.T) {
	t.Parallel()
	if !alone.Run(t, alone.OneLink) {
		return
	}
	a := startPeer(t, 1, Config{Beacon: true, Bind: "every"}, nil)
	b := startPeer(t, 2, Config{Beacon: true, Bind: "every"}, nil)
	at := func(p *peer, addr string) func([]Node) bool {
		return func(nodes []Node) bool {
			return slices.ContainsFunc(nodes, func(n Node) bool {
				return n.Instance == p.instance && n.State == Alive && n.Addrs[0].Addr().String() == addr
			})
		}
	}
	a.await(t, "the other", at(b, "10.77.1.1"))
	b.await(t, "the other", at(a, "10.77.1.1"))
	shell(t, "ip addr del 10.77.1.1/24 dev us0 && ip addr add 10.77.1.2/24 dev us0")
	a.glance(t)
	b.glance(t)
	t.Logf("the new address is known after %v", a.await(t, "the other elsewhere", at(b, "10.77.1.2")))
	b.await(t, "the other elsewhere", at(a, "10.77.1.2"))
	if addrs := a.Addrs(); addrs[0].Addr().String() != "10.77.1.2" {
		t.Errorf("own addresses %v", addrs)
	}
}

// A node that is bound to loopback and one that is not see each other, but do not share one gossip.
func TestLoopbackAndLAN(t *testing.T) {
	t.Parallel()
	if !alone.Run(t, alone.OneLink) {
		return
	}
	a := startPeer(t, 1, Config{Beacon: true, Bind: "every"}, nil)
	b := startPeer(t, 2, Config{Beacon: true, Bind: "127.0.0.1"}, nil)
	a.await(t, "the one on loopback", in(Hint, b))
	b.await(t, "the one on the LAN", in(Hint, a))
	for _, n := range b.Nodes() {
		if slices.ContainsFunc(n.Addrs, func(addr netip.AddrPort) bool { return !addr.Addr().IsLoopback() }) {
			t.Errorf("on loopback it may only know loopback: %+v", n)
		}
	}
	c := startPeer(t, 3, Config{Beacon: true, Bind: "every", Seeds: []string{b.addr.String()}}, nil)
	a.await(t, "another one on the LAN", in(Alive, c))
	d := startPeer(t, 4, Config{Beacon: true, Bind: "127.0.0.1"}, nil)
	d.await(t, "another one on loopback", in(Alive, b))
	if in(Alive, b)(a.Nodes()) || in(Alive, a)(b.Nodes()) || in(Alive, d)(c.Nodes()) {
		t.Errorf("mixed: %+v and %+v", a.Nodes(), b.Nodes())
	}
}

// IPv6 alone does as well.
func TestIPv6(t *testing.T) {
	t.Parallel()
	if !alone.Run(t, alone.OneLink+" && ip addr flush dev us0 scope global && ip addr add fd00:77::1/64 dev us0 nodad") {
		return
	}
	a := startPeer(t, 1, Config{Beacon: true, Bind: "fd00:77::1", Meta: Meta{Name: "a", Relay: true}}, nil)
	b := startPeer(t, 2, Config{Beacon: true, Bind: "fd00:77::1"}, nil)
	b.await(t, "the other", in(Alive, a))
	a.await(t, "the other", in(Alive, b))
	if problems := a.Problems(); len(problems) > 0 {
		t.Errorf("%v", problems)
	}
	c := startPeer(t, 3, Config{Beacon: true, Bind: "::1"}, nil)
	d := startPeer(t, 4, Config{Beacon: true, Bind: "::1"}, nil)
	c.await(t, "the other on ::1, by IPv4 multicast", in(Alive, d))
}
