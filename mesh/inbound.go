package mesh

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"ultrasockets/codec"
	"ultrasockets/relay"
)

// Steps 7 and 8 of a message's way, the shell: intake under a lock, and those who wait for what it brings.
// Lock order: inbound.mu, then those inside the port. It is never held while a stream's lock is taken.

// inbound is safe for concurrent use, but data and end, which belong to who reads the port.
type inbound struct {
	// static
	clock     func() time.Duration
	timeOfDay func() time.Time
	wake      func(at time.Duration)
	wait      func(ctx context.Context, ready <-chan struct{}) error // Node.await
	events    *events

	// owned by who reads the port
	open bool // mu is held for a batch of frames, all of which arrived
	read bool // … in one read with those before
	now  time.Duration
	wall time.Time

	// guarded by takeMu, which is taken before mu
	takeMu   sync.Mutex
	drawn    []parcel // moved out of the inbox together …
	handed   int      // … so many of them are wholly the application's …
	reported int      // … and so many are known to the intake to be

	batches atomic.Int32 // loops that run over Node.Batches
	short   atomic.Bool  // somebody waits for what is taken, or for room: it is reported at once; set under mu

	mu      sync.Mutex
	in      *intake
	answers []byte        // scratch
	current relay.Port    // where answers go; nil: there is no link
	arrived chan struct{} // closed when there is something to take; nil: nobody waits
	freed   chan struct{} // closed when there is room again; nil: nobody waits
	eager   bool          // no acknowledgement waits any more
	closed  error
}

func newInbound(set *settings, clock func() time.Duration, wake func(time.Duration), wait func(context.Context, <-chan struct{}) error, ev *events) *inbound {
	return &inbound{
		clock: clock, timeOfDay: set.Now, wake: wake, wait: wait, events: ev,
		in: newIntake(set.Name, set.InboxBytes, set.MaxMessage, set.unpacker.Unpack),
	}
}

// setPort changes where answers go, and how much may be granted through it.
func (b *inbound) setPort(p relay.Port) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.current = p
	if p != nil {
		b.in.setOutbox(int(min(p.Welcome().Outbox, maxOutbox)))
	}
}

// data takes a Data frame whose checksum is good; lent, if not nil, holds it. The lock is held until end, so that a batch of
// frames takes it once.
func (b *inbound) data(f codec.Raw, lent *relay.Memory) {
	if !b.open {
		b.mu.Lock()
		b.open, b.now, b.wall = true, b.clock(), b.timeOfDay()
		b.in.lend = b.batches.Load() > 0
		if !b.read {
			b.read, b.in.kept = true, nil
		}
	}
	b.in.data(b.now, b.wall, f, lent)
}

// readEnded says that what comes next was read later.
func (b *inbound) readEnded() { b.read = false }

// end ends a batch: answers leave, and who waits is woken.
func (b *inbound) end() (requests []request, replies []reply, woken bool) {
	if !b.open {
		return nil, nil, false
	}
	b.open = false
	requests, replies = b.in.requests, b.in.replies
	b.in.requests, b.in.replies = nil, nil
	gaps := b.in.gaps
	b.in.gaps = nil
	b.answer(false)
	woken = b.announce()
	short := b.short.Load()
	b.mu.Unlock()
	if short {
		b.report()
	}
	for _, g := range gaps {
		b.events.publish(Event{Kind: EventGap, Name: g.from, Count: int(g.frames)})
	}
	return requests, replies, woken
}

// answer writes the answers that are due. The caller holds mu.
func (b *inbound) answer(all bool) {
	b.answers = b.in.answers(b.clock(), b.answers[:0], all || b.eager)
	b.note()
	if len(b.answers) > 0 && b.current != nil {
		b.current.Write(b.answers, true) // what does not fit is lost, and asked for again by the sender's probe
	}
	b.wake(b.in.ackAt)
}

// acknowledge answers everything at once, now and from now on: the node is about to leave.
func (b *inbound) acknowledge() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.eager = true
	b.answer(true)
}

func (b *inbound) tick(now time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if now >= b.in.ackAt {
		b.answer(true)
	} else {
		b.wake(b.in.ackAt)
	}
}

// note notes whether somebody waits for what is taken. The caller holds mu.
func (b *inbound) note() { b.short.Store(b.in.awaited() || b.freed != nil && b.in.free() <= 0) }

// took tells senders, and who waits for room, that messages were taken. The caller holds mu.
func (b *inbound) took() {
	if len(b.in.urgent) > 0 || len(b.in.starved) > 0 || b.in.ackAt == noDeadline && len(b.in.late) > 0 {
		b.answer(false)
	}
	if b.freed != nil && b.in.free() > 0 {
		close(b.freed)
		b.freed = nil
	}
	b.note()
}

// report tells the intake at once what was handed out.
func (b *inbound) report() {
	b.takeMu.Lock()
	defer b.takeMu.Unlock()
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.reported < b.handed {
		b.reportTaken()
		b.took()
	}
}

// get takes up to n messages, newest first; n < 0: all.
func (b *inbound) get(n int) []Message {
	b.takeMu.Lock()
	defer b.takeMu.Unlock()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.reportTaken()
	b.in.inbox.putBack(b.drawn[b.handed:])
	clear(b.drawn)
	b.drawn, b.handed, b.reported = b.drawn[:0], 0, 0
	out := b.in.get(n)
	b.took()
	return out
}

// receive takes the oldest message into m, and waits for one.
func (b *inbound) receive(ctx context.Context, m *Message) error {
	return b.await(ctx, func() (<-chan struct{}, error) { return b.next(m) })
}

// await calls take, with takeMu held, until it gives no channel to wait for.
func (b *inbound) await(ctx context.Context, take func() (arrived <-chan struct{}, err error)) error {
	for {
		b.takeMu.Lock()
		arrived, err := take()
		b.takeMu.Unlock()
		if arrived == nil {
			return err
		}
		if err := b.wait(ctx, arrived); err != nil {
			return err
		}
	}
}

// next hands out the oldest message, or a channel that tells when there is one. Parcels are moved out of the inbox a few
// at a time, and reported as taken so too, unless somebody may wait to hear it. The caller holds takeMu.
func (b *inbound) next(m *Message) (arrived <-chan struct{}, err error) {
	if b.handed == len(b.drawn) {
		if arrived, err = b.draw(); arrived != nil || err != nil {
			return arrived, err
		}
	}
	p := &b.drawn[b.handed]
	p.takeAway(m)
	b.tookFrom(p, len(m.data))
	return nil, nil
}

// tookFrom notes that messages of so many bytes were taken from p, the oldest parcel drawn. The caller holds takeMu.
func (b *inbound) tookFrom(p *parcel, size int) {
	switch {
	case p.left == 0:
		b.handed++
		if p.own == nil && b.handed < len(b.drawn) && !b.short.Load() {
			return
		}
		b.mu.Lock()
		b.reportTaken()
	case b.short.Load():
		b.mu.Lock()
		b.in.tookPart(p, size)
	default:
		return
	}
	b.took()
	b.mu.Unlock()
}

// batch is messages that are lent to the application, and what they are in.
type batch struct {
	messages []Message
	memories []*relay.Memory
}

// batchMost is how many messages are lent at a time.
const batchMost = 64

// receiveBatch takes the oldest messages into lent, which must be empty, and waits for one.
func (b *inbound) receiveBatch(ctx context.Context, lent *batch) error {
	return b.await(ctx, func() (<-chan struct{}, error) { return b.nextBatch(lent) })
}

// nextBatch lends the oldest messages, as many as are at hand, or gives a channel that tells when there are some. The caller
// holds takeMu.
func (b *inbound) nextBatch(lent *batch) (arrived <-chan struct{}, err error) {
	if b.handed == len(b.drawn) {
		if arrived, err = b.draw(); arrived != nil || err != nil {
			return arrived, err
		}
	}
	for b.handed < len(b.drawn) && len(lent.messages) < batchMost {
		p, size := &b.drawn[b.handed], 0
		for p.left > 0 && len(lent.messages) < batchMost {
			n := len(lent.messages)
			lent.messages = lent.messages[:n+1]
			p.take(&lent.messages[n])
			size += len(lent.messages[n].data)
		}
		if p.memory != nil {
			lent.memories = append(lent.memories, p.memory)
			if p.left > 0 {
				p.memory.Retain()
			} else {
				p.memory = nil
			}
		}
		b.tookFrom(p, size)
	}
	return nil, nil
}

// giveBack ends the use of what is lent.
func (l *batch) giveBack() {
	for _, m := range l.memories {
		m.Release()
	}
	clear(l.memories)
	clear(l.messages)
	l.messages, l.memories = l.messages[:0], l.memories[:0]
}

// draw moves parcels out of the inbox, or gives a channel that tells when there are some. The caller holds takeMu.
func (b *inbound) draw() (arrived <-chan struct{}, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.drawn, b.handed, b.reported = b.in.draw(b.drawn[:0]), 0, 0
	if len(b.drawn) > 0 {
		return nil, nil
	}
	if b.closed != nil {
		return nil, b.closed
	}
	if b.arrived == nil {
		b.arrived = make(chan struct{})
	}
	return b.arrived, nil
}

// reportTaken tells the intake which parcels were handed out. The caller holds takeMu and mu.
func (b *inbound) reportTaken() {
	list := b.drawn[b.reported:b.handed]
	b.in.tookDrawn(list)
	clear(list)
	b.reported = b.handed
}

// local puts a message of this node to itself into its inbox, and waits for room until ctx ends.
func (b *inbound) local(ctx context.Context, to string, data []byte, own *receipt) error {
	for {
		b.mu.Lock()
		if b.closed != nil {
			defer b.mu.Unlock()
			return b.closed
		}
		if b.in.local(b.timeOfDay(), to, data, own) {
			b.announce()
			b.mu.Unlock()
			return nil
		}
		if b.freed == nil {
			b.freed = make(chan struct{})
		}
		freed := b.freed
		b.short.Store(true)
		b.mu.Unlock()
		b.report()
		select {
		case <-freed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// tryLocal does the same for a best-effort message, and does not wait.
func (b *inbound) tryLocal(to string, data []byte) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed == nil && b.in.local(b.timeOfDay(), to, data, nil) {
		b.announce()
	}
}

// handled notes that a request has gone to the handler: it counts no more.
func (b *inbound) handled(r request) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.in.took(&r.parcel)
	b.took()
}

// announce wakes who waits for a message, if there is one, and tells whether somebody did. The caller holds mu.
func (b *inbound) announce() (woken bool) {
	if b.arrived == nil || b.in.inbox.ready() == 0 {
		return false
	}
	close(b.arrived)
	b.arrived = nil
	return true
}

// peerGone tells that a node has left.
func (b *inbound) peerGone(name string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.in.gone(name)
	b.took()
}

// setPaused stops or restarts what can be taken of new arrivals.
func (b *inbound) setPaused(paused bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.in.paused == paused {
		return
	}
	if paused {
		b.in.pause()
		return
	}
	b.in.resume()
	b.answer(false)
	b.announce()
}

// close wakes everybody. What is in the inbox can still be taken.
func (b *inbound) close(reason error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = reason
	b.in.resume()
	b.current = nil
	for _, c := range []chan struct{}{b.arrived, b.freed} {
		if c != nil {
			close(c)
		}
	}
	b.arrived, b.freed = nil, nil
}
