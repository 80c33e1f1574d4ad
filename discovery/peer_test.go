package discovery

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// within is how long anything may take that is waited for: far more than it does, for slow machines.
const within = 15 * time.Second

// process keeps the nodes of this test process apart from those of another on the same machine.
var process = rand.Uint64() &^ 0xff

// id returns the instance of the n-th node of a test.
func id(n uint64) uint64 { return process | n }

// peer is one discovery with the listener that its owner would have.
type peer struct {
	*Discovery
	instance uint64
	addr     netip.AddrPort
	listener net.Listener
	accepts  sync.WaitGroup
}

// startPeer starts the n-th node of a test, on loopback if cfg does not say otherwise.
func startPeer(t *testing.T, n uint64, cfg Config, cut *cable) *peer {
	t.Helper()
	host := "127.0.0.1"
	switch cfg.Bind {
	case "":
		cfg.Bind = host
	case "every":
		cfg.Bind, host = "", ""
	default:
		host = cfg.Bind
	}
	tcp, udp, err := ListenPair(context.Background(), new(net.ListenConfig), net.JoinHostPort(host, "0"))
	if err != nil {
		t.Fatal(err)
	}
	p := &peer{instance: id(n), addr: tcp.Addr().(*net.TCPAddr).AddrPort(), listener: tcp}
	cfg.Instance, cfg.Port, cfg.Packets = p.instance, int(p.addr.Port()), udp
	if cut != nil {
		cfg.Packets, cfg.Dial = cutPackets{udp, cut}, cut.dial
	}
	if cfg.Mesh == "" {
		cfg.Mesh = meshHash(t.Name()) + label(process)
	}
	if cfg.Meta.Name == "" {
		cfg.Meta.Name = fmt.Sprintf("node-%d", n)
	}
	if os.Getenv("ULTRA_TEST_LOG") != "" {
		cfg.Logger = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	if p.Discovery, err = Start(cfg); err != nil {
		t.Fatal(err)
	}
	p.accepts.Go(func() {
		for {
			conn, err := tcp.Accept()
			if err != nil {
				return
			}
			p.HandleStream(conn) // a test has nothing but gossip
		}
	})
	t.Cleanup(func() { p.stop(t, 0) })
	return p
}

// cable loses everything while it is cut.
type cable struct{ atomic.Bool }

func (c *cable) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	if c.Load() {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return new(net.Dialer).DialContext(ctx, network, addr)
}

type cutPackets struct {
	net.PacketConn
	cable *cable
}

func (p cutPackets) WriteTo(b []byte, to net.Addr) (int, error) {
	if p.cable.Load() {
		return len(b), nil
	}
	return p.PacketConn.WriteTo(b, to)
}

// stop ends a peer; leave 0 is what a crash looks like to the others.
func (p *peer) stop(t *testing.T, leave time.Duration) {
	t.Helper()
	if err := p.Close(leave); err != nil {
		t.Errorf("close %x: %v", p.instance, err)
	}
	_ = p.listener.Close()
	p.accepts.Wait()
}

// await waits until the peer's nodes satisfy ok, and returns how long that took.
func (p *peer) await(t *testing.T, what string, ok func([]Node) bool) time.Duration {
	t.Helper()
	began := time.Now()
	deadline := time.After(within)
	for !ok(p.Nodes()) {
		select {
		case <-p.Changed():
		case <-deadline:
			t.Fatalf("node %x waited %v for %s; it knows %+v, problems %v", p.instance, within, what, p.Nodes(), p.Problems())
		}
	}
	return time.Since(began)
}

// in returns a condition: all these nodes are in that state.
func in(state State, peers ...*peer) func([]Node) bool {
	return func(nodes []Node) bool {
		for _, p := range peers {
			if !slices.ContainsFunc(nodes, func(n Node) bool { return n.Instance == p.instance && n.State == state }) {
				return false
			}
		}
		return true
	}
}

// says returns a condition: that node says this of itself.
func says(p *peer, meta Meta) func([]Node) bool {
	return func(nodes []Node) bool {
		return slices.ContainsFunc(nodes, func(n Node) bool { return n.Instance == p.instance && n.Meta == meta })
	}
}

// needMDNS skips where mDNS does not work on loopback, with the reason.
func needMDNS(t *testing.T) {
	t.Helper()
	d, err := Start(Config{Mesh: "probe", Instance: id(0xff), Meta: Meta{Name: "probe"}, Bind: "127.0.0.1", Port: 1, Beacon: true})
	if err != nil {
		t.Fatal(err)
	}
	problems := d.Problems()
	if err := d.Close(0); err != nil {
		t.Error(err)
	}
	if len(problems) > 0 {
		t.Skipf("no mDNS on loopback here: %v", problems)
	}
}
