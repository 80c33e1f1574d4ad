package relay

import (
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// Sizes of an outbox, in bytes.
const (
	defaultOutbox  = 1 << 20
	minOutbox      = 64 << 10
	maxOutbox      = 1 << 30
	controlReserve = 64 << 10
	defaultBudget  = 256 << 20
)

// budget bounds the bytes in all outboxes of a hub.
type budget struct {
	used atomic.Int64
	max  int64
}

// An outbox is in one of these states. Whoever changes idle to marked must
// call wake soon; whoever changes it to busy drains it until it is idle again.
//
//	        put               wake
//	idle ---------> marked ---------> busy --+
//	 ^  \                              ^     |
//	 |   +--- claimed by a reader -----+     |
//	 +------------- nothing left ------------+
type outboxState uint8

const (
	idle   outboxState = iota
	marked             // something was put; the one that put it will wake the drainer
	busy               // a drainer is at work
)

// outbox holds what waits to be written to one link, or handed to one
// attachment. It is bounded, and filling it never waits. Safe for concurrent use.
type outbox struct {
	// static
	limit   int            // bytes of data
	reserve int            // bytes beyond, for control frames
	budget  *budget        // nil: none
	clock   *coarse        // for since
	drain   func()         // starts the drainer, which calls next and done; must not wait
	onRoom  func()         // called by the drainer after a refusal, when half is free
	conn    net.Conn       // what writer writes to; nil: drained by an attachment
	direct  *direct        // nil: not possible
	writing sync.WaitGroup // the writer, for the reader to wait for

	onCaughtUp func() // called by the drainer when a roster is due and half is free; may be nil

	since atomic.Int64 // when the write that is under way began, or last got somewhere; 0: none

	// guarded by mu
	mu        sync.Mutex
	state     outboxState
	queue     []piece
	owed      int  // bytes that the connection has encrypted and could not write: they go first
	held      int  // bytes queued, owed and being written
	closed    bool // nothing is taken any more
	final     bool // nothing is taken any more, and what is here is still written
	roomy     bool // onRoom may be called
	refused   bool // onRoom is due
	rosterDue bool // onCaughtUp is due
	empty     chan struct{}
	lastWrite time.Duration

	// owned by the drainer
	turn []piece // what is being written, behind …
	due  int     // … so many bytes that the connection owed
	bufs net.Buffers
	left net.Buffers
}

// verdict is what became of a put.
type verdict uint8

const (
	taken verdict = iota
	full          // over this outbox's limit
	spent         // over the hub's budget
	gone          // closed
)

// fits tells whether n more bytes are allowed; mu is held.
func (o *outbox) fits(n int, control bool) verdict {
	if o.closed || o.final {
		return gone
	}
	if o.held == 0 {
		return taken
	}
	limit := o.limit
	if control {
		limit += o.reserve
	}
	if o.held+n > limit {
		return full
	}
	if o.budget != nil && !control && o.budget.used.Load()+int64(n) > o.budget.max {
		return spent
	}
	return taken
}

// put copies b, whole frames, into the outbox, or retains lent, which holds them, or takes nothing of them. If mark
// is true, the caller has marked the outbox and must call wake.
func (o *outbox) put(b []byte, lent *Memory, control bool) (v verdict, mark bool) {
	o.mu.Lock()
	if v = o.fits(len(b), control); v == taken {
		o.grow(len(b))
		o.keep(b, lent)
		mark = o.mark()
	}
	o.mu.Unlock()
	return v, mark
}

// prime puts the first words of an outbox that nobody else knows yet. The caller must call wake.
func (o *outbox) prime(b []byte) {
	o.mu.Lock()
	o.take(b)
	o.mu.Unlock()
}

// force is put for the hub's own words, which must arrive: only a closed outbox refuses them.
func (o *outbox) force(b []byte) {
	o.mu.Lock()
	mark := !o.closed && !o.final && o.take(b)
	o.mu.Unlock()
	if mark {
		o.wake()
	}
}

// write is put and wake in one; a refusal makes onRoom due.
func (o *outbox) write(b []byte, control bool) verdict {
	w := Writing{flat: b, size: len(b)}
	return o.writeAll(&w, control)
}

// writeAll does the same for a Writing, and empties it if it is taken.
func (o *outbox) writeAll(w *Writing, control bool) verdict {
	o.mu.Lock()
	v := o.fits(w.size, control)
	mark := false
	switch v {
	case taken:
		mark = o.takeAll(w)
	case full, spent:
		o.refused = true
	}
	o.mu.Unlock()
	if mark {
		o.wake()
	}
	return v
}

// isBusy tells whether something waits or is being written, and makes onRoom due if so.
func (o *outbox) isBusy() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.state == idle {
		return false
	}
	o.refused = true
	return true
}

func (o *outbox) isIdle() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.state == idle
}

// take appends b and tells whether it marked the outbox; mu is held.
func (o *outbox) take(b []byte) bool {
	o.grow(len(b))
	o.copy(b)
	return o.mark()
}

// takeAll appends what w holds, and empties it; mu is held.
func (o *outbox) takeAll(w *Writing) bool {
	o.grow(w.size)
	from := 0
	for _, r := range w.refs {
		o.copy(w.flat[from:r.at])
		o.queue = append(o.queue, piece{held: r.payload, memory: r.memory})
		from = r.at
	}
	o.copy(w.flat[from:])
	w.empty()
	return o.mark()
}

// keep appends b: with lent, which holds it, if it is long and at least half of what that keeps; else a copy. mu is held.
func (o *outbox) keep(b []byte, lent *Memory) {
	if lent == nil || len(b) < directRun || 2*len(b) < lent.Size() {
		o.copy(b)
		return
	}
	lent.Retain()
	o.queue = append(o.queue, piece{held: b, memory: lent})
}

// mark marks an idle outbox, and tells whether it did; mu is held.
func (o *outbox) mark() bool {
	if o.state != idle {
		return false
	}
	o.state = marked
	return true
}

// copy appends a copy of b; mu is held.
func (o *outbox) copy(b []byte) {
	for len(b) > 0 {
		last := len(o.queue) - 1
		if last < 0 || o.queue[last].chunk == nil || len(o.queue[last].chunk.b) == cap(o.queue[last].chunk.b) {
			size := chunkSize
			switch {
			case last < 0:
				size = max(len(b), headChunk+1) // a few bytes for each of thousands of links shall cost no large chunk
			case o.queue[last].chunk == nil:
				size = len(b)
			}
			o.queue = append(o.queue, piece{chunk: newChunk(size)})
			last++
		}
		c := o.queue[last].chunk
		n := min(len(b), cap(c.b)-len(c.b))
		c.b = append(c.b, b[:n]...)
		b = b[n:]
	}
}

func (o *outbox) grow(n int) {
	o.held += n
	if o.budget != nil {
		o.budget.used.Add(int64(n))
	}
}

func (o *outbox) shrink(n int) {
	o.held -= n
	if o.budget != nil {
		o.budget.used.Add(int64(-n))
	}
}

// wake starts the drainer of a marked outbox.
func (o *outbox) wake() {
	o.mu.Lock()
	start := o.start()
	o.mu.Unlock()
	if start {
		o.drain()
	}
}

// start makes a marked outbox busy and tells whether the caller must call
// drain; mu is held.
func (o *outbox) start() bool {
	if o.state != marked {
		return false
	}
	if o.closed {
		o.settle()
		return false
	}
	o.state = busy
	if o.conn != nil {
		o.writing.Add(1)
	}
	return true
}

// settle makes the outbox idle; mu is held, nothing is queued.
func (o *outbox) settle() {
	o.state = idle
	if o.empty != nil {
		close(o.empty)
		o.empty = nil
	}
}

// close throws away what is queued and refuses all that comes.
func (o *outbox) close() {
	o.mu.Lock()
	o.closed = true
	o.discard()
	if o.state != busy {
		o.settle()
	}
	o.mu.Unlock()
}

// finish appends last words, and refuses all that comes. The result is closed when
// everything is written, or the outbox is closed.
func (o *outbox) finish(last []byte) <-chan struct{} {
	o.mu.Lock()
	mark := false
	if !o.closed && !o.final && len(last) > 0 {
		mark = o.take(last)
	}
	o.final = true
	c := o.emptied()
	o.mu.Unlock()
	if mark {
		o.wake()
	}
	return c
}

// emptied returns a channel that is closed when nothing is left; mu is held.
func (o *outbox) emptied() <-chan struct{} {
	if o.empty != nil {
		return o.empty
	}
	c := make(chan struct{})
	if o.state == idle {
		close(c)
	} else {
		o.empty = c
	}
	return c
}

// listen lets onRoom be called from now on, and catches up if it is due.
func (o *outbox) listen() {
	o.mu.Lock()
	o.roomy = true
	if o.refused && o.state == idle {
		o.state = marked
	}
	start := o.start()
	o.mu.Unlock()
	if start {
		o.drain()
	}
}

// markRoster makes onCaughtUp due; the caller saw a put refused, so a drainer is at work or will be.
func (o *outbox) markRoster() {
	o.mu.Lock()
	o.rosterDue = true
	if o.state == idle {
		o.state = marked
	}
	o.mu.Unlock()
	o.wake()
}

func (o *outbox) awaitsRoster() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.rosterDue
}

// stuck tells whether the write that is under way has got nowhere for so long. A write may be of 384 KiB, and a slow node is
// not a dead one: so a write that takes half of that time is asked, by a deadline that has passed, how far it is (writeFully).
func (o *outbox) stuck(now, tooLong time.Duration) bool {
	since := time.Duration(o.since.Load())
	if since == 0 {
		return false
	}
	if now-since > tooLong/2 && runtime.GOOS != "windows" { // there, what a write that was interrupted has written is not certain
		_ = rawConn(o.conn).SetWriteDeadline(time.Unix(1, 0))
	}
	return now-since > tooLong
}

// progress is what a write says that has got somewhere.
func (o *outbox) progress() { o.since.Store(int64(o.clock.now()) | 1) }
