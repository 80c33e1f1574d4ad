package mesh_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"ultrasockets/mesh"
)

// BenchmarkJoin is the time from Join to the first delivered message, for a second node on loopback.
func BenchmarkJoin(b *testing.B) {
	for _, how := range []string{"mdns", "seed"} {
		b.Run(how, func(b *testing.B) {
			ctx := context.Background()
			cfg := mesh.Config{Name: "first", Mesh: fmt.Sprintf("bench-%08x", rand.Uint32()), Bind: "127.0.0.1", NoMDNS: how == "seed"}
			first, err := mesh.Join(ctx, cfg)
			if err != nil {
				b.Fatal(err)
			}
			defer first.Close()
			if p := first.Problems(); len(p) > 0 {
				b.Skip("multicast does not work here: ", p)
			}
			if how == "seed" {
				cfg.Seeds = []string{first.Addr().String()}
			}
			var times []time.Duration
			for i := 0; b.Loop(); i++ {
				cfg.Name = fmt.Sprint("second", i)
				start := time.Now()
				n, err := mesh.Join(ctx, cfg)
				if err != nil {
					b.Fatal(err)
				}
				if err := n.Deliver(ctx, "first", "hello"); err != nil {
					b.Fatal(err)
				}
				times = append(times, time.Since(start))
				b.StopTimer()
				n.Close()
				b.StartTimer()
			}
			slices.Sort(times)
			b.ReportMetric(float64(times[len(times)/2].Microseconds())/1000, "median-ms")
			b.ReportMetric(float64(times[len(times)-1].Microseconds())/1000, "worst-ms")
		})
	}
}

// BenchmarkDeliver is one message after the other, each waiting for its acknowledgement, through a relay.
func BenchmarkDeliver(b *testing.B) {
	for _, size := range []int{128, 4 << 10, 16 << 10} {
		b.Run(strconv.Itoa(size), func(b *testing.B) { benchDeliver(b, size) })
	}
}

func benchDeliver(b *testing.B, size int) {
	ctx := context.Background()
	_, a, c := benchStar(b)
	go func() {
		for range c.Messages(ctx) {
		}
	}()
	payload := make([]byte, size)
	rand.NewChaCha8([32]byte{}).Read(payload) // nothing that snappy could make smaller
	b.ReportAllocs()
	for b.Loop() {
		if err := a.Deliver(ctx, "c", payload); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkRequest is one request after the other, each answered by a handler, through a relay.
func BenchmarkRequest(b *testing.B) {
	ctx := context.Background()
	_, a, c := benchStar(b)
	c.Handle(func(_ context.Context, m mesh.Message) (any, error) { return m.Bytes()[:16], nil })
	payload := make([]byte, 128)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := a.Request(ctx, "c", payload); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkSend is one sender at full speed to one receiver: through a relay, and to and from the relay's own node.
func BenchmarkSend(b *testing.B) {
	for _, way := range []string{"a to c", "a to s", "s to c"} {
		for _, size := range []int{16, 128, 1024, 64 << 10} {
			b.Run(fmt.Sprintf("%s/%d", strings.ReplaceAll(way, " ", "_"), size), func(b *testing.B) { benchSend(b, way, size) })
		}
	}
}

func benchSend(b *testing.B, way string, size int) {
	ctx := context.Background()
	s, a, c := benchStar(b)
	nodes := map[string]*mesh.Node{"s": s, "a": a, "c": c}
	from, to, _ := strings.Cut(way, " to ")
	payload := make([]byte, size)
	for i := range payload {
		payload[i] = byte(rand.Uint32())
	}
	b.SetBytes(int64(size))
	b.ReportAllocs()
	b.ResetTimer()
	go func() {
		for range b.N {
			if nodes[from].Send(ctx, to, payload) != nil {
				return
			}
		}
	}()
	for range b.N {
		if _, err := nodes[to].Receive(ctx); err != nil {
			b.Fatal(err)
		}
	}
}

func benchStar(b *testing.B) (s, a, c *mesh.Node) {
	ctx := context.Background()
	s, err := mesh.Listen(ctx, "127.0.0.1:0", mesh.Config{Name: "s"})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { s.Close() })
	for _, p := range []**mesh.Node{&a, &c} {
		name := map[**mesh.Node]string{&a: "a", &c: "c"}[p]
		if *p, err = mesh.Dial(ctx, s.Addr().String(), mesh.Config{Name: name}); err != nil {
			b.Fatal(err)
		}
		n := *p
		b.Cleanup(func() { n.Close() })
	}
	a.WaitFor(ctx, "c")
	return s, a, c
}
