package mesh

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"ultrasockets/codec"
	"ultrasockets/relay"
)

// Step 2 of a message's way, the shell: the senders of a node, one for each name, each under its own lock. Lock order: outStream.mu, then those inside the port.

// maxStreams is the number of names to which messages can be held at the same time.
const maxStreams = 1 << 16

// askPart is the part of SendBytes after which a sender asks for an acknowledgement, and with its last frame if it holds half:
// who waits for room waits until half is free.
const askPart = 4

// crowdKeep is for how many writes it is remembered that several send on a stream at the same time.
const crowdKeep = 4

// outbound is safe for concurrent use.
type outbound struct {
	// static
	set     *settings
	clock   func() time.Duration
	wake    func(at time.Duration) // asks for a tick at that time
	events  *events
	lookup  func(name string) (codec.Entry, bool)
	require bool // some transform of this node is required: nothing travels to a node whose transforms are unknown

	port atomic.Pointer[portRef]

	streams sync.Map                      // of *outStream by name; written under mu
	recent  [16]atomic.Pointer[outStream] // a few of them, by slot
	refuses atomic.Bool                   // closed is set

	mu     sync.Mutex
	count  int           // of streams
	dropAt time.Duration // when dropIdle may run again
	closed error

	blockedMu sync.Mutex
	blocked   []*outStream // the port had no room for them
	spare     []*outStream // memory for the next ones

	dueMu sync.Mutex
	due   map[*outStream]struct{} // those with a deadline: they take part in ticks

	receipts receipts
	failures failures // given up since the last Flush
}

// portRef makes an interface fit into an atomic pointer.
type portRef struct{ relay.Port }

// outStream is one sender with its lock and those who wait for it.
type outStream struct {
	mu sync.Mutex
	sender
	instance   uint64 // of the receiver as the roster says; 0: not known
	maxMessage uint64 // that it takes
	packer     *codec.Packer
	packErr    error // why there is none
	packBuf    []byte
	room       chan struct{} // closed when there is room again; nil: nobody waits
	flushes    []flushWait
	isBlocked  bool        // it waits for the link
	isNoted    bool        // it is in outbound.blocked; guarded by blockedMu
	isDue      bool        // is in outbound.due
	crowd      int         // so many times what is written gathers: others waited for mu while it was written
	gone       bool        // not in outbound.streams any more: look it up again
	isFull     atomic.Bool // its receiver's last answer allows nothing

	// What may join the newest entry without a look at anything else, until the stream is locked for something else: it
	// goes with those before it, when these can.
	open *entry
	rest int // bytes that are left for it, of the entry, its memory and Config.SendBytes; 0: what comes is looked at
	most int // bytes of each
}

// lock locks a stream for whatever may change it.
func (s *outStream) lock() {
	s.mu.Lock()
	s.rest = 0
}

type flushWait struct {
	until uint64 // so many are done
	done  chan struct{}
}

func newOutbound(set *settings, clock func() time.Duration, wake func(time.Duration), ev *events, lookup func(string) (codec.Entry, bool)) *outbound {
	return &outbound{
		set: set, clock: clock, wake: wake, events: ev, lookup: lookup,
		require: set.unpacker.Required() != 0,
		due:     make(map[*outStream]struct{}),
	}
}

// accepting is nil while messages are taken, then why not.
func (o *outbound) accepting() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.closed
}

// existing is the stream to a name; nil: there is none.
func (o *outbound) existing(to string) *outStream {
	s, _ := o.streams.Load(to)
	if s == nil {
		return nil
	}
	return s.(*outStream)
}

// slot is where the stream to a name is kept at hand, if it is the last one used of those that share the slot.
func (o *outbound) slot(to string) *atomic.Pointer[outStream] {
	if to == "" {
		return &o.recent[0]
	}
	return &o.recent[(int(to[len(to)-1])+len(to))%len(o.recent)]
}

// all are the streams of now.
func (o *outbound) all() (list []*outStream) {
	o.streams.Range(func(_, s any) bool {
		list = append(list, s.(*outStream))
		return true
	})
	return list
}

// stream is the stream to a name, made at its first use.
func (o *outbound) stream(to string) (*outStream, error) {
	slot := o.slot(to)
	if s := slot.Load(); s != nil && s.to == to && !o.refuses.Load() {
		return s, nil
	}
	if s := o.existing(to); s != nil && !o.refuses.Load() {
		slot.Store(s)
		return s, nil
	}
	if err := codec.CheckName(to); err != nil {
		return nil, err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed != nil {
		return nil, o.closed
	}
	if s := o.existing(to); s != nil {
		return s, nil
	}
	if now := o.clock(); o.count >= maxStreams && now >= o.dropAt {
		o.dropAt = now + time.Second
		o.dropIdle()
	}
	if o.count >= maxStreams {
		return nil, fmt.Errorf("%w: messages to %d names are held already", ErrTooManyNames, maxStreams)
	}
	s := &outStream{sender: *newSender(to, o.set.Name, o.set.Retention, o.clock())}
	s.askEvery = o.set.SendBytes / askPart
	if e, ok := o.lookup(to); ok {
		s.setPeer(o.set.Transforms, e)
	}
	o.streams.Store(to, s)
	o.count++
	return s, nil
}

// dropIdle forgets streams that hold nothing: they would begin again with a new number, which is as good. The caller holds mu.
func (o *outbound) dropIdle() {
	for _, s := range o.all() {
		if s.mu.TryLock() {
			if s.held() == 0 && len(s.taken) == 0 {
				s.gone = true
				o.streams.Delete(s.to)
				o.count--
			}
			s.mu.Unlock()
		}
	}
}

func (s *outStream) setPeer(mine []codec.Transform, e codec.Entry) {
	s.instance, s.maxMessage = e.Instance, e.MaxMessage
	s.known, s.never = true, false
	s.paused = e.State == codec.StatePaused
	s.packer, s.packErr = codec.NewPacker(mine, e.Transforms, e.Required)
	if s.packErr == nil {
		s.maxCut = s.packer.MaxPlain()
		s.maxShare = int(min(uint64(s.maxCut), e.MaxMessage))
	}
}

// join queues byte strings as long as they join others that wait, and nothing is to be done but that: most of a sender in a
// hurry. It gives how many; send sees to the next.
func (o *outbound) join(to string, list ...[]byte) int {
	s := o.slot(to).Load()
	if s == nil || s.to != to || o.refuses.Load() || !s.mu.TryLock() {
		return 0
	}
	n := s.joinBytes(list)
	s.mu.Unlock()
	return n
}

// letJoin lets byte strings join the newest entry from now on. The caller holds s.mu.
func (s *outStream) letJoin(set *settings) {
	s.open = s.queue.at(s.queue.len() - 1)
	if s.open.open && s.open.flags == 0 {
		s.rest = min(s.open.room(), set.SendBytes-messageCost-s.bytes)
		s.most = int(min(shareMost, uint64(set.MaxMessage), s.maxMessage)) - codec.MaxBytesHead
	}
}

// joinBytes is join where letJoin has allowed it. The caller holds s.mu.
func (s *outStream) joinBytes(list [][]byte) (n int) {
	if s.rest == 0 || len(list) == 0 {
		return 0
	}
	n, size := s.open.joinBytes(list, s.most, s.rest)
	if n > 0 {
		s.rest -= size
		s.bytes += size
		s.pushed += uint64(n)
		s.joined = true
	}
	return n
}

// send queues a message, and waits for room until ctx ends.
func (o *outbound) send(ctx context.Context, to string, d *draft) error {
	for {
		s, err := o.stream(to)
		if err != nil {
			return err
		}
		size := d.size()
		if !s.mu.TryLock() {
			s.mu.Lock()
			s.crowd = crowdKeep
		}
		s.rest = 0
		switch {
		case s.gone:
			s.mu.Unlock()
			o.slot(to).CompareAndSwap(s, nil)
			continue
		case s.packErr != nil:
			err := s.packErr
			s.mu.Unlock()
			return err
		case s.instance != 0 && !s.absent && uint64(size) > s.maxMessage && uint64(d.exactSize()) > s.maxMessage:
			err := fmt.Errorf("%w (%d bytes, %q takes %d)", ErrTooLarge, d.exactSize(), to, s.maxMessage)
			s.mu.Unlock()
			return err
		case s.bytes+size+messageCost <= o.set.SendBytes || s.bytes == 0:
			joined := s.join(d)
			if joined && (s.isBlocked || !s.hasWork()) {
				s.letJoin(o.set) // it goes with those before it, and so do the next
				s.mu.Unlock()
				return nil
			}
			if !joined {
				s.push(o.clock(), d)
			}
			if len(d.behind) > 0 && s.granted { // else nobody has said yet that more than a message may come
				s.letJoin(o.set)
				d.joined = s.joinBytes(d.behind)
				s.rest = 0
			}
			o.pump(s)
			o.settle(s)
			return nil
		}
		if s.room == nil {
			s.room = make(chan struct{})
		}
		room := s.room
		s.mu.Unlock()
		select {
		case <-room:
		case <-ctx.Done():
			return fmt.Errorf("what may be queued for it is (Config.SendBytes, %d), and it takes no more: %w", o.set.SendBytes, o.whyNot(ctx, to))
		}
	}
}

// whyNot says why a name did not take what was sent before ctx ended.
func (o *outbound) whyNot(ctx context.Context, to string) error {
	switch e, ok := o.lookup(to); {
	case o.port.Load() == nil:
		return fmt.Errorf("this node has no relay now: %w", ctx.Err())
	case !ok:
		return fmt.Errorf("%w: %w", ErrNoPeer, ctx.Err())
	case e.State == codec.StatePaused:
		return fmt.Errorf("%w: %w", ErrPaused, ctx.Err())
	}
	if s := o.existing(to); s != nil && s.isFull.Load() {
		return fmt.Errorf("its inbox is full: %w", ctx.Err())
	}
	return ctx.Err()
}

// settle tells everybody what changed, unlocks s, and asks for the next tick.
func (o *outbound) settle(s *outStream) {
	at := s.deadline()
	if due := at != noDeadline; due != s.isDue {
		s.isDue = due
		o.setDue(s, due)
	}
	// What was given up is noted before a Flush that waits for it may go on.
	for i := range s.given {
		g := &s.given[i]
		for r := g.receipts; r != nil; {
			next := r.next
			if r.finish(g.reason) {
				g.told++
			}
			r = next
		}
	}
	lost := o.failures.note(s.to, s.given)
	s.given = nil
	if s.room != nil && (s.bytes < o.set.SendBytes/2 || s.gone) {
		close(s.room)
		s.room = nil
	}
	for len(s.flushes) > 0 && s.flushes[0].until <= s.done {
		close(s.flushes[0].done)
		s.flushes = s.flushes[1:]
	}
	s.mu.Unlock()
	o.wake(at)
	for _, e := range lost {
		o.set.log.Warn("messages undelivered", "peer", e.To, "count", e.Count, "unsent", e.Unsent, "err", e.Reason)
		o.events.publish(Event{Kind: EventUndelivered, Name: e.To, Count: e.Count, Reason: e.Reason.Error(), Err: e})
	}
}

func (o *outbound) setDue(s *outStream, due bool) {
	o.dueMu.Lock()
	defer o.dueMu.Unlock()
	if due {
		o.due[s] = struct{}{}
	} else {
		delete(o.due, s)
	}
}

// each calls f for every stream, with its lock held; f must not unlock it. What f changed is settled, and what the
// window then allows is written.
func (o *outbound) each(f func(s *outStream)) {
	o.forAll(o.all(), f)
}

func (o *outbound) forAll(list []*outStream, f func(s *outStream)) {
	for _, s := range list {
		s.lock()
		f(s)
		o.pump(s)
		o.settle(s)
	}
}

// one does the same for the stream to one name, if there is one.
func (o *outbound) one(to string, f func(s *outStream)) {
	o.mu.Lock() // one that is just being made is waited for: it may not know what f is about
	s := o.existing(to)
	o.mu.Unlock()
	if s == nil {
		return
	}
	s.lock()
	f(s)
	o.pump(s)
	o.settle(s)
}

// setPort changes the link that everything is written to; nil: there is none at the moment.
func (o *outbound) setPort(p relay.Port) {
	if p == nil {
		o.port.Store(nil)
		return
	}
	o.port.Store(&portRef{p})
	o.unblock(func(*outStream) {})
	o.each(func(s *outStream) {
		s.isBlocked = false
		s.isFull.Store(false)
		s.linkChanged(o.clock())
	})
}

// peerHere tells that a node of that name is linked, and what it takes.
func (o *outbound) peerHere(e codec.Entry) {
	o.one(e.Name, func(s *outStream) {
		restarted, wasAbsent := s.instance != 0 && s.instance != e.Instance, s.absent
		s.setPeer(o.set.Transforms, e)
		if restarted {
			s.forgetTaken(ErrOutcomeUnknown) // what the former instance's application took nobody will say any more
		}
		if restarted || wasAbsent {
			s.isFull.Store(false)
			s.linkChanged(o.clock())
		}
	})
}

// peerGone tells that no node of that name is linked any more.
func (o *outbound) peerGone(name string) {
	o.one(name, func(s *outStream) { s.setAbsent(o.clock()) })
}

// answer takes an Ack, Reset or Unreachable, and returns how many it told what they waited for.
func (o *outbound) answer(f codec.Raw) (told int) {
	s := o.existing(string(f.From()))
	if s == nil {
		return 0
	}
	s.lock()
	s.told = 0
	if f.Stream() == s.id {
		here := false
		if f.Kind() == codec.KindUnreachable {
			_, here = o.lookup(s.to)
		}
		s.takeAnswer(o.clock(), f, here)
		o.pump(s)
	}
	told = s.told
	o.settle(s)
	return told
}

// takeAnswer does what an answer means; here tells whether the roster lists the name.
func (s *outStream) takeAnswer(now time.Duration, f codec.Raw, here bool) {
	s.look(now)
	s.isFull.Store(false)
	switch f.Kind() {
	case codec.KindAck:
		if a, err := codec.ParseAck(f.Payload()); err == nil {
			s.onAck(now, f.Seq(), a)
			s.isFull.Store(s.granted && s.window == 0)
		}
	case codec.KindReset:
		if r, err := codec.ParseReset(f.Payload()); err == nil {
			s.onReset(now, f.Seq(), r.Known)
		}
	case codec.KindUnreachable:
		u, err := codec.ParseUnreachable(f.Payload())
		if err != nil {
			return
		}
		switch u.Reason {
		case codec.Absent:
			if !here {
				s.setAbsent(now)
				return
			}
			s.onBusy(now, f.Seq()) // it has come since: the roster was faster than this
		case codec.Busy:
			s.onBusy(now, f.Seq())
		case codec.TooLarge:
			s.onRefused(now, f.Seq(), ErrTooLarge)
		case codec.Unsupported:
			s.onRefused(now, f.Seq(), ErrUnsupported)
		}
	}
}

// tick does what time demands, for all streams that wait for something. Each asks for its next tick.
func (o *outbound) tick(now time.Duration) {
	o.dueMu.Lock()
	due := slices.Collect(maps.Keys(o.due))
	o.dueMu.Unlock()
	o.forAll(due, func(s *outStream) {
		port := o.link(s)
		w := writings.Get().(*relay.Writing)
		if s.tick(now, port != nil, w, s.pack); w.Len() > 0 {
			port.WriteAll(w, true) // one frame at most; with the reserve, for it is what unsticks a stream
		}
		putWriting(w)
	})
}

// flush waits until everything queued now is acknowledged or given up, and gives what was given up since the last flush.
func (o *outbound) flush(ctx context.Context, wait func(context.Context, <-chan struct{}) error) error {
	all := o.all()
	var waits []chan struct{}
	for _, s := range all {
		s.lock()
		if s.held() > 0 {
			o.hurry(s)
			w := flushWait{until: s.pushed, done: make(chan struct{})}
			s.flushes = append(s.flushes, w)
			waits = append(waits, w.done)
		}
		s.mu.Unlock()
	}
	var late error
	for _, w := range waits {
		if late = wait(ctx, w); late != nil {
			break
		}
	}
	errs := append(o.failures.take(), late)
	for _, s := range all {
		s.lock()
		if n := s.held(); n > 0 && late != nil {
			errs = append(errs, fmt.Errorf("%d not acknowledged by %q: %w", n, s.to, o.whyNot(ctx, s.to)))
		}
		s.mu.Unlock()
	}
	return errors.Join(errs...)
}

// hurry has all that a stream holds acknowledged soon. The caller holds s.mu.
func (o *outbound) hurry(s *outStream) {
	w := writings.Get().(*relay.Writing)
	defer putWriting(w)
	s.hurry(w)
	if port := o.link(s); port != nil && w.Len() > 0 {
		port.WriteAll(w, true)
	}
}

// stopAccepting refuses what is sent from now on.
func (o *outbound) stopAccepting() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed == nil {
		o.closed = ErrClosed
	}
	o.refuses.Store(true)
}

// close gives everything up.
func (o *outbound) close(reason error) {
	o.mu.Lock()
	o.closed = reason
	o.refuses.Store(true)
	o.mu.Unlock()
	o.setPort(nil)
	o.each(func(s *outStream) {
		s.giveUpAll(o.clock(), reason)
		s.gone = true
	})
}
