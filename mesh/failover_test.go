package mesh_test

import (
	"context"
	"testing"
	"time"

	"ultrasockets/mesh"
	"ultrasockets/mesh/meshtest"
)

// TestRelayKilled kills the relay again and again under traffic: everything arrives, once and in order.
func TestRelayKilled(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	m := meshtest.NewWith(t, func(c *mesh.Config) { c.Logger = testLog(t) }, "r0", "r1", "r2", "a", "b")
	a, b := m.Node("a"), m.Node("b")
	const total = 20000
	sent := make(chan error, 1)
	go func() {
		for i := range total {
			if err := a.Send(ctx, "b", i); err != nil {
				sent <- err
				return
			}
			if i%1000 == 999 {
				time.Sleep(20 * time.Millisecond)
			}
		}
		sent <- nil
	}()
	kills := make(chan struct{})
	go func() {
		defer close(kills)
		for range 3 {
			name := ""
			for name = a.Relay(); name != "r0" && name != "r1" && name != "r2"; name = a.Relay() {
				if name == "a" || name == "b" || ctx.Err() != nil {
					return
				}
				time.Sleep(time.Millisecond)
			}
			start := time.Now()
			m.Kill(name)
			for a.Relay() == name || a.Relay() == "" {
				time.Sleep(time.Millisecond)
			}
			t.Logf("relay %s killed, %s after %v", name, a.Relay(), time.Since(start))
		}
	}()
	for i := range total {
		msg, err := b.Receive(ctx)
		if err != nil {
			t.Fatalf("after %d: %v", i, err)
		}
		if got := msg.Value(); got != int64(i) {
			t.Fatalf("got %v, want %d", got, i)
		}
	}
	if err := <-sent; err != nil {
		t.Fatal(err)
	}
	<-kills
}
