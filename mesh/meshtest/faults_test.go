package meshtest_test

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"ultrasockets/mesh"
	"ultrasockets/mesh/meshtest"
)

// onBoth runs f with a mesh over real sockets, and with one in memory and virtual time. Links die fast.
func onBoth(t *testing.T, names []string, f func(t *testing.T, m *meshtest.Mesh)) {
	t.Parallel()
	fast := func(c *mesh.Config) { c.Heartbeat = 300 * time.Millisecond }
	t.Run("sockets", func(t *testing.T) {
		t.Parallel()
		f(t, meshtest.NewWith(t, fast, names...))
	})
	t.Run("memory", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) { f(t, meshtest.NewInMemory(t, fast, names...)) })
	})
}

func within(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// deliver sends a message and takes it.
func deliver(t *testing.T, m *meshtest.Mesh, from, to, text string) {
	t.Helper()
	ctx := within(t)
	if err := m.Node(from).Deliver(ctx, to, text); err != nil {
		t.Fatal(err)
	}
	if msg, err := m.Node(to).Receive(ctx); err != nil || msg.Text() != text {
		t.Fatalf("%q %v", msg.Text(), err)
	}
}

// awaitEvent waits for an event of that kind at a node, from before do is called.
func awaitEvent(t *testing.T, n *mesh.Node, kind mesh.EventKind, do func()) mesh.Event {
	t.Helper()
	events := n.Events(within(t))
	do()
	for e := range events {
		if e.Kind == kind {
			return e
		}
	}
	t.Fatalf("%s: no event %q", n.Name(), kind)
	return mesh.Event{}
}

func TestPartitionAndHeal(t *testing.T) {
	onBoth(t, []string{"pc1", "pc2", "pc3", "pc4", "pc5"}, func(t *testing.T, m *meshtest.Mesh) {
		m.Partition([]string{"pc1", "pc2"})
		m.Wait("pc3", "pc4", "pc5")
		if r := m.Node("pc3").Relay(); r == "pc1" || r == "pc2" {
			t.Errorf("%s is the relay of the others", r)
		}
		if r := m.Node("pc2").Relay(); r != "pc1" {
			t.Errorf("%q is the relay of pc2", r)
		}
		deliver(t, m, "pc2", "pc1", "here")
		deliver(t, m, "pc4", "pc5", "there")
		m.Heal()
		m.WaitAll()
		deliver(t, m, "pc2", "pc5", "everywhere")
	})
}

// TestBadLink: a node that is not heard by the relay, though gossip hears it, is out, and the relay stays.
func TestBadLink(t *testing.T) {
	onBoth(t, []string{"pc1", "pc2", "pc3"}, func(t *testing.T, m *meshtest.Mesh) {
		awaitEvent(t, m.Node("pc3"), mesh.EventUnlinked, func() {
			m.Cable(meshtest.Cable{Cut: meshtest.Out, Only: meshtest.Links}, "pc3")
		})
		if err := m.Node("pc2").Send(within(t), "pc3", "patience"); err != nil {
			t.Fatal(err)
		}
		awaitEvent(t, m.Node("pc3"), mesh.EventLinked, m.Heal)
		if msg, err := m.Node("pc3").Receive(within(t)); err != nil || msg.Text() != "patience" {
			t.Fatalf("%q %v", msg.Text(), err)
		}
		if r := m.Relay(); r != "pc1" {
			t.Errorf("%s is the relay", r)
		}
	})
}

func TestReset(t *testing.T) {
	onBoth(t, []string{"pc1", "pc2", "pc3"}, func(t *testing.T, m *meshtest.Mesh) {
		for range 3 {
			awaitEvent(t, m.Node("pc2"), mesh.EventLinked, func() { m.Reset("pc2") })
		}
		m.WaitAll()
		deliver(t, m, "pc3", "pc2", "again")
		if r := m.Relay(); r != "pc1" {
			t.Errorf("%s is the relay", r)
		}
	})
}

// TestSuspendRelay: another takes over; the one that wakes up joins as a newcomer, and gets what was sent to it. (If it wakes
// before the other's reign is confirmed it may be the relay again.)
func TestSuspendRelay(t *testing.T) {
	onBoth(t, []string{"pc1", "pc2", "pc3"}, func(t *testing.T, m *meshtest.Mesh) {
		m.Suspend("pc1")
		if err := m.Node("pc2").Send(within(t), "pc1", "wake up"); err != nil {
			t.Fatal(err)
		}
		m.Wait("pc2", "pc3")
		e := awaitEvent(t, m.Node("pc1"), mesh.EventUnlinked, func() { m.Continue("pc1") })
		m.WaitAll()
		t.Logf("pc1 was out: %s; now the relay is %s", e.Reason, m.Relay())
		if msg, err := m.Node("pc1").Receive(within(t)); err != nil || msg.Text() != "wake up" {
			t.Fatalf("%q %v", msg.Text(), err)
		}
	})
}

func TestKillSuspended(t *testing.T) {
	onBoth(t, []string{"pc1", "pc2"}, func(t *testing.T, m *meshtest.Mesh) {
		m.Suspend("pc2")
		m.Restart("pc2")
		deliver(t, m, "pc1", "pc2", "anew")
	})
}

// TestImpostor: who has the name keeps it, and a program that is started twice is told.
func TestImpostor(t *testing.T) {
	onBoth(t, []string{"pc1", "pc2", "pc3"}, func(t *testing.T, m *meshtest.Mesh) {
		stop := m.Impostor("pc2")
		if n, err := mesh.Join(within(t), m.Config("pc3")); !errors.Is(err, mesh.ErrNameTaken) {
			n.Close()
			t.Errorf("a second pc3: %v", err)
		}
		deliver(t, m, "pc1", "pc2", "to the real one")
		m.Kill("pc2")
		if err := m.Node("pc1").WaitFor(within(t), "pc2"); err != nil {
			t.Error(err) // now it is the impostor
		}
		stop()
		m.Start("pc2")
		deliver(t, m, "pc1", "pc2", "back")
	})
}

// TestSlowReader: what is sent to a node whose cable carries little waits, and nobody else does.
func TestSlowReader(t *testing.T) {
	onBoth(t, []string{"pc1", "pc2", "pc3"}, func(t *testing.T, m *meshtest.Mesh) {
		m.Cable(meshtest.Cable{Rate: 100_000}, "pc3")
		ctx := within(t)
		began := time.Now()
		for i := range 10 {
			if err := m.Node("pc2").Send(ctx, "pc3", incompressible(i, 20_000)); err != nil {
				t.Fatal(err)
			}
		}
		deliver(t, m, "pc2", "pc1", "not slow")
		for i := range 10 {
			msg, err := m.Node("pc3").Receive(ctx)
			if err != nil || !bytes.Equal(msg.Bytes(), incompressible(i, 20_000)) {
				t.Fatalf("message %d: %d bytes, %v", i, len(msg.Bytes()), err)
			}
		}
		if d := time.Since(began); d < time.Second {
			t.Errorf("200,000 bytes passed a cable of 100,000 a second in %v", d)
		}
	})
}

func incompressible(seed, n int) []byte {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{byte(seed)}).Read(b)
	return b
}

// TestLight: a light node follows the mesh to another relay, and is restarted as what it was.
func TestLight(t *testing.T) {
	onBoth(t, []string{"pc1", "pc2", "pc3"}, func(t *testing.T, m *meshtest.Mesh) {
		n := m.Dial("lamp")
		if n.Addr() != nil {
			t.Error("a light node listens")
		}
		m.Kill("pc1")
		m.WaitAll()
		deliver(t, m, "pc2", "lamp", "on")
		if m.Restart("lamp").Addr() != nil {
			t.Error("it was restarted as another kind")
		}
		m.WaitAll()
		if names := m.Names(); !slices.Equal(names, []string{"lamp", "pc2", "pc3"}) {
			t.Error(names)
		}
	})
}

// TestOwnPrograms: a mesh of nothing but programs under test. Each has the others that run as seeds.
func TestOwnPrograms(t *testing.T) {
	onBoth(t, nil, func(t *testing.T, m *meshtest.Mesh) {
		ctx := within(t)
		var nodes []*mesh.Node
		for _, name := range []string{"a", "b", "c"} {
			n, err := mesh.Join(ctx, m.Config(name))
			if err != nil {
				t.Fatal(err)
			}
			defer n.Close()
			nodes = append(nodes, n)
		}
		m.Dial("lamp")
		for _, n := range nodes {
			if err := n.WaitFor(ctx, "a", "b", "c", "lamp"); err != nil || n.Relay() != "a" {
				t.Error(n.Name(), n.Relay(), err)
			}
		}
		if e := awaitEvent(t, nodes[1], mesh.EventLinked, func() { m.Suspend("a") }); e.Name == "a" {
			t.Error("a suspended relay took a link")
		}
	})
}
