package relay

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// Who reads a link: one goroutine at a time. It is Run's, unless what it has read woke one goroutine in Await, and no other.
// That one is likely to come back soon and wait for more; so Run stands by and lets it read for itself, as a guest. What
// comes then reaches who waits for it without a change of threads, which is much of what a round trip costs. (The field
// knows this as leader and followers.) Much that comes at once is handled with less effort, too, by who has just read it. Run
// reads again when nobody comes for a while, when others come who wait, and when the guest takes its time between two visits:
// then both have enough to do.

const (
	standTime = time.Millisecond       // nobody has read for so long, or up to twice that: Run reads again
	quickTime = 100 * time.Microsecond // a guest that was away for longer leaves the reading to Run
	goodStay  = 8                      // after so many visits it was worth while to stand by
	maxShy    = 63                     // so often at most Run does not stand by although it might, after it was not
)

// reading is whose turn it is to read a link. Safe for concurrent use.
type reading struct {
	offered atomic.Bool   // Run stands by; changed under mu
	nudge   chan struct{} // cap 1: Run is to look at once

	// owned by Run
	shy, pass int // it does not stand by so often, and so often again before it does the next time

	// guarded by mu
	mu      sync.Mutex
	resting bool // Run stands by without looking at the time
	isTaken bool // a guest reads …
	isAlone bool // … and nobody else came
	guest   guest
	moves   uint64        // guests that came, and that went
	leftAt  time.Duration // when the last one went, or Run; by monotonic
	err     error         // what a guest has found, for Run
}

// guest is what a goroutine waits for that reads for itself.
type guest struct {
	ready chan struct{}
	done  <-chan struct{} // of its context
}

// Await implements [Port].
func (l *Link) Await(ctx context.Context, ready chan struct{}) error {
	if l.reading.enter(ctx, ready) && l.readFor(ctx, ready) {
		return nil
	}
	return idleFor(ctx, ready)
}

// idleFor waits and does nothing else.
func idleFor(ctx context.Context, ready <-chan struct{}) error {
	select {
	case <-ready:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// enter makes the caller the guest, if Run stands by and there is none.
func (r *reading) enter(ctx context.Context, ready chan struct{}) bool {
	if !r.offered.Load() {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.offered.Load() || r.isTaken {
		r.isAlone = false
		return false
	}
	if monotonic()-r.leftAt > quickTime {
		r.giveBack()
		return false
	}
	r.isTaken, r.isAlone, r.guest = true, true, guest{ready, ctx.Done()}
	r.moves++
	return true
}

// leave ends the turn of the guest. What comes next is Run's if others came meanwhile; else the next guest's.
func (r *reading) leave(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.isTaken, r.guest = false, guest{}
	r.moves++
	r.leftAt, r.err = monotonic(), err
	switch {
	case !r.isAlone || err != nil:
		r.giveBack()
	case r.resting:
		r.call()
	}
}

// giveBack makes it Run's turn. The caller holds mu.
func (r *reading) giveBack() {
	r.offered.Store(false)
	r.call()
}

// call makes Run look at once.
func (r *reading) call() {
	select {
	case r.nudge <- struct{}{}:
	default:
	}
}

// readFor reads until ready tells; false: something else came first.
func (l *Link) readFor(ctx context.Context, ready <-chan struct{}) (told bool) {
	r := &l.reading
	var err error
	defer func() { r.leave(err) }()
	for {
		select {
		case <-ready:
			return true
		default:
		}
		if ctx.Err() != nil {
			return false
		}
		if err = l.fill(); err != nil {
			return false
		}
		if _, err = l.handle(); err != nil {
			return false
		}
	}
}

// mayStandBy tells whether so many as were woken by what Run has read may read on for themselves.
func (r *reading) mayStandBy(woken int) bool {
	if woken != 1 {
		return false
	}
	if r.pass > 0 {
		r.pass--
		return false
	}
	return true
}

// standBy lets guests read, until it is Run's turn again. The error is what one of them has found.
func (l *Link) standBy() error {
	r := &l.reading
	timer := time.NewTimer(standTime)
	defer timer.Stop()
	quit := l.quit
	r.mu.Lock()
	defer r.mu.Unlock()
	r.offered.Store(true)
	r.leftAt = monotonic()
	began := r.moves
	for seen := began; ; seen = r.moves {
		r.mu.Unlock()
		still := false
		select {
		case <-timer.C:
			timer.Reset(standTime)
			still = true
		case <-r.nudge:
		case <-quit:
			quit = nil // a guest finds the connection closed
		}
		r.mu.Lock()
		still = still && r.moves == seen
		switch {
		case !r.isTaken && (still || quit == nil || !r.offered.Load()):
			r.learn(r.moves-began >= 2*goodStay)
			r.offered.Store(false)
			return r.err
		case r.isTaken && still:
			r.rest(l)
		}
	}
}

// learn notes whether it was worth while to stand by.
func (r *reading) learn(worthIt bool) {
	if worthIt {
		r.shy = 0
	} else {
		r.shy = min(2*r.shy+1, maxShy)
	}
	r.pass = r.shy
}

// rest waits until a guest that waits for long has something to look at, or has gone. The caller holds mu.
func (r *reading) rest(l *Link) {
	g, seen := r.guest, r.moves
	r.resting = true
	r.mu.Unlock()
	news := true
	select {
	case _, open := <-g.ready:
		if open {
			g.ready <- struct{}{} // it is the guest's
		}
	case <-g.done:
	case <-r.nudge:
		news = false
	case <-l.quit:
		news = false // the connection is closed
	}
	r.mu.Lock()
	r.resting = false
	if news && r.moves == seen {
		_ = rawConn(l.conn).SetReadDeadline(time.Unix(1, 0)) // it reads, and is to look: see fill
	}
}
