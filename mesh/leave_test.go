package mesh_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
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

// testLeaves lets to take all that from sends, and leave.
func testLeaves(t *testing.T, ctx context.Context, from, to *mesh.Node, leave func(*mesh.Node, context.Context) error) {
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
	if err := leave(to, ctx); err != nil {
		t.Fatal(err)
	}
	patience, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	if err := from.Flush(patience); err != nil {
		t.Fatal(err)
	}
}
