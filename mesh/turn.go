package mesh

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"
)

const (
	turnFirst = 250 * time.Millisecond // a Hello that is not answered gives way to another after this …
	turnLast  = 4 * time.Second        // … later each time, and at last after this
)

// turn lets one Hello of a seek at a time wait for its answer: two with one token under way to one relay would throw each other
// out. Who has the turn gives way when its time is over and others wait. Of them the one is next that has had the turn for the
// shortest time so far, and among equals the one that has waited for the longest: who never answers keeps nobody out for ever.
type turn struct {
	mu      sync.Mutex
	holder  *ticket
	waiting []*ticket // the longest first
}

// ticket is what a target has of the turn. One dial at a time uses it.
type ticket struct {
	hold   time.Duration      // how long it keeps the turn while others wait
	cancel context.CancelFunc // makes it give way

	// guarded by turn.mu
	called chan struct{} // closed when it has the turn
	since  time.Time     // when it got the turn
	spent  time.Duration // how long it had the turn before
	over   bool          // its time is over, or was when it had the turn last
}

// take waits for the turn.
func (t *turn) take(ctx context.Context, k *ticket) error {
	called := make(chan struct{})
	t.mu.Lock()
	k.called, k.over = called, false
	t.waiting = append(t.waiting, k)
	switch {
	case t.holder == nil:
		t.next()
	case t.holder.over:
		t.holder.cancel()
	}
	t.mu.Unlock()
	select {
	case <-called:
		return nil
	case <-ctx.Done():
		t.leave(k)
		return ctx.Err()
	}
}

// leave gives the turn back, or waits for it no more. Again does nothing.
func (t *turn) leave(k *ticket) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.holder != k {
		t.waiting = slices.DeleteFunc(t.waiting, func(w *ticket) bool { return w == k })
		return
	}
	k.spent += time.Since(k.since)
	t.holder = nil
	t.next()
}

// next gives the turn to one of those who wait. mu is held.
func (t *turn) next() {
	if len(t.waiting) == 0 {
		return
	}
	k := slices.MinFunc(t.waiting, func(a, b *ticket) int { return cmp.Compare(a.spent, b.spent) })
	t.waiting = slices.DeleteFunc(t.waiting, func(w *ticket) bool { return w == k })
	t.holder, k.since = k, time.Now()
	close(k.called)
	called := k.called
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
