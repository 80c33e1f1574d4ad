package relay

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// Who reads a link: one goroutine at a time. It is Run's, unless what it has read woke one goroutine in Await, or gave one some
// work, and no other waits. In a quick exchange that one comes back at once for more; so Run stands by and lets it read for
// itself, as a guest. What comes then reaches who waits for it without a change of threads, which is much of what a round trip
// costs; and much that comes at once is handled with less effort, too, by who has just read it. (The field knows this as leader
// and followers.) Run reads again when nothing comes for the guest, when it takes its time between two visits, when it has
// read what is not for it alone, and when others wait. Whoever needs the link meanwhile may have to wait for a tick; so Run
// learns when this is in vain, or does harm.

const (
	standTime = time.Millisecond       // the tick in which Run looks whether it is to read again
	quickTime = 100 * time.Microsecond // a guest that was away for longer leaves the reading to Run
	goodStay  = 8                      // after so many visits it was worth while to stand by
	maxShy    = 1023                   // so often at most Run does not stand by although it might, after it was not
)

// reading is whose turn it is to read a link. Safe for concurrent use.
type reading struct {
	offered atomic.Bool   // Run stands by; changed under mu
	idle    atomic.Int32  // those in Await that do not read
	nudge   chan struct{} // cap 1: Run is to look at once

	// owned by Run
	shy, pass int // it does not stand by so often, and so often again before it does the next time

	// guarded by mu
	mu     sync.Mutex
	isIn   bool          // a guest reads
	moves  int           // guests that came, and that went, since Run stands by
	leftAt time.Duration // when the last one went, or Run; by monotonic
	err    error         // what a guest has found, for Run
}

// Await implements [Port].
func (l *Link) Await(ctx context.Context, ready <-chan struct{}) error {
	if l.Visit(ctx, ready) {
		return nil
	}
	l.reading.idle.Add(1)
	defer l.reading.idle.Add(-1)
	return Wait(ctx, ready)
}

// Visit implements [Port].
func (l *Link) Visit(ctx context.Context, ready <-chan struct{}) (told bool) {
	return l.reading.enter() && l.readFor(ctx, ready)
}

// Wait waits until ready tells or ctx ends, whose error it then returns, and does nothing else.
func Wait(ctx context.Context, ready <-chan struct{}) error {
	select {
	case <-ready:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// enter makes the caller the guest, if Run stands by and there is none.
func (r *reading) enter() bool {
	if !r.offered.Load() {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.offered.Load() || r.isIn {
		return false
	}
	if monotonic()-r.leftAt > quickTime {
		r.giveBack()
		return false
	}
	r.isIn = true
	r.moves++
	return true
}

// leave ends the turn of the guest. What comes next is the next guest's if something has come, and for nobody else; or Run's if
// there is a reason.
func (r *reading) leave(alone bool, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.isIn = false
	r.moves++
	r.leftAt, r.err = monotonic(), err
	if !alone || err != nil || r.idle.Load() > 0 || !r.offered.Load() {
		r.giveBack()
	}
}

// end makes it Run's turn for good: the link has ended.
func (r *reading) end() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.giveBack()
}

// giveBack makes it Run's turn. The caller holds mu.
func (r *reading) giveBack() {
	r.offered.Store(false)
	select {
	case r.nudge <- struct{}{}:
	default:
	}
}

// readFor reads until ready tells; false: something else came first.
func (l *Link) readFor(ctx context.Context, ready <-chan struct{}) (told bool) {
	came, shared, err := false, false, error(nil)
	defer func() { l.reading.leave(came && !shared, err) }()
	for {
		select {
		case <-ready:
			return true
		default:
		}
		if ctx.Err() != nil || !l.reading.offered.Load() {
			return false
		}
		n, woken, others := 0, 0, 0
		if n, err = l.fill(); err == nil {
			woken, others, err = l.handle()
		}
		if err != nil {
			return false
		}
		came, shared = came || n > 0, shared || woken+others > 1
	}
}

// mayStandBy tells whether those whom what Run has read has woken, and others whom it gave work, may read on for themselves.
func (r *reading) mayStandBy(woken, others int) bool {
	if woken+others != 1 || int(r.idle.Load()) > woken { // who was woken may be counted still
		return false
	}
	if r.pass > 0 {
		r.pass--
		return false
	}
	return true
}

// standBy lets guests read, until it is Run's turn again, and then reads and handles what comes. The error may be what a guest has found.
func (l *Link) standBy() (woken, others int, err error) {
	visits, kept, err := l.lookOn()
	if err != nil {
		return 0, 0, err
	}
	began := monotonic()
	if _, err := l.fill(); err != nil {
		return 0, 0, err
	}
	atOnce := monotonic()-began < quickTime/2
	woken, others, err = l.handle()
	l.reading.learn(visits >= goodStay, kept && atOnce && others > 0)
	return woken, others, err
}

// lookOn is standBy until it is Run's turn, and counts the visits of guests. kept tells whether what came last may have had to wait
// for the tick.
func (l *Link) lookOn() (visits int, kept bool, err error) {
	r := &l.reading
	tick := time.NewTicker(standTime)
	defer tick.Stop()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.moves, r.leftAt = 0, monotonic()
	r.offered.Store(!l.ended()) // else end may have been before
	for {
		seen := r.moves
		r.mu.Unlock()
		select {
		case <-tick.C:
		case <-r.nudge:
			seen = -1
		}
		r.mu.Lock()
		switch {
		case r.isIn && r.moves == seen: // nothing has come for it: it may as well wait elsewhere
			r.offered.Store(false)
			_ = rawConn(l.conn).SetReadDeadline(time.Unix(1, 0)) // see fill
		case !r.isIn && (!r.offered.Load() || monotonic()-r.leftAt > quickTime):
			kept = r.offered.Swap(false)
			return r.moves / 2, kept, r.err
		}
	}
}

// learn notes whether it was worth while to stand by, and whether others may have had to wait meanwhile.
func (r *reading) learn(worthIt, harm bool) {
	switch {
	case harm:
		r.shy = min(4*r.shy+63, maxShy)
	case worthIt:
		r.shy = 0
	default:
		r.shy = min(2*r.shy+1, maxShy)
	}
	r.pass = r.shy
}
