package mesh_test

import (
	"context"
	"fmt"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"ultrasockets/mesh"
	"ultrasockets/mesh/meshtest"
)

// TestLeaveTogether: nodes that have received everything leave at the same moment, the relay among them. Nobody is left
// waiting for an acknowledgement that the others took along.
func TestLeaveTogether(t *testing.T) {
	for range 3 {
		ctx := within(t, 20*time.Second)
		m := meshtest.New(t, "n0", "n1", "n2", "n3")
		var nodes []*mesh.Node
		for _, name := range m.Names() {
			nodes = append(nodes, m.Node(name))
		}
		for _, a := range nodes {
			for _, b := range nodes {
				for k := range 5 {
					if err := a.Send(ctx, b.Name(), k); err != nil {
						t.Fatal(err)
					}
				}
			}
		}
		for _, n := range nodes {
			for range 20 {
				if _, err := n.Receive(ctx); err != nil {
					t.Fatal(err)
				}
			}
		}
		var all sync.WaitGroup
		for _, n := range nodes {
			all.Go(func() {
				patience, cancel := context.WithTimeout(ctx, 5*time.Second)
				defer cancel()
				if err := n.Shutdown(patience); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
	}
}

// TestAcknowledgedBeforeBye: who receives and leaves at once acknowledges first.
func TestAcknowledgedBeforeBye(t *testing.T) {
	for how, leave := range map[string]func(*mesh.Node, context.Context) error{
		"Shutdown": (*mesh.Node).Shutdown,
		"Close":    func(n *mesh.Node, _ context.Context) error { return n.Close() },
	} {
		t.Run(how, func(t *testing.T) {
			ctx := within(t, 20*time.Second)
			s, c := star(t, mesh.Config{Name: "s"}, "a")
			for i := range 20 {
				b, err := mesh.Dial(ctx, s.Addr().String(), mesh.Config{Name: fmt.Sprint("b", i)})
				if err != nil {
					t.Fatal(err)
				}
				testLeaves(t, ctx, c[0], b, leave)
			}
			testLeaves(t, ctx, c[0], s, leave) // the relay itself
		})
	}
}

// testLeaves lets to take all that from sends, also as replies, and leave.
func testLeaves(t *testing.T, ctx context.Context, from, to *mesh.Node, leave func(*mesh.Node, context.Context) error) {
	from.Handle(func(context.Context, mesh.Message) (any, error) { return 1, nil })
	for k := range 20 {
		if err := from.Send(ctx, to.Name(), k); err != nil {
			t.Fatal(err)
		}
	}
	for range 20 {
		if _, err := to.Receive(ctx); err != nil {
			t.Fatal(err)
		}
	}
	for range 20 {
		if _, err := to.Request(ctx, from.Name(), nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := leave(to, ctx); err != nil {
		t.Fatal(err)
	}
	patience, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	if err := from.Flush(patience); err != nil {
		t.Fatal(err)
	}
}

// slowNetwork is the machine's, on which each write takes its time.
type slowNetwork struct{}

type slowConn struct{ net.Conn }

func (c slowConn) Write(b []byte) (int, error) {
	time.Sleep(5 * time.Millisecond)
	return c.Conn.Write(b)
}

type slowListener struct{ net.Listener }

func (l slowListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return slowConn{c}, nil
}

func (slowNetwork) Listen(ctx context.Context, network, addr string) (net.Listener, error) {
	l, err := new(net.ListenConfig).Listen(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	return slowListener{l}, nil
}

func (slowNetwork) ListenPacket(ctx context.Context, network, addr string) (net.PacketConn, error) {
	return new(net.ListenConfig).ListenPacket(ctx, network, addr)
}

func (slowNetwork) DialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	c, err := new(net.Dialer).DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	return slowConn{c}, nil
}

// TestCloseOnSlowLink: who receives and closes at once acknowledges, also when the link takes some milliseconds for that.
func TestCloseOnSlowLink(t *testing.T) {
	ctx := within(t, 20*time.Second)
	s, err := mesh.Listen(ctx, "127.0.0.1:0", mesh.Config{Name: "s", Network: slowNetwork{}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	dial := func(name string, network mesh.Network) *mesh.Node {
		n, err := mesh.Dial(ctx, s.Addr().String(), mesh.Config{Name: name, Network: network})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { n.Close() })
		return n
	}
	a, b := dial("a", nil), dial("b", slowNetwork{})
	leave := func(n *mesh.Node, _ context.Context) error { return n.Close() }
	testLeaves(t, ctx, a, b, leave)
	testLeaves(t, ctx, a, s, leave) // the relay itself
}

// TestFlushAsks: Flush does not wait for an acknowledgement that may come later, also if all has been sent already.
func TestFlushAsks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		m := meshtest.NewInMemory(t, nil, "a", "b", "c")
		relay := m.Relay()
		for _, from := range []string{"a", "b", "c"} {
			for _, to := range []string{"a", "b", "c"} {
				if from == to {
					continue
				}
				n := m.Node(from)
				if err := n.Deliver(ctx, to, 0); err != nil { // the first message of a stream asks by itself
					t.Fatal(err)
				}
				for i := range 5 {
					if err := n.Send(ctx, to, i); err != nil {
						t.Fatal(err)
					}
					synctest.Wait() // it has been sent
				}
				before := time.Now()
				if err := n.Flush(ctx); err != nil {
					t.Fatal(err)
				}
				if took := time.Since(before); took >= time.Millisecond {
					t.Errorf("%s to %s, over %s: %v", from, to, relay, took)
				}
				for i := range 6 {
					if msg, err := m.Node(to).Receive(ctx); err != nil || msg.From != from {
						t.Fatalf("message %d: from %q, %v", i, msg.From, err)
					}
				}
			}
		}
	})
}
