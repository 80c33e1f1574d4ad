package mesh_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"testing"
	"time"

	"ultrasockets/mesh"
	"ultrasockets/mesh/meshtest"
)

// linksOf counts how often a node links, until the returned function is called.
func linksOf(ctx context.Context, n *mesh.Node) func() int {
	ctx, stop := context.WithCancel(ctx)
	events := n.Events(ctx)
	var count int
	var done sync.WaitGroup
	done.Go(func() {
		for e := range events {
			if e.Kind == mesh.EventLinked {
				count++
			}
		}
	})
	return func() int {
		stop()
		done.Wait()
		return count
	}
}

// TestServerArrivesLate: a configured server takes over from an elected relay in order, under traffic that never stops,
// and a second server gives way and stays linked.
func TestServerArrivesLate(t *testing.T) {
	parallel(t)
	ctx := within(t, 40*time.Second)
	m := meshtest.New(t, "a", "b", "c")
	total := 0
	stop := make(chan struct{})
	var traffic sync.WaitGroup
	traffic.Go(func() {
		for ; ; total++ {
			select {
			case <-stop:
				return
			default:
			}
			if err := m.Node("b").Send(ctx, "c", total); err != nil {
				t.Error(err)
				return
			}
			if total%50 == 49 {
				time.Sleep(time.Millisecond)
			}
		}
	})
	server := func(name string) *mesh.Node {
		cfg := m.Config(name)
		cfg.Role = mesh.RoleServer
		n, err := mesh.Join(ctx, cfg)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { n.Close() })
		return n
	}
	agree := func(nodes ...*mesh.Node) string {
		t.Helper()
		for ctx.Err() == nil {
			name := nodes[0].Relay()
			same := name == "s1" || name == "s2"
			for _, n := range nodes {
				same = same && n.Relay() == name
			}
			if same {
				return name
			}
			time.Sleep(5 * time.Millisecond)
		}
		t.Fatal("no server became the relay of all")
		return ""
	}
	s1 := server("s1")
	a, b, c := m.Node("a"), m.Node("b"), m.Node("c")
	agree(a, b, c, s1)
	s2 := server("s2")
	agree(a, b, c, s1, s2)
	// The relay is known a moment before the event that tells of it; what is sent goes out after that.
	for _, way := range []struct {
		from *mesh.Node
		to   string
	}{{s1, "s2"}, {s2, "b"}, {b, "s1"}} {
		if err := way.from.Deliver(ctx, way.to, "hello"); err != nil {
			t.Fatal(err)
		}
	}
	counts := []func() int{linksOf(ctx, s1), linksOf(ctx, s2), linksOf(ctx, b)}
	time.Sleep(3 * time.Second) // any quarrel between the two would show
	for _, n := range counts {
		if got := n(); got > 0 {
			t.Errorf("%d more links after all had agreed", got)
		}
	}
	close(stop)
	traffic.Wait()
	for i := range total {
		if msg, err := c.Receive(ctx); err != nil || msg.Value() != int64(i) {
			t.Fatalf("message %d of %d: %v %v", i, total, msg.Value(), err)
		}
	}
	t.Logf("%d messages: 0 lost, 0 twice, 0 out of order", total)
}

// TestTwoWaysToOneRelay: several addresses that lead to the same relay do not throw each other out.
func TestTwoWaysToOneRelay(t *testing.T) {
	ctx := within(t, 30*time.Second)
	for i := range 5 {
		m := meshtest.New(t, "r")
		_, port, _ := net.SplitHostPort(m.Node("r").Addr().String())
		events := m.Node("r").Events(ctx)
		cfg := m.Config("a")
		cfg.Seeds = []string{"127.0.0.1:" + port, "localhost:" + port, "127.0.0.1:0" + port}
		a, err := mesh.Join(ctx, cfg)
		if err != nil {
			t.Fatal(err)
		}
		if err := a.Deliver(ctx, "r", i); err != nil {
			t.Fatal(err)
		}
		if err := a.Shutdown(ctx); err != nil {
			t.Fatal(err)
		}
		for e := range events {
			if e.Kind == mesh.EventLeft {
				if e.Reason != "bye" {
					t.Fatalf("left: %s", e.Reason)
				}
				break
			}
		}
	}
}

// TestNameStaysWithItsHolder: a second node that wants the name for ever gets the error, also while the relay changes,
// and the holder is undisturbed.
func TestNameStaysWithItsHolder(t *testing.T) {
	parallel(t)
	ctx := within(t, 60*time.Second)
	m := meshtest.New(t, "r0", "r1", "holder", "friend")
	var thieves sync.WaitGroup
	stop, cancel := context.WithCancel(ctx)
	defer cancel()
	cfg := m.Config("holder")
	cfg.Role = mesh.RolePeer
	for range 3 {
		thieves.Go(func() {
			for stop.Err() == nil {
				n, err := mesh.Join(stop, cfg)
				if err == nil {
					t.Error("a second node got the name")
					n.Close()
				} else if stop.Err() == nil && !errors.Is(err, mesh.ErrNameTaken) {
					t.Errorf("the error is %v", err)
				}
			}
		})
	}
	for i := range 300 {
		if i == 100 {
			if r := m.Relay(); r == "r0" || r == "r1" {
				m.Kill(r)
			}
		}
		if err := m.Node("friend").Deliver(ctx, "holder", fmt.Sprint(i)); err != nil {
			t.Fatal(err)
		}
		if msg, err := m.Node("holder").Receive(ctx); err != nil || msg.Text() != fmt.Sprint(i) {
			t.Fatal(i, msg.Text(), err)
		}
		time.Sleep(10 * time.Millisecond)
	}
	cancel()
	thieves.Wait()
}

// TestSlowRequesterDoesNotKeepHandlers: who asks much and takes nothing does not keep the handlers from others.
func TestSlowRequesterDoesNotKeepHandlers(t *testing.T) {
	ctx := within(t, 30*time.Second)
	s, c := star(t, mesh.Config{Name: "s"}, "good")
	s.Handle(func(_ context.Context, m mesh.Message) (any, error) {
		if m.Text() == "big" {
			return make([]byte, 1<<20), nil
		}
		return "pong", nil
	})
	evil, err := mesh.Dial(ctx, s.Addr().String(), mesh.Config{Name: "evil", InboxBytes: 1 << 16})
	if err != nil {
		t.Fatal(err)
	}
	defer evil.Close()
	if err := evil.Pause(); err != nil {
		t.Fatal(err)
	}
	if err := evil.Send(ctx, "evil", make([]byte, 1<<16)); err != nil { // its inbox is full, and stays so
		t.Fatal(err)
	}
	asking, stop := context.WithCancel(ctx)
	var all sync.WaitGroup
	for range 100 {
		all.Go(func() { evil.Request(asking, "s", "big") })
	}
	for range 20 {
		if _, err := c[0].Request(ctx, "s", "ping"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(20 * time.Millisecond)
	}
	stop()
	all.Wait()
}
