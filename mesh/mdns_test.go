package mesh_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"ultrasockets/mesh"
)

// TestJoinByMulticast starts nodes at the same moment that know nothing of each other: they find each other by mDNS, and
// agree on one relay. On a host whose loopback has no multicast route they cannot, and the test says so.
func TestJoinByMulticast(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	name := fmt.Sprintf("mdns-%08x", rand.Uint32())
	nodes := make([]*mesh.Node, 3)
	var joins sync.WaitGroup
	start := time.Now()
	for i := range nodes {
		joins.Go(func() {
			var err error
			nodes[i], err = mesh.Join(ctx, mesh.Config{Name: fmt.Sprint("n", i), Mesh: name, Bind: "127.0.0.1", Logger: testLog(t)})
			if err != nil {
				t.Error(err)
			}
		})
	}
	joins.Wait()
	if t.Failed() {
		return
	}
	for _, n := range nodes {
		defer n.Close()
	}
	if p := nodes[0].Problems(); len(p) > 0 {
		t.Skip("multicast does not work here: ", p)
	}
	t.Logf("all joined after %v", time.Since(start))
	for _, n := range nodes {
		if err := n.WaitFor(ctx, "n0", "n1", "n2"); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("all see each other after %v, relay %s", time.Since(start), nodes[0].Relay())
	begin := time.Now()
	late, err := mesh.Join(ctx, mesh.Config{Name: "late", Mesh: name, Bind: "127.0.0.1"})
	if err != nil {
		t.Fatal(err)
	}
	defer late.Close()
	if err := late.Deliver(ctx, "n0", "hello"); err != nil {
		t.Fatal(err)
	}
	t.Logf("a late node's first message after %v", time.Since(begin))
}
