package load

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// patience is how long a round may take beyond its time until what has not arrived is lost.
const patience = 20 * time.Second

// beat is how often a paced sender sends what is due.
const beat = time.Millisecond

// Run runs a workload over a way for that time, and then until everything has arrived: a round counts all its messages,
// from the first one's sending to the last one's arrival. Rounds over one way need different numbers. The error is that
// of the way; messages lost are no error but counted.
func Run(ctx context.Context, way *Way, w Work, round uint32, d time.Duration) (Measure, error) {
	if w.Links > 0 {
		return idle(ctx, way, w.Links, d)
	}
	r := newRunner(way, w, round)
	runtime.GC() // what an earlier round left over is not this one's
	before, err := r.usage()
	if err != nil {
		return Measure{}, err
	}
	m, err := r.run(ctx, d)
	if err != nil {
		return m, err
	}
	after, err := r.usage()
	if err != nil {
		return m, err
	}
	m.spent(before, after)
	if way.Settle != nil {
		settle, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		if err := way.Settle(settle); err != nil {
			return m, err
		}
	}
	return m, nil
}

// runner is one round. The goroutines of run own a source, a tally or Asks each; run reads them when all have ended.
type runner struct {
	way     *Way
	work    Work
	stop    atomic.Bool // the time is over
	sources []*Source   // of each of the work's streams
	tallies []*tally    // of each of the way's inlets
	asks    *Asks       // nil: nobody asks
}

func newRunner(way *Way, w Work, round uint32) *runner {
	r := &runner{way: way, work: w}
	all := w.Senders
	for i, sender := range w.Streams() {
		pool := max(poolSize, 2*len(way.Outs[i])*Gathered)
		r.sources = append(r.sources, newSource(w, uint32(sender), round, pool, len(way.Outs[i]), &r.stop))
	}
	if w.Asks > 0 {
		n, outstanding := w.Callers()
		r.asks = &Asks{Outstanding: outstanding, timed: w.Asks == 1}
		for i := range n {
			r.asks.sources = append(r.asks.sources, newSource(w, uint32(all+i), round, poolSizeAsks, 1, &r.stop))
		}
		all += n
		r.asks.answers = newTally(HeaderSize, all, round)
	}
	for range way.Ins {
		r.tallies = append(r.tallies, newTally(w.Size, all, round))
	}
	return r
}

// run sends, takes and counts.
func (r *runner) run(parent context.Context, d time.Duration) (Measure, error) {
	ctx, cancel := context.WithTimeout(parent, d+patience)
	defer cancel()
	var (
		all  sync.WaitGroup
		mu   sync.Mutex
		errs []error
	)
	start := func(f func() error) {
		all.Go(func() {
			if err := f(); err != nil {
				mu.Lock()
				errs = append(errs, err)
				mu.Unlock()
				cancel() // the others would wait in vain
			}
		})
	}
	wire := r.wire()
	began := time.Now()
	for i, in := range r.way.Ins {
		start(func() error { return r.take(ctx, in, r.tallies[i]) })
	}
	for i, outs := range r.way.Outs {
		if r.work.Beside > 0 {
			start(func() error { return r.pace(ctx, outs, r.sources[i]) })
		} else {
			start(func() error { return r.stream(ctx, outs, r.sources[i]) })
		}
	}
	if r.asks != nil {
		start(func() error { return r.way.Asker.Ask(ctx, r.asks) })
	}
	timer := time.AfterFunc(d, func() { r.stop.Store(true) })
	defer timer.Stop()
	defer context.AfterFunc(ctx, func() { r.stop.Store(true) })()
	all.Wait()
	m := r.count(time.Since(began))
	m.Wire = r.wire() - wire
	if parent.Err() != nil {
		return m, parent.Err()
	}
	mu.Lock()
	defer mu.Unlock()
	for _, err := range errs { // what followed from the first one says nothing
		if !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded) {
			return m, err
		}
	}
	if len(errs) > 0 && m.Lost == 0 {
		return m, fmt.Errorf("a round of %v did not end within %v more: %w", d, patience, errs[0])
	}
	return m, nil
}

// take takes and checks messages until every source has sent its last.
func (r *runner) take(ctx context.Context, in In, t *tally) error {
	return in.Take(ctx, func(m []byte) bool {
		t.take(m)
		return t.lasts < in.Sources
	})
}

// stream sends to all outlets in turn, as fast as they take it.
func (r *runner) stream(ctx context.Context, outs []Outlet, s *Source) error {
	for i := 0; !r.stop.Load(); {
		if err := outs[i].Send(ctx, s.make(i, false)); err != nil {
			return err
		}
		if i++; i == len(outs) {
			i = 0
		}
	}
	return finish(ctx, outs, s)
}

// pace sends Work.Beside messages a second: what is due, a thousand times a second.
func (r *runner) pace(ctx context.Context, outs []Outlet, s *Source) error {
	tick := time.NewTicker(beat)
	defer tick.Stop()
	began, sent := time.Now(), 0
	for !r.stop.Load() {
		due := int(time.Since(began).Seconds() * float64(r.work.Beside))
		for ; sent < due; sent++ {
			i := sent % len(outs)
			if err := outs[i].Send(ctx, s.make(i, false)); err != nil {
				return err
			}
		}
		for _, o := range outs {
			if err := o.Flush(); err != nil {
				return err
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return finish(ctx, outs, s)
}

// finish sends the last message through each outlet.
func finish(ctx context.Context, outs []Outlet, s *Source) error {
	for i, o := range outs {
		if err := o.Send(ctx, s.make(i, true)); err != nil {
			return err
		}
		if err := o.Flush(); err != nil {
			return err
		}
	}
	return nil
}

func (r *runner) wire() uint64 {
	if r.way.Wire == nil {
		return 0
	}
	return r.way.Wire()
}

// count puts together what sources and tallies say, and the asks' times. What counts is what is answered, if somebody asks.
func (r *runner) count(took time.Duration) Measure {
	m := Measure{Seconds: took.Seconds()}
	streamed, asked := uint64(0), uint64(0)
	for _, s := range r.sources {
		streamed += s.sent()
	}
	for _, t := range r.tallies {
		m.add(t)
	}
	m.Messages = streamed
	if r.asks != nil {
		for _, s := range r.asks.sources {
			asked += s.sent()
		}
		m.Messages, m.Beside = asked, streamed
		m.P50, m.P90, m.P99, m.Max = percentiles(r.asks.times)
	}
	m.Bytes = m.Messages * uint64(r.work.Size)
	m.seal(streamed + asked)
	if a := r.asks; a != nil && a.answers.got > 0 {
		answers := Measure{}
		answers.add(a.answers)
		answers.seal(asked)
		m.Lost += answers.Lost
		m.Repeated += answers.Repeated
		m.Disordered += answers.Disordered
		m.Damaged += answers.Damaged
	}
	return m
}

// usage is what the process in between and this one have used so far.
func (r *runner) usage() (u usages, err error) {
	if r.way.Usage != nil {
		var between Usage
		if between, err = r.way.Usage(false); err != nil {
			return u, err
		}
		u.between = &between
	}
	u.driver = Used(false)
	return u, nil
}

type usages struct {
	between *Usage // nil: not known
	driver  Usage
}
