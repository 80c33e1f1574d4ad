package mesh_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"ultrasockets/mesh"
	"ultrasockets/mesh/meshtest"
)

// How nodes end, and what becomes of what they held.

func TestShutdownFlushesAndSaysBye(t *testing.T) {
	ctx := within(t, 20*time.Second)
	m := meshtest.New(t, "r", "a", "b")
	b := m.Node("b")
	events := b.Events(ctx)
	for i := range 5000 {
		if err := m.Node("a").Send(ctx, "b", i); err != nil {
			t.Fatal(err)
		}
	}
	m.Stop("a")
	for e := range events {
		if e.Kind == mesh.EventLeft && e.Name == "a" {
			if e.Reason != "bye" {
				t.Fatal(e.Reason)
			}
			break
		}
	}
	if got := len(b.Get(mesh.All)); got != 5000 {
		t.Fatal(got)
	}
	// The relay leaves in good order: somebody else takes over, nothing is lost.
	m.Start("a")
	for i := range 1000 {
		if err := m.Node("a").Send(ctx, "b", i); err != nil {
			t.Fatal(err)
		}
	}
	m.Stop("r")
	if r := m.Relay(); r == "r" {
		t.Fatal(r)
	}
	for i := range 1000 {
		if msg, err := b.Receive(ctx); err != nil || msg.Value() != int64(i) {
			t.Fatal(i, msg.Value(), err)
		}
	}
}

func TestShutdownInAHurry(t *testing.T) {
	ctx := within(t, 20*time.Second)
	s, c := star(t, mesh.Config{Name: "s"}, "a")
	events := s.Events(ctx)
	if err := c[0].Send(ctx, "nobody", "x"); err != nil {
		t.Fatal(err)
	}
	ended, cancel := context.WithCancel(ctx)
	cancel()
	if err := c[0].Shutdown(ended); !errors.Is(err, context.Canceled) || !errors.Is(err, mesh.ErrNoPeer) {
		t.Fatal(err)
	}
	for e := range events {
		if e.Kind == mesh.EventLeft {
			if e.Reason != "bye" {
				t.Fatal(e.Reason)
			}
			break
		}
	}
	if err := c[0].Shutdown(ctx); err != nil {
		t.Fatal(err)
	}
}

// TestClosedTakesNothing: a node that was closed refuses everything, also what would go to nobody.
func TestClosedTakesNothing(t *testing.T) {
	ctx := within(t, 20*time.Second)
	m := meshtest.New(t, "a", "b")
	a := m.Node("a")
	m.Stop("a")
	_, asked := a.Request(ctx, "b", 1)
	for what, err := range map[string]error{
		"send": a.Send(ctx, "b", 1), "send to itself": a.Send(ctx, "a", 1), "send to all": a.Send(ctx, mesh.ToAll, 1),
		"deliver to a group": a.Deliver(ctx, mesh.ToGroup("lab"), 1), "request": asked, "subscribe": a.Subscribe("lab"),
		"unsubscribe": a.Unsubscribe("lab"), "pause": a.Pause(), "resume": a.Resume(),
	} {
		if !errors.Is(err, mesh.ErrClosed) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if err := m.Node("b").Send(ctx, mesh.ToGroup(""), 1); !errors.Is(err, mesh.ErrBadName) {
		t.Errorf("a group without a name: %v", err)
	}
}

// TestRelayLeavesInGoodOrder: its goodbye is known as one, at once, and nobody sends to it any more.
func TestRelayLeavesInGoodOrder(t *testing.T) {
	ctx := within(t, 20*time.Second)
	m := meshtest.New(t, "a", "b", "c")
	b := m.Node("b")
	events := b.Events(ctx)
	m.Stop("a")
	for e := range events {
		if e.Kind == mesh.EventLeft {
			if e.Name != "a" || e.Reason != "bye" {
				t.Fatalf("%+v", e)
			}
			break
		}
	}
	m.WaitAll()
	relays := 0
	for _, p := range b.Peers() {
		if p.Name == "a" {
			t.Fatal("the relay that left is still listed")
		}
		if p.Relay {
			relays++
		}
	}
	if relays != 1 {
		t.Fatalf("%d relays: %+v", relays, b.Peers())
	}
	if err := b.Deliver(ctx, mesh.ToAll, "bye"); err != nil {
		t.Fatal(err)
	}
	if err := b.Flush(ctx); err != nil {
		t.Fatal(err)
	}
}

// TestAbandonedDeliverCounts: a message whose Deliver gave up waiting is reported like any other.
func TestAbandonedDeliverCounts(t *testing.T) {
	ctx := within(t, 20*time.Second)
	m := meshtest.NewWith(t, func(c *mesh.Config) { c.Retention = 300 * time.Millisecond }, "a")
	a := m.Node("a")
	if err := a.Deliver(within(t, 20*time.Millisecond), "ghost", "boo"); !errors.Is(err, mesh.ErrNoPeer) {
		t.Fatal(err)
	}
	var u *mesh.UndeliveredError
	if err := a.Flush(ctx); !errors.As(err, &u) || u.To != "ghost" || u.Count != 1 || u.Unsent != 1 {
		t.Fatalf("%v", err)
	}
}
