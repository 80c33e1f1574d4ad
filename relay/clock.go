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

// pacer notices when whoever ticks stood still itself (a machine that was short of time, stopped or asleep): then what the
// others sent meanwhile may lie there unread, and they are given as long again before they are called dead.
type pacer struct {
	tick time.Duration
	last time.Duration // the last tick
	fair time.Duration // until then nobody is judged
}

// at takes a tick: how long it is since the last, and whether it is fair to judge who was silent.
func (p *pacer) at(now time.Duration) (stood time.Duration, fair bool) {
	stood = now - p.last
	p.last = now
	if stood > 2*p.tick {
		p.fair = now + stood
	}
	return stood, now >= p.fair
}
