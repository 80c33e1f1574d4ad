package mesh_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"testing"
	"time"

	"ultrasockets/mesh"
)

func testLog(t *testing.T) *slog.Logger {
	if os.Getenv("ULTRA_TEST_LOG") == "" {
		return nil
	}
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

func TestSmoke(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	a, err := mesh.Join(ctx, mesh.Config{Name: "a", Bind: "127.0.0.1", NoMDNS: true, Logger: testLog(t)})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	b, err := mesh.Join(ctx, mesh.Config{Name: "b", Bind: "127.0.0.1", NoMDNS: true, Seeds: []string{a.Addr().String()}, Logger: testLog(t)})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	c, err := mesh.Dial(ctx, a.Addr().String(), mesh.Config{Name: "c", Logger: testLog(t)})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	nodes := []*mesh.Node{a, b, c}
	for _, n := range nodes {
		if err := n.WaitFor(ctx, "a", "b", "c"); err != nil {
			t.Fatal(err)
		}
	}
	for _, from := range nodes {
		for _, to := range nodes {
			for i := range 100 {
				if err := from.Send(ctx, to.Name(), fmt.Sprint(from.Name(), i)); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	for _, n := range nodes {
		if err := n.Flush(ctx); err != nil {
			t.Fatal(err)
		}
	}
	for _, n := range nodes {
		next := map[string]int{}
		for range 300 {
			m, err := n.Receive(ctx)
			if err != nil {
				t.Fatal(err)
			}
			if want := fmt.Sprint(m.From, next[m.From]); m.Text() != want {
				t.Fatalf("%s: got %q, want %q", n.Name(), m.Text(), want)
			}
			next[m.From]++
		}
	}
	big := make([]byte, 5<<20)
	if err := b.Deliver(ctx, "c", big); err != nil {
		t.Fatal(err)
	}
	m, err := c.Receive(ctx)
	if err != nil || len(m.Bytes()) != len(big) {
		t.Fatal(err, len(m.Bytes()))
	}
}
