package mesh

import (
	"sync/atomic"
	"time"
)

// clockwork calls tick when somebody asked for it: one goroutine and one timer for everything in a node that waits.
type clockwork struct {
	clock func() time.Duration
	next  atomic.Int64 // when the next tick is due
	nudge chan struct{}
	quit  chan struct{}
}

func newClockwork(clock func() time.Duration) *clockwork {
	c := &clockwork{clock: clock, nudge: make(chan struct{}, 1), quit: make(chan struct{})}
	c.next.Store(int64(noDeadline))
	return c
}

// wake asks for a tick at that time, or earlier. Safe for concurrent use, also from within tick.
func (c *clockwork) wake(at time.Duration) {
	for {
		next := c.next.Load()
		if int64(at) >= next {
			return
		}
		if c.next.CompareAndSwap(next, int64(at)) {
			select {
			case c.nudge <- struct{}{}:
			default:
			}
			return
		}
	}
}

// run calls tick until stop.
func (c *clockwork) run(tick func(now time.Duration)) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for !c.stopped() {
		wait := time.Duration(c.next.Load()) - c.clock()
		if wait <= 0 {
			c.next.Store(int64(noDeadline)) // whoever needs the next tick says so from here on
			tick(c.clock())
			continue
		}
		timer.Reset(min(wait, time.Hour))
		select {
		case <-timer.C:
		case <-c.nudge:
		case <-c.quit:
		}
	}
}

func (c *clockwork) stopped() bool {
	select {
	case <-c.quit:
		return true
	default:
		return false
	}
}

// stop is called once.
func (c *clockwork) stop() { close(c.quit) }
