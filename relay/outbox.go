package relay

import (
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Sizes of an outbox.
const (
	// chunkSize is the unit of memory of a busy outbox. With the 18 bytes that
	// the secure channel adds, one chunk is one record within 64 KiB.
	chunkSize = 64<<10 - 32
	// firstChunk is the size of the first chunk of an outbox that was empty, so
	// that a few bytes for each of thousands of links do not cost 64 KiB each.
	firstChunk = 4 << 10
	// turnChunks is the most that one write takes.
	turnChunks = 4

	defaultOutbox  = 1 << 20
	minOutbox      = 64 << 10
	maxOutbox      = 1 << 30
	controlReserve = 64 << 10
	defaultBudget  = 256 << 20
)

// chunk is a piece of an outbox: len(b) bytes are used.
type chunk struct{ b []byte }

var (
	bigChunks   = sync.Pool{New: func() any { return &chunk{make([]byte, 0, chunkSize)} }}
	smallChunks = sync.Pool{New: func() any { return &chunk{make([]byte, 0, firstChunk)} }}
)

func newChunk(small bool) *chunk {
	if small {
		return smallChunks.Get().(*chunk)
	}
	return bigChunks.Get().(*chunk)
}

func (c *chunk) free() {
	small := cap(c.b) == firstChunk
	c.b = c.b[:0]
	if small {
		smallChunks.Put(c)
	} else {
		bigChunks.Put(c)
	}
}

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
	onEmpty func()         // called by the drainer when a roster is due and all is written; may be nil
	onRoom  func()         // called by the drainer after a refusal, when half is free
	conn    net.Conn       // what writer writes to; nil: drained by an attachment
	direct  *direct        // nil: not possible
	writing sync.WaitGroup // the writer, for the reader to wait for

	since atomic.Int64 // when the write that is under way began; 0: none

	// guarded by mu
	mu        sync.Mutex
	state     outboxState
	queue     []*chunk
	held      int  // bytes queued and being written
	closed    bool // nothing is taken any more
	sealed    bool // nothing is taken any more, and what is here is still written
	roomy     bool // onRoom may be called
	refused   bool // onRoom is due
	rosterDue bool // onEmpty is due
	empty     chan struct{}
	lastWrite time.Duration

	// owned by the drainer
	turn []*chunk // what is being written
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
	if o.closed || o.sealed {
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

// put copies b, whole frames, into the outbox, or takes nothing of it. If mark
// is true, the caller has marked the outbox and must call wake.
func (o *outbox) put(b []byte, control bool) (v verdict, mark bool) {
	o.mu.Lock()
	if v = o.fits(len(b), control); v == taken {
		mark = o.take(b)
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
	mark := !o.closed && !o.sealed && o.take(b)
	o.mu.Unlock()
	if mark {
		o.wake()
	}
}

// write is put and wake in one; a refusal makes onRoom due.
func (o *outbox) write(b []byte, control bool) verdict {
	o.mu.Lock()
	v := o.fits(len(b), control)
	mark := false
	switch v {
	case taken:
		mark = o.take(b)
	case full, spent:
		o.refused = true
	}
	o.mu.Unlock()
	if mark {
		o.wake()
	}
	return v
}

// take appends b and tells whether it marked the outbox; mu is held.
func (o *outbox) take(b []byte) bool {
	o.grow(len(b))
	for len(b) > 0 {
		last := len(o.queue) - 1
		if last < 0 || len(o.queue[last].b) == cap(o.queue[last].b) {
			o.queue = append(o.queue, newChunk(last < 0 && len(b) <= firstChunk))
			last++
		}
		c := o.queue[last]
		n := min(len(b), cap(c.b)-len(c.b))
		c.b = append(c.b, b[:n]...)
		b = b[n:]
	}
	if o.state == idle {
		o.state = marked
		return true
	}
	return false
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
		o.state = idle
		return false
	}
	o.state = busy
	if o.conn != nil {
		o.writing.Add(1)
	}
	return true
}

// writeDirect writes whole frames at once if the outbox is idle, and queues
// what the kernel does not take. False: nothing was done.
func (o *outbox) writeDirect(b []byte) bool {
	if o.direct == nil {
		return false
	}
	o.mu.Lock()
	if o.state != idle || o.fits(len(b), false) != taken {
		o.mu.Unlock()
		return false
	}
	o.state = busy
	o.grow(len(b))
	o.mu.Unlock()

	n := o.direct.write(b)

	o.mu.Lock()
	o.shrink(n)
	if rest := b[n:]; len(rest) > 0 {
		if o.closed {
			o.shrink(len(rest))
		} else {
			o.requeue(rest)
		}
	}
	if len(o.queue) == 0 && !o.rosterDue && !o.refused {
		o.settle()
		o.mu.Unlock()
		return true
	}
	o.state = marked
	start := o.start()
	o.mu.Unlock()
	if start {
		o.drain()
	}
	return true
}

// requeue puts what writeDirect could not write before everything that came
// meanwhile; its bytes are counted already. mu is held.
func (o *outbox) requeue(rest []byte) {
	var head []*chunk
	for len(rest) > 0 {
		c := newChunk(len(rest) <= firstChunk)
		n := min(len(rest), cap(c.b))
		c.b = append(c.b, rest[:n]...)
		head, rest = append(head, c), rest[n:]
	}
	o.queue = append(head, o.queue...)
}

// settle makes the outbox idle; mu is held, nothing is queued.
func (o *outbox) settle() {
	o.state = idle
	if o.empty != nil {
		close(o.empty)
		o.empty = nil
	}
}

// next gives the drainer its next turn. False: nothing is left, and the drainer
// must stop at once.
func (o *outbox) next() bool {
	for {
		o.mu.Lock()
		if o.closed {
			o.discard()
			o.settle()
			o.mu.Unlock()
			return false
		}
		var call func()
		switch {
		case o.rosterDue && o.held == 0:
			o.rosterDue, call = false, o.onEmpty
		case o.refused && o.roomy && o.held <= o.limit/2:
			o.refused, call = false, o.onRoom
		case len(o.queue) == 0:
			o.settle()
			o.mu.Unlock()
			return false
		default:
			n := min(len(o.queue), turnChunks)
			o.turn = append(o.turn[:0], o.queue[:n]...)
			m := copy(o.queue, o.queue[n:])
			clear(o.queue[m:])
			o.queue = o.queue[:m]
			o.since.Store(int64(o.clock.now()) | 1)
			o.mu.Unlock()
			return true
		}
		o.mu.Unlock()
		if call != nil {
			call()
		}
	}
}

// done gives the turn's memory back.
func (o *outbox) done() {
	n := 0
	for i, c := range o.turn {
		n += len(c.b)
		c.free()
		o.turn[i] = nil
	}
	o.turn = o.turn[:0]
	o.since.Store(0)
	o.mu.Lock()
	o.shrink(n)
	o.lastWrite = o.clock.now()
	o.mu.Unlock()
}

// discard throws away what is queued; mu is held.
func (o *outbox) discard() {
	n := 0
	for _, c := range o.queue {
		n += len(c.b)
		c.free()
	}
	o.queue = nil
	o.shrink(n)
}

// writer is the drainer of an outbox with a connection: it writes until
// nothing is left. A failed write closes the connection, which its reader finds.
func (o *outbox) writer() {
	defer o.writing.Done()
	for o.next() {
		err := o.writeTurn()
		o.done()
		if err != nil {
			o.close()
			o.conn.Close()
		}
	}
}

func (o *outbox) writeTurn() error {
	if len(o.turn) == 1 {
		_, err := o.conn.Write(o.turn[0].b)
		return err
	}
	o.bufs = o.bufs[:0]
	for _, c := range o.turn {
		o.bufs = append(o.bufs, c.b)
	}
	defer clear(o.bufs)
	if s, ok := o.conn.(*secureConn); ok {
		return s.writeBuffers(o.bufs)
	}
	o.left = o.bufs // WriteTo consumes it
	_, err := o.left.WriteTo(o.conn)
	return err
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

// seal appends last words, and refuses all that comes. The result is closed when
// everything is written, or the outbox is closed.
func (o *outbox) seal(last []byte) <-chan struct{} {
	o.mu.Lock()
	mark := false
	if !o.closed && !o.sealed && len(last) > 0 {
		mark = o.take(last)
	}
	o.sealed = true
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

// markRoster makes onEmpty due; the caller saw a put refused, so a drainer is at work or will be.
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

// stuckSince tells when the write that is under way began, if one is.
func (o *outbox) stuckSince() (time.Duration, bool) {
	t := o.since.Load()
	return time.Duration(t), t != 0
}
