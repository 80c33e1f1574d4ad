package meshtest_test

import (
	"context"
	"testing"
	"time"

	"ultrasockets/mesh/meshtest"
)

// counter is a program under test: it sums what it is sent, and answers requests for the sum.
// A test of it needs a whole mesh, and a mesh that loses its relay.
func TestExampleFailover(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	m := meshtest.New(t, "pc1", "pc2", "pc3")
	for i := range 100 {
		if i == 50 {
			if relay := m.Relay(); relay == "pc1" { // the first to start
				m.Kill(relay)
			} else {
				t.Fatalf("%s is the relay", relay)
			}
		}
		if err := m.Node("pc2").Send(ctx, "pc3", i); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 100 {
		msg, err := m.Node("pc3").Receive(ctx)
		if err != nil || msg.Value() != int64(i) {
			t.Fatalf("message %d: %v %v", i, msg.Value(), err)
		}
	}
	if n := m.Restart("pc1"); n.Relay() == "pc1" {
		t.Fatal("a newcomer took the mesh over")
	}
	m.WaitAll()
	m.Stop("pc2")
}
