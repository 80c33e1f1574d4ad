package relay

import (
	"sync/atomic"
	"time"
)

// A clock tells the time since some fixed moment. It goes on while the machine
// sleeps, where the system has such a clock: a laptop that opens its lid must
// notice that it was away. Tests bring their own.
type clock func() time.Duration

var processStart = time.Now()

// monotonic is the clock of systems without a better one; it may stop in sleep.
func monotonic() time.Duration { return time.Since(processStart) }

// coarse is a clock's time as published by whoever ticks for it; good for
// stamps that are compared with heartbeats, and as cheap as a load.
type coarse struct{ t atomic.Int64 }

func (c *coarse) now() time.Duration      { return time.Duration(c.t.Load()) }
func (c *coarse) publish(t time.Duration) { c.t.Store(int64(t)) }
