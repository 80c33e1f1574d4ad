package relay

import (
	"fmt"
	"time"
)

// frameTime is how long one frame may take to come once it has begun. A bit that flips in a frame's length makes what
// follows look like a part of it: the link lives then, for bytes come, and nothing passes.
const frameTime = 10 * time.Second

var errEndless = fmt.Errorf("%w: a frame does not end; its length may have been damaged on the way", ErrProtocol)

// frameWatch watches over one reader's frames. It belongs to that reader.
type frameWatch struct {
	waiting bool
	since   time.Duration
}

// check is told after each look at what was read how many bytes of whole frames were in it, and how many are left.
func (p *frameWatch) check(now time.Duration, whole, left int) error {
	if whole > 0 || !p.waiting {
		p.since = now
	}
	p.waiting = left > 0
	if p.waiting && now-p.since > frameTime {
		return errEndless
	}
	return nil
}
