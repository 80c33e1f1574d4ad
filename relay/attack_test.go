package relay

import (
	"context"
	"flag"
	"io"
	"log/slog"
	"net"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Attacks on a hub over real sockets on loopback, which is the worst place to be attacked from: no address is limited there.
// What is asserted is counts and memory. Latencies are printed, for they say as much about the machine as about the hub.

// long makes the attacks as large as the security page says they were tried; .ci/long sets it.
var long = flag.Bool("long", false, "attack at full size")

// pick gives the short or the full size of an attack.
func pick[T any](short, full T) T {
	if *long {
		return full
	}
	return short
}

// pair is two honest nodes: one asks, the other answers, at a pace that leaves the relay idle.
type pair struct {
	t       *testing.T
	x, y    net.Conn
	ask     []byte
	answer  []byte
	echoing sync.WaitGroup
}

const pace = 2 * time.Millisecond

func newPair(t *testing.T, addr string, secret []byte) *pair {
	p := &pair{t: t, x: rawLink(t, addr, "honest1", secret), y: rawLink(t, addr, "honest2", secret)}
	p.ask, p.answer = data("honest1", "honest2", 1, 1, "ask"), data("honest2", "honest1", 1, 1, "answer")
	p.echoing.Go(func() {
		buf := make([]byte, len(p.ask))
		for {
			if _, err := io.ReadFull(p.y, buf); err != nil {
				return
			}
			if _, err := p.y.Write(p.answer); err != nil {
				return
			}
		}
	})
	t.Cleanup(p.close)
	return p
}

func (p *pair) close() {
	p.x.Close()
	p.y.Close()
	p.echoing.Wait()
}

// talk asks at the pace until done is closed, and returns how long each answer took, the shortest first. What it could not ask
// in time it asks as soon as it can, so the pace is kept if there is room for it.
func (p *pair) talk(done <-chan struct{}) []time.Duration {
	var took []time.Duration
	turn := time.NewTimer(0)
	defer turn.Stop()
	buf := make([]byte, len(p.answer))
	for start := time.Now(); ; {
		select {
		case <-done:
			slices.Sort(took)
			return took
		case <-turn.C:
		}
		begun := time.Now()
		if _, err := p.x.Write(p.ask); err != nil {
			p.t.Error("the honest pair:", err)
			return nil
		}
		p.x.SetReadDeadline(time.Now().Add(waitLimit))
		if _, err := io.ReadFull(p.x, buf); err != nil {
			p.t.Error("the honest pair:", err)
			return nil
		}
		took = append(took, time.Since(begun))
		turn.Reset(time.Until(start.Add(time.Duration(len(took)) * pace)))
	}
}

func at(sorted []time.Duration, percent int) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[(len(sorted)-1)*percent/100]
}

// beside lets an honest pair talk while it is quiet, and then while f runs. Every question must be answered.
func beside(t *testing.T, addr string, secret []byte, f func()) (quiet, during []time.Duration) {
	t.Helper()
	p := newPair(t, addr, secret)
	calm := make(chan struct{})
	time.AfterFunc(pick(250*time.Millisecond, 3*time.Second), func() { close(calm) })
	quiet = p.talk(calm)
	done := make(chan struct{})
	var attack sync.WaitGroup
	attack.Go(func() {
		defer close(done)
		f()
	})
	begun := time.Now()
	during = p.talk(done)
	attack.Wait()
	p.close()
	t.Logf("an honest pair: quiet p50 %v p99 %v (%d); meanwhile p50 %v p99 %v (%d in %v, %.0f %% of the pace)",
		at(quiet, 50), at(quiet, 99), len(quiet), at(during, 50), at(during, 99), len(during), time.Since(begun).Round(time.Millisecond),
		100*float64(len(during))*float64(pace)/float64(time.Since(begun)))
	return quiet, during
}

// heap is the memory in use after a collection.
func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapInuse + m.StackInuse)
}

// lines is a logger's handler that counts, and takes everything.
type lines struct{ n atomic.Int64 }

func (l *lines) Enabled(context.Context, slog.Level) bool      { return true }
func (l *lines) WithAttrs([]slog.Attr) slog.Handler            { return l }
func (l *lines) WithGroup(string) slog.Handler                 { return l }
func (l *lines) Handle(_ context.Context, r slog.Record) error { l.n.Add(1); return nil }

// siege is a hub that is attacked, with what it cost.
type siege struct {
	t          *testing.T
	hub        *Hub
	addr       string
	log        lines
	begun      time.Time
	heap       int64
	goroutines int
	most       atomic.Int64 // goroutines
}

// besiege starts a hub with an own node and a first link, and takes the measures.
func besiege(t *testing.T, secret []byte) *siege {
	s := &siege{t: t}
	s.hub, s.addr = hubOn(t, HubConfig{Secret: secret, Logger: slog.New(&s.log), Heartbeat: time.Minute})
	runIdle(t, s.hub.Reign(Reign{}))
	s.heap, s.goroutines, s.begun = heap(), runtime.NumGoroutine(), time.Now()
	return s
}

// count remembers the largest number of goroutines.
func (s *siege) count() {
	if n := int64(runtime.NumGoroutine()); n > s.most.Load() {
		s.most.Store(n)
	}
}

// lifted checks what is left a moment after the attack: of goroutines nothing, of memory little, of the log ten lines a second.
func (s *siege) lifted() Stats {
	s.t.Helper()
	took := time.Since(s.begun)
	lines := s.log.n.Load()
	if most := int64(maxLogLines * (took/time.Second + 2)); lines > most {
		s.t.Errorf("%d lines in the log within %v", lines, took)
	}
	left := 0
	waitFor(s.t, s.hub, "the end of the handshakes", func() bool {
		left = runtime.NumGoroutine() - s.goroutines
		return s.hub.Stats().Pending == 0 && left <= 0
	})
	ended := time.Since(s.begun) - took
	grown := heap() - s.heap
	if grown > 16<<20 {
		s.t.Errorf("%d KiB more memory", grown>>10)
	}
	s.t.Logf("it lasted %v; at most %d goroutines, after %v none left; %d KiB more memory; %d log lines",
		took.Round(time.Millisecond), s.most.Load()-int64(s.goroutines), ended.Round(time.Millisecond), grown>>10, lines)
	return s.hub.Stats()
}

// crowd lets a few workers do f n times in all: at full speed, or at full size a thousand times a second, for the attackers have
// the same processor as the attacked.
func crowd(workers, n int, f func(i int)) {
	turns := make(chan int)
	var all sync.WaitGroup
	for range workers {
		all.Go(func() {
			for i := range turns {
				f(i)
			}
		})
	}
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for i := range n {
		if *long && i%10 == 0 {
			<-tick.C
		}
		turns <- i
	}
	close(turns)
	all.Wait()
}
