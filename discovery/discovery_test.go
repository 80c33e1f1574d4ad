package discovery

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"testing"
	"time"
)

// within is how long anything may take that is waited for: far more than it does, for slow machines.
const within = 10 * time.Second

// peer is one discovery with the listener that its owner would have.
type peer struct {
	*Discovery
	instance uint64
	addr     netip.AddrPort
	listener *net.TCPListener
	accepts  sync.WaitGroup
}

func startPeer(t *testing.T, cfg Config, drop func(netip.AddrPort) bool) *peer {
	t.Helper()
	if cfg.Bind == "" {
		cfg.Bind = "127.0.0.1"
	}
	tcp, udp, err := ListenPair(context.Background(), net.JoinHostPort(cfg.Bind, "0"))
	if err != nil {
		t.Fatal(err)
	}
	p := &peer{instance: cfg.Instance, addr: tcp.Addr().(*net.TCPAddr).AddrPort(), listener: tcp}
	cfg.Port, cfg.Packets = int(p.addr.Port()), udp
	if cfg.Mesh == "" {
		cfg.Mesh = t.Name()
	}
	if cfg.Meta.Name == "" {
		cfg.Meta.Name = fmt.Sprintf("node-%d", cfg.Instance)
	}
	if testing.Verbose() && os.Getenv("DISCOVERY_LOG") != "" {
		cfg.Logger = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	if p.Discovery, err = start(cfg, drop); err != nil {
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

// stop ends a peer; leave 0 is what a crash looks like to the others.
func (p *peer) stop(t *testing.T, leave time.Duration) {
	t.Helper()
	if err := p.Close(leave); err != nil {
		t.Errorf("close %d: %v", p.instance, err)
	}
	_ = p.listener.Close()
	p.accepts.Wait()
}

// await waits until the peer's nodes satisfy ok, and returns how long that took.
func (p *peer) await(t *testing.T, what string, ok func([]Node) bool) time.Duration {
	t.Helper()
	start := time.Now()
	deadline := time.After(within)
	for !ok(p.Nodes()) {
		select {
		case <-p.Changed():
		case <-deadline:
			t.Fatalf("node %d waited %v for %s; it knows %+v, problems %v", p.instance, within, what, p.Nodes(), p.Problems())
		}
	}
	return time.Since(start)
}

// in returns a condition: the node with that instance is in that state.
func in(state State, instances ...uint64) func([]Node) bool {
	return func(nodes []Node) bool {
		for _, instance := range instances {
			if !slices.ContainsFunc(nodes, func(n Node) bool { return n.Instance == instance && n.State == state }) {
				return false
			}
		}
		return true
	}
}

func TestFindByMDNS(t *testing.T) {
	a := startPeer(t, Config{Instance: 1, Beacon: true, Meta: Meta{Relay: true, Term: 7}}, nil)
	began := time.Now()
	b := startPeer(t, Config{Instance: 2, Beacon: true}, nil)
	b.await(t, "a first sight of 1", func(n []Node) bool { return len(n) == 1 && n[0].Meta.Relay && n[0].Meta.Term == 7 })
	t.Logf("first sight after %v", time.Since(began))
	b.await(t, "1 alive", in(Alive, 1))
	t.Logf("alive after %v", time.Since(began))
	a.await(t, "2 alive", in(Alive, 2))
	t.Logf("%+v", b.Nodes())
	b.stop(t, 0)
	began = time.Now()
	a.await(t, "2 gone", in(Gone, 2))
	t.Logf("gone after %v", time.Since(began))
}
