package mesh

import (
	"sync/atomic"
	"time"

	"ultrasockets/relay"
)

// clock tells the time since a node was made, sleep of the machine included. Go's own clock, which costs little, may
// stand still in sleep; so look adds what the machine has slept, whenever a link begins: after a sleep that matters
// nothing is sent before that. Safe for concurrent use.
type clock struct {
	// static
	injected func() time.Duration // Config.Clock; nil: the machine's
	began    time.Duration        // what that told when the node was made
	start    time.Time

	slept atomic.Int64
}

func newClock(injected func() time.Duration) *clock {
	c := &clock{injected: injected, start: time.Now()}
	if injected != nil {
		c.began = injected()
	} else {
		c.began = relay.SystemClock()
	}
	return c
}

func (c *clock) now() time.Duration {
	if c.injected != nil {
		return c.injected() - c.began
	}
	return time.Since(c.start) + time.Duration(c.slept.Load())
}

// look notes how long the machine has slept.
func (c *clock) look() {
	if c.injected == nil {
		if slept := relay.SystemClock() - c.began - time.Since(c.start); slept > time.Second {
			c.slept.Store(int64(slept))
		}
	}
}
