package meshtest_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"ultrasockets/mesh"
	"ultrasockets/mesh/meshtest"
)

// These tests are examples: how to test what a program does when its mesh is in trouble.

// TestExampleFailover: the relay is killed in the midst of traffic. Over real sockets.
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

// TestExamplePartition: two rooms lose sight of each other, each goes on alone, and what was sent to the other room
// arrives when the cable is mended. A new relay is found in milliseconds of real time, for the 3 seconds after which a
// link counts as dead are virtual.
func TestExamplePartition(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		m := meshtest.NewInMemory(t, nil, "pc1", "pc2", "pc3", "pc4", "pc5")
		m.Partition([]string{"pc1", "pc2"}, []string{"pc3", "pc4", "pc5"})
		m.Wait("pc3", "pc4", "pc5") // until they have a relay of their own
		if err := m.Node("pc3").Deliver(ctx, "pc4", "in our room"); err != nil {
			t.Fatal(err)
		}
		if err := m.Node("pc3").Send(ctx, "pc1", "to the other room"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(30 * time.Second) // less than Config.Retention
		m.Heal()
		if msg, err := m.Node("pc1").Receive(ctx); err != nil || msg.Text() != "to the other room" {
			t.Fatal(msg.Text(), err)
		}
		m.WaitAll()
	})
}

// TestExampleLaptop: somebody closes the lid of a laptop for half an hour. What is sent to it meanwhile is given up after
// Config.Retention, and its sender is told; when the lid opens the laptop is back by itself.
func TestExampleLaptop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		m := meshtest.NewInMemory(t, nil, "pc1", "laptop", "pc3")
		m.Suspend("laptop")
		if err := m.Node("pc1").Send(ctx, "laptop", "lunch?"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(30 * time.Minute)
		var lost *mesh.UndeliveredError
		if err := m.Node("pc1").Flush(ctx); !errors.As(err, &lost) || lost.To != "laptop" || lost.Count != 1 {
			t.Fatalf("flush: %v", err)
		}
		m.Continue("laptop")
		m.WaitAll()
		if err := m.Node("pc1").Deliver(ctx, "laptop", "coffee?"); err != nil {
			t.Fatal(err)
		}
		if msg, err := m.Node("laptop").Receive(ctx); err != nil || msg.Text() != "coffee?" {
			t.Fatal(msg.Text(), err)
		}
	})
}

// TestExampleTelemetry: an hour of telemetry over a bad Wi-Fi, from a program that joins the mesh by itself. It takes seconds.
func TestExampleTelemetry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		m := meshtest.NewInMemory(t, nil, "base", "pc2")
		sensor := meshtest.Cable{Latency: 5 * time.Millisecond, Jitter: 200 * time.Millisecond, Loss: 0.02}
		m.Cable(sensor, "sensor")

		done := make(chan error, 1)
		go func() { done <- runSensor(ctx, m.Config("sensor")) }() // the program under test
		for i := range 3600 {
			msg, err := m.Node("base").Receive(ctx)
			if want := fmt.Sprint("reading ", i); err != nil || msg.Text() != want {
				t.Fatalf("got %q (%v), want %q", msg.Text(), err, want)
			}
			if i%1000 == 500 { // somebody stands in the way
				m.Cable(meshtest.Cable{Cut: meshtest.Both}, "sensor")
				time.Sleep(50 * time.Second) // less than Config.Retention
				m.Cable(sensor, "sensor")
			}
		}
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	})
}

// runSensor sends a reading every second for an hour.
func runSensor(ctx context.Context, cfg mesh.Config) error {
	n, err := mesh.Join(ctx, cfg)
	if err != nil {
		return err
	}
	defer n.Close()
	for i := range 3600 {
		time.Sleep(time.Second)
		if err := n.Send(ctx, "base", fmt.Sprint("reading ", i)); err != nil {
			return err
		}
	}
	return n.Flush(ctx)
}
