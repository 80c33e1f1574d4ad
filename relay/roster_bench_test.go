package relay

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"ultrasockets/codec"
)

// BenchmarkRoster builds the roster that each newcomer to a mesh of 1,000 gets.
func BenchmarkRoster(b *testing.B) {
	h := NewHub(HubConfig{Mesh: "lab", Own: hello("relay")})
	for i := range 1000 {
		hi := hello(fmt.Sprintf("node%d", i))
		hi.Transforms = []string{"snappy"}
		h.names[hi.Name] = &peer{listing: listingOf(&hi, "127.0.0.1:1234"), seat: seat{name: hi.Name, listed: true}}
	}
	b.ReportAllocs()
	for b.Loop() {
		if frames := h.rosterFrames(); codec.Raw(frames).Kind() != codec.KindRoster {
			b.Fatal("no roster")
		}
	}
}

// BenchmarkJoinAll lets 1,000 nodes join at once, each of which wants the roster, until all know of all.
func BenchmarkJoinAll(b *testing.B) {
	const nodes = 1000
	for b.Loop() {
		h, addr := hubOn(b, HubConfig{Heartbeat: time.Minute})
		runIdle(b, h.Reign(Reign{}))
		links := make([]*Link, nodes)
		var dialling, running sync.WaitGroup
		var updates atomic.Int64
		for i := range nodes {
			dialling.Go(func() {
				hi := hello(fmt.Sprintf("node%d", i))
				hi.Transforms = []string{"snappy"}
				hi.Addrs = []string{fmt.Sprintf("127.0.0.1:%d", 1000+i)}
				for links[i] == nil { // in such a crowd some are turned away without a word
					links[i], _ = Dial(context.Background(), addr, DialConfig{Hello: hi})
				}
			})
		}
		census := make(chan struct{}, nodes)
		dialling.Wait()
		for _, l := range links {
			running.Go(func() { l.Run(&counter{nodes: nodes + 1, all: census, updates: &updates}) })
		}
		for range nodes {
			<-census
		}
		b.StopTimer()
		b.ReportMetric(float64(updates.Load())/nodes, "updates/node")
		h.Close()
		running.Wait()
		for _, l := range links {
			l.Close()
		}
		b.StartTimer()
	}
}

// counter counts the nodes that a roster and its updates name, as they come.
type counter struct {
	ignore
	nodes, known int
	all          chan<- struct{}
	updates      *atomic.Int64
}

func (c *counter) HandleFrame(f codec.Raw, _ *Memory) {
	before := c.known
	switch f.Kind() {
	case codec.KindRoster:
		r, _ := codec.ParseRoster(f.Payload())
		c.known += len(r.Entries)
	case codec.KindUpdate:
		u, _ := codec.ParseUpdate(f.Payload())
		c.known += len(u.Changes)
		c.updates.Add(1)
	}
	if before < c.nodes && c.known >= c.nodes {
		c.all <- struct{}{}
	}
}
