package relay

import "time"

// bucket is a token bucket: it fills at a rate, up to a burst, and what is taken beyond what is there is a debt to be
// waited for. So a taker never has to know beforehand how much it will want. It reads no clock, and belongs to one
// goroutine or lock at a time.
type bucket struct {
	rate  float64 // tokens a second
	burst float64

	level float64       // below zero: a debt
	at    time.Duration // when level was right
}

func newBucket(rate, burst float64, now time.Duration) bucket {
	return bucket{rate: rate, burst: burst, level: burst, at: now}
}

// take takes n tokens, and returns how long to wait until there is no debt. Nothing is taken by n = 0.
func (b *bucket) take(n int, now time.Duration) time.Duration {
	if now > b.at {
		b.level = min(b.burst, b.level+b.rate*(now-b.at).Seconds())
		b.at = now
	}
	b.level -= float64(n)
	if b.level >= 0 {
		return 0
	}
	return time.Duration(-b.level / b.rate * float64(time.Second))
}
