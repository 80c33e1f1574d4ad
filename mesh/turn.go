package mesh

import (
	"context"
	"slices"
	"sync"
	"time"
)

const (
	turnFirst = 250 * time.Millisecond // a Hello that is not answered gives way to another after this …
	turnLast  = 4 * time.Second        // … later each time, and at last after this
	turnWait  = 4 * time.Second        // who connected waits for its turn at most so long: a relay waits 5 s for the first byte
)

// turn lets one Hello of a seek at a time wait for its answer: two with one token under way to one relay would throw each other
// out. Who has the turn gives way when its time is over and others wait, and the one that came first is next.
type turn struct {
	mu      sync.Mutex
	holder  *ticket
	waiting []*ticket
}

// ticket is what a target has of the turn. One dial at a time uses it; the seek looks at it, and sets hold, between dials.
type ticket struct {
	hold   time.Duration      // how long it keeps the turn while others wait
	cancel context.CancelFunc // makes it give way

	// guarded by turn.mu while there is a dial
	came   time.Time     // when it came first, since it had the turn last; zero: not yet
	called chan struct{} // closed when it has the turn
	over   bool          // it has had the turn for all its time, this time
}

// take waits for the turn: until ctx ends, or for turnWait. Then its error is context.Canceled.
func (t *turn) take(ctx context.Context, k *ticket) error {
	called := make(chan struct{})
	t.mu.Lock()
	if k.came.IsZero() {
		k.came = time.Now()
	}
	k.called, k.over = called, false
	t.waiting = append(t.waiting, k)
	switch {
	case t.holder == nil:
		t.next()
	case t.holder.over:
		t.holder.cancel()
	}
	t.mu.Unlock()
	late := time.NewTimer(turnWait)
	defer late.Stop()
	select {
	case <-called:
	case <-late.C:
	case <-ctx.Done():
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.holder == k {
		return nil
	}
	t.forget(k)
	return context.Canceled
}

func (t *turn) forget(k *ticket) {
	t.waiting = slices.DeleteFunc(t.waiting, func(w *ticket) bool { return w == k })
}

// leave gives the turn back. Without it, it does nothing.
func (t *turn) leave(k *ticket) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.holder == k {
		t.holder = nil
		t.next()
	}
}

// next gives the turn to one of those who wait. mu is held.
func (t *turn) next() {
	if len(t.waiting) == 0 {
		return
	}
	k := slices.MinFunc(t.waiting, func(a, b *ticket) int { return a.came.Compare(b.came) })
	t.forget(k)
	t.holder, k.came = k, time.Time{}
	called := k.called
	close(called)
	time.AfterFunc(k.hold, func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		if t.holder != k || k.called != called {
			return
		}
		k.over = true
		if len(t.waiting) > 0 {
			k.cancel()
		}
	})
}
