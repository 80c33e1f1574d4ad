package mesh

import (
	"context"
	"flag"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"
)

// full tells whether -long (see kill_test.go) asks for the full measure.
func full() bool { return flag.Lookup("long").Value.String() == "true" }

func measure[T any](short, long T) T {
	if full() {
		return long
	}
	return short
}

func loadStar(t *testing.T) (*Node, func(name string, cfg Config) *Node) {
	t.Helper()
	ctx := context.Background()
	s, err := Listen(ctx, "127.0.0.1:0", Config{Name: "relay"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s, func(name string, cfg Config) *Node {
		cfg.Name = name
		n, err := Dial(ctx, s.Addr().String(), cfg)
		if err != nil {
			t.Error(err)
			return nil
		}
		t.Cleanup(func() { n.Close() })
		return n
	}
}

// TestManySendersToOne: the throughput to one receiver does not fall with the number of senders.
func TestManySendersToOne(t *testing.T) {
	rate := func(senders int) (perSecond float64, resent, busy uint64) {
		_, dial := loadStar(t)
		to := dial("to", Config{})
		ctx, stop := context.WithTimeout(context.Background(), measure(time.Second, 5*time.Second))
		defer stop()
		var all sync.WaitGroup
		var nodes []*Node
		for i := range senders {
			nodes = append(nodes, dial(fmt.Sprint("s", i), Config{SendBytes: 1 << 20}))
		}
		payload := make([]byte, 128)
		for _, n := range nodes {
			all.Go(func() {
				for n.Send(ctx, "to", payload) == nil {
				}
			})
		}
		got := 0
		start := time.Now()
		for range to.Messages(ctx) {
			got++
		}
		elapsed := time.Since(start).Seconds()
		all.Wait()
		for _, n := range nodes {
			n.out.one("to", func(s *outStream) { resent += s.stats.resent; busy += s.stats.busy })
		}
		return float64(got) / elapsed, resent, busy
	}
	few, _, _ := rate(4)
	many, resent, busy := rate(64)
	t.Logf("4 senders: %.0f messages a second; 64 senders: %.0f (%.2f of that), %d frames resent, %d times busy", few, many, many/few, resent, busy)
}

// TestManyLightNodes join at once and leave at once.
func TestManyLightNodes(t *testing.T) {
	count := measure(200, 1000)
	s, dial := loadStar(t)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	start := time.Now()
	nodes := make([]*Node, count)
	var all sync.WaitGroup
	for i := range nodes {
		all.Go(func() { nodes[i] = dial(fmt.Sprint("n", i), Config{}) })
	}
	all.Wait()
	if t.Failed() {
		return
	}
	joined := time.Since(start)
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := s.awaitRoster(ctx, "all", func(m map[string]listed, _ bool) bool { return len(m) == count+1 }); err != nil {
		t.Fatal(err)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	for _, n := range nodes {
		all.Go(func() { n.Close() })
	}
	all.Wait()
	if err := s.awaitRoster(ctx, "none", func(m map[string]listed, _ bool) bool { return len(m) == 1 }); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d joined in %v; %d KiB for each node and its link, both ends, with its copy of the roster", count, joined, (after.HeapInuse+after.StackInuse-before.HeapInuse-before.StackInuse)/uint64(count)>>10)
}

// TestReceiversThatNeverRead, flooded: the relay stays within its bounds, and another pair hardly notices.
func TestReceiversThatNeverRead(t *testing.T) {
	count := measure(10, 50)
	s, dial := loadStar(t)
	a, b := dial("a", Config{}), dial("b", Config{})
	ping := func(d time.Duration) (p50, p99 time.Duration) {
		var times []time.Duration
		for until := time.Now().Add(d); time.Now().Before(until); {
			start := time.Now()
			if err := a.Deliver(context.Background(), "b", "ping"); err != nil {
				t.Fatal(err)
			}
			times = append(times, time.Since(start))
			b.Get(All)
			time.Sleep(time.Millisecond)
		}
		slices.Sort(times)
		return times[len(times)/2], times[len(times)*99/100]
	}
	d := measure(time.Second, 30*time.Second)
	q50, q99 := ping(d)
	flooder := dial("flooder", Config{SendBytes: 1 << 20})
	for i := range count {
		dial(fmt.Sprint("deaf", i), Config{InboxBytes: 1 << 18})
	}
	ctx, stop := context.WithCancel(context.Background())
	var all sync.WaitGroup
	for i := range count {
		all.Go(func() {
			payload := make([]byte, 4096)
			for flooder.Send(ctx, fmt.Sprint("deaf", i), payload) == nil {
			}
		})
	}
	f50, f99 := ping(d)
	waiting := s.hub.Stats().OutboxBytes
	stop()
	all.Wait()
	t.Logf("round trip p50 %v p99 %v quiet, p50 %v p99 %v beside %d flooded receivers that never read; the relay holds %d bytes", q50, q99, f50, f99, count, waiting)
	if limit := int64(count+3) << 20; int64(waiting) > limit {
		t.Errorf("the relay holds %d bytes, its bound is %d", waiting, limit)
	}
}
