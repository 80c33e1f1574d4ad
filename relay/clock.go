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
	tick  time.Duration
	last  time.Duration // the last tick
	stood time.Duration // how long it last stood still …
	until time.Duration // … and how long that is an excuse
}

// at takes a tick: how long it is since the last, and how much longer than usual a silence may be now.
func (p *pacer) at(now time.Duration) (stood, grace time.Duration) {
	stood = now - p.last
	p.last = now
	if stood > 2*p.tick {
		p.stood, p.until = stood, now+stood
	}
	if now < p.until {
		grace = p.stood
	}
	return stood, grace
}
