package mesh

import (
	"math/rand/v2"
	"time"

	"ultrasockets/codec"
	"ultrasockets/relay"
)

// Step 2 of a message's way (see doc.go): the sending end of one stream, from this instance to one name.
//
// The sender is pure: no goroutine, no clock, no lock. Its owner says what happened and when, and asks it to transmit.
// The rules are those of codec/WIRE.md, section 5. It keeps the messages in a queue:
//
//	head ............ ack ............ next ............ tail
//	 held, partly      sent, not        to be sent
//	 acknowledged      acknowledged     (again)
//
// head is the oldest message held; ack and next are cursors on frames. A message is cut into frames when it is sent for
// the first time; then these are numbered: cut is the number after the last one given. Small ones share one (entry.go).

const (
	probeFirst  = time.Second                              // a sender that hears nothing asks after this time …
	probeMax    = 5 * time.Second                          // … doubling up to this
	absentProbe = 5 * time.Second                          // and so often towards a name the relay does not know
	idleWindow  = time.Second                              // a window lapses when nothing was unacknowledged for so long
	busyFirst   = 10 * time.Millisecond                    // pause after the relay's outbox was full …
	busyMax     = 50 * time.Millisecond                    // … doubling up to this
	shareSpan   = time.Second                              // messages queued within so long may share a frame: it expires with the last
	shareMost   = codec.MaxPayload/2 - codec.SeveralLength // larger ones do not: no two fit
	minCut      = 1024                                     // neither a message nor a row of them is cut into smaller frames than this to fit a window
	messageCost = 96                                       // what a message, or those that share a frame, cost beside their bytes, in SendBytes and InboxBytes
	noDeadline  = time.Duration(1 << 62)                   // never
)

// cursor is a place between frames: before frame number seq, which is frame i of entry n (counted from the stream's start).
type cursor struct {
	seq uint32
	n   uint64
	i   int
}

// sender is the sending end of a stream. Not safe for concurrent use: its owner (outStream) holds a lock.
type sender struct {
	// static
	to, from  string
	id        uint32
	overhead  int // bytes of a frame beside its payload
	retention time.Duration
	maxCut    int // largest payload before packing; the owner may change it
	maxShare  int // largest payload that messages share; 0: none do now; the owner may change it
	askEvery  int // a quarter of what may be held: after so much an acknowledgement is asked for; 0: never; the owner may set it

	// the queue
	queue  fifo[entry] // the oldest is entry number headN
	headN  uint64
	joined bool   // messages joined the newest entry since look was called
	pushed uint64 // messages that came …
	done   uint64 // … and those of them that were acknowledged or given up
	bytes  int    // of all in it, with messageCost
	cut    uint32 // number after the last one given
	sent   uint32 // number after the highest one sent
	ack    cursor
	next   cursor

	// the window: granted from ack on, while valid
	granted  bool
	window   int
	messages int
	inflight int // cost of the frames from ack up to next
	unasked  int // what bytes counts of the frames since the last that is to be acknowledged at once

	// time
	idleSince time.Duration // when the queue became empty
	heard     time.Duration // last word from the receiver itself
	probeAt   time.Duration // when to ask; noDeadline: nothing is held
	probeWait time.Duration
	holdUntil time.Duration // no transmission before (busy)
	busyWait  time.Duration
	known     bool // the name was here, or answered, since the stream exists
	never     bool // the relay said that it does not know the name, and nothing was ever heard of it
	absent    bool // the relay does not know the name; only probes
	paused    bool // linked but paused: retention stands still

	taken  []takenWait // acknowledged, and somebody waits until the application took them
	askDue bool        // the receiver is to be told so
	given  []givenUp   // given up since the owner last asked
	told   int         // so many were told what became of a message; the owner may change it

	plain bool // the last frame was not packed

	stats senderStats
}

type takenWait struct {
	end     uint32
	receipt *receipt
}

// givenUp is what was given up at once: a message, or those that share a frame.
type givenUp struct {
	reason   error
	unsent   bool
	count    int // messages
	told     int // of them: those whose senders waited for the outcome, and know
	receipts *receipt
}

type senderStats struct{ frames, resent, probes, busy, resets uint64 }

func newSender(to, from string, retention, now time.Duration) *sender {
	id := uint32(0)
	for id == 0 {
		id = rand.Uint32()
	}
	return &sender{
		to: to, from: from, id: id, retention: retention, maxCut: codec.MaxPayload,
		overhead:  codec.HeaderSize + len(to) + len(from),
		idleSince: now - idleWindow, heard: now, probeAt: noDeadline, probeWait: probeFirst,
	}
}

// join puts a message into the frame of the newest one, if it may share that. It asks no clock, which would cost more than
// all the rest: look makes up for that.
func (s *sender) join(d *draft) bool {
	n := s.queue.len()
	if n == 0 {
		return false
	}
	last := s.queue.at(n - 1)
	if !d.joins(last) {
		return false
	}
	before := len(last.data)
	last.join(d)
	s.bytes += len(last.data) - before
	s.pushed++
	s.joined = true
	return true
}

// look notes the time for the newest entry if messages have joined it since: none expires too early, and they are not more
// than shareSpan apart, or the time between two calls. While anything is held, there is one every few seconds.
func (s *sender) look(now time.Duration) {
	if s.joined && s.queue.len() > 0 {
		last := s.queue.at(s.queue.len() - 1)
		last.queued = now
		if now-last.began > shareSpan {
			last.shut()
		}
	}
	s.joined = false
}

// push queues a message that joins no other.
func (s *sender) push(now time.Duration, d *draft) {
	s.look(now)
	s.pushed++
	e := entry{began: now, queued: now, flags: d.flags, ackNow: d.ackNow}
	if n := s.queue.len(); n > 0 {
		s.shutNewest()
	} else {
		if now-s.idleSince >= idleWindow {
			s.granted = false
		}
		s.probeWait = probeFirst
		s.armProbe(now)
	}
	switch {
	case d.size() <= shareMost:
		switch {
		case s.queue.len() > 0:
			e.move(codec.MaxPayload) // others wait already: more are likely to
		case s.granted:
			e.move(d.together())
		}
		e.open = true
		e.join(d)
	case d.kept:
		e.data, e.receipts = d.body, d.receipt
	default:
		e.memory = relay.NewMemory(d.size())
		e.data, e.receipts = d.appendTo(e.memory.Bytes()), d.receipt
		if s.plain {
			e.addUp(s.maxCut)
		}
	}
	s.bytes += len(e.data) + messageCost
	s.queue.push(e)
}

// shutNewest lets nobody join the newest entry any more. If it waits and will travel as it is, its sum is computed now,
// while its bytes are in the cache of who has just written them: who writes it to the link may run on another core.
func (s *sender) shutNewest() {
	last := s.queue.at(s.queue.len() - 1)
	if last.open && last.count > 1 && len(last.data) <= s.maxShare && s.plain {
		last.addUp(s.maxCut)
	}
	last.shut()
}

// held is how many messages are.
func (s *sender) held() int { return int(s.pushed - s.done) }

// at is the entry number n, which must be held.
func (s *sender) at(n uint64) *entry { return s.queue.at(int(n - s.headN)) }

func (s *sender) tailN() uint64 { return s.headN + uint64(s.queue.len()) }

func (s *sender) armProbe(now time.Duration) {
	wait := s.probeWait
	if s.absent {
		wait = absentProbe
	}
	s.probeAt = now + wait
}

// hasWork tells whether transmit may have something to send.
func (s *sender) hasWork() bool {
	switch {
	case s.absent:
		return false
	case s.askDue && len(s.taken) > 0:
		return true
	case s.next.n == s.tailN():
		return false
	case s.next.seq == s.ack.seq: // the first frame of a window
		return true
	}
	e := s.at(s.next.n)
	size := len(e.data) - int(e.cutTo)
	if s.next.seq != s.cut {
		size = s.frameCost(s.next) - s.overhead
	}
	return s.granted && s.room() >= min(minCut, size)
}

// transmit appends to w the frames that may be sent now, while w stays under limit bytes, and moves next behind them.
// pack turns a payload into what travels; its result is used before the next call.
func (s *sender) transmit(now time.Duration, w *relay.Writing, limit int, pack packFunc) {
	if s.absent || now < s.holdUntil {
		return
	}
	s.look(now) // before an entry is split
	if s.askDue && len(s.taken) > 0 {
		s.ask(w)
	}
	for w.Len() < limit && s.next.n < s.tailN() {
		if fresh := s.next.seq == s.cut; fresh && !s.cutFrame() || !fresh && !s.fits(s.frameCost(s.next)) {
			break
		}
		if err := s.appendFrame(w, !s.granted, pack); err != nil {
			if s.next.n != s.headN {
				break // what is before it is to be acknowledged first
			}
			s.giveUpHead(now, err)
		}
	}
}

// probe goes back to the oldest frame and sends it, whatever the window says.
func (s *sender) probe(now time.Duration, w *relay.Writing, pack packFunc) {
	s.stats.probes++
	s.rewind()
	s.holdUntil = 0
	s.probeWait = min(2*s.probeWait, probeMax)
	s.armProbe(now)
	if s.next.seq == s.cut {
		s.cutFrame()
	}
	if err := s.appendFrame(w, true, pack); err != nil {
		s.giveUpHead(now, err)
	}
}

// tick does what time demands: gives up what is too old, ends pauses, probes. linked tells whether there is a link to
// send on; without one only the first is done.
func (s *sender) tick(now time.Duration, linked bool, w *relay.Writing, pack packFunc) {
	s.look(now)
	s.expire(now)
	if now >= s.holdUntil {
		s.holdUntil = 0
	}
	if len(s.taken) > 0 && s.absent && now >= s.heard+s.retention {
		s.forgetTaken(ErrOutcomeUnknown)
	}
	switch {
	case s.queue.len() == 0 && len(s.taken) == 0 || now < s.probeAt:
	case !linked:
		s.armProbe(now)
	case s.queue.len() == 0:
		s.probeWait = min(2*s.probeWait, probeMax)
		s.armProbe(now)
		s.ask(w)
	default:
		s.probe(now, w, pack)
	}
}

// ask repeats the number of a frame that is acknowledged: the Ack that answers it says what was taken, and another one what is
// taken then. Either may be lost with a link.
func (s *sender) ask(w *relay.Writing) {
	s.askDue = false
	f := codec.Frame{Kind: codec.KindData, Flags: codec.FlagAckNow, To: s.to, From: s.from, Stream: s.id, Seq: s.taken[len(s.taken)-1].end - 1}
	w.Append(&f)
}

// hurry has all that is held, which is something, acknowledged soon: the last frame asks for it. If that is sent, a repeat of the
// frame before the oldest held does, without a payload: it has been acknowledged, or there was none, and the receiver never
// expects it again.
func (s *sender) hurry(w *relay.Writing) {
	last := s.queue.at(s.queue.len() - 1)
	last.ackNow = true
	last.shut()
	if s.next.n == s.tailN() && s.unasked > 0 && s.granted { // else frames before the oldest may have been given up
		s.unasked = 0
		f := codec.Frame{Kind: codec.KindData, Flags: codec.FlagAckNow, To: s.to, From: s.from, Stream: s.id, Seq: s.queue.at(0).first - 1}
		w.Append(&f)
	}
}

// fits tells whether the next frame, of this cost, is inside the window. The first frame of a window always is, and a
// reply that nothing is before: it costs the inbox nothing.
func (s *sender) fits(cost int) bool {
	if s.next.seq == s.ack.seq {
		return !s.granted || s.window > 0 && s.messages > 0 || s.at(s.next.n).flags&codec.FlagReply != 0
	}
	return s.granted && s.inflight+cost <= s.window && int(s.next.n-s.ack.n) < s.messages
}

func (s *sender) frameCost(c cursor) int {
	from, to := s.at(c.n).span(c.i)
	return s.overhead + to - from
}

// room is how large the payload of the next frame may be.
func (s *sender) room() int {
	if !s.granted {
		return codec.MaxPayload
	}
	return s.window - s.inflight - s.overhead
}

// cutFrame cuts the next frame off the entry at next, if the window has room for it. It may be made smaller to fit.
func (s *sender) cutFrame() bool {
	e := s.at(s.next.n)
	if e.count > 0 {
		return s.cutShared(e)
	}
	rest := len(e.data) - int(e.cutTo)
	size := min(rest, s.maxCut-int(e.cutTo)%s.maxCut) // a frame made smaller is made up for, so that the next begins where the sums do
	if room := s.room(); minCut <= room && room < size {
		size = room
	}
	if !s.fits(s.overhead + size) {
		return false
	}
	if e.frames == 0 {
		e.first = s.cut
	}
	e.cut(size)
	s.cut++
	return true
}

// cutShared makes a frame of the messages that share the entry at next, or of the first of them: what does not fit waits in
// an entry of its own.
func (s *sender) cutShared(e *entry) bool {
	room := min(s.room(), s.maxShare)
	if e.count > 1 && len(e.data) > room {
		if s.next.seq != s.ack.seq && room < minCut && s.maxShare >= minCut {
			return false
		}
		front := e.split(room)
		s.queue.insert(int(s.next.n-s.headN), front)
		s.bytes += messageCost
		e = s.at(s.next.n)
	}
	// One alone that needs several frames, or can be cut to fit the window, is cut as any that does not share.
	if size := len(e.data) - codec.SeveralLength; e.count == 1 && (size > s.maxCut || minCut <= s.room() && s.room() < size) {
		e.data, e.count, e.open = e.data[codec.SeveralLength:], 0, false
		s.bytes -= codec.SeveralLength
		return s.cutFrame()
	}
	if !s.fits(s.overhead + len(e.data)) {
		return false
	}
	e.first, e.open = s.cut, false
	e.cut(len(e.data))
	s.cut++
	return true
}

// appendFrame appends the frame at next, and moves next behind it. An error is that of pack: nothing was appended.
func (s *sender) appendFrame(w *relay.Writing, ackNow bool, pack packFunc) error {
	e := s.at(s.next.n)
	from, to := e.span(s.next.i)
	payload, packing, err := pack(e.data[from:to])
	if err != nil {
		return err
	}
	flags := e.flags
	if s.next.n == s.headN && s.next.i == 0 {
		flags |= codec.FlagFirst
	}
	switch {
	case to < len(e.data):
		flags |= codec.FlagMore
	case e.ackNow:
		flags |= codec.FlagAckNow
	}
	if e.count > 1 {
		flags |= codec.FlagSeveral
	}
	// The receiver acknowledges in time for its own window. A sender that holds less than that says when it needs it.
	if s.unasked += to - from; to == len(e.data) {
		s.unasked += messageCost
	}
	if ackNow || s.askEvery > 0 && (s.unasked >= s.askEvery || s.isLast(to) && s.bytes >= 2*s.askEvery) {
		flags |= codec.FlagAckNow
	}
	if flags&codec.FlagAckNow != 0 {
		s.unasked = 0
	}
	f := codec.Frame{Kind: codec.KindData, Flags: flags, Packing: packing, To: s.to, From: s.from, Stream: s.id, Seq: s.next.seq, Payload: payload}
	if s.plain = packing == 0; s.plain {
		w.AppendHeld(&f, e.sumOf(payload, from), e.memory)
	} else {
		w.Append(&f) // pack uses its memory again
	}
	if codec.Less(s.next.seq, s.sent) {
		s.stats.resent++
	} else {
		s.sent = s.next.seq + 1
	}
	s.stats.frames++
	s.inflight += s.overhead + to - from
	s.next = s.after(s.next)
	return nil
}

// isLast tells whether the frame at next, which ends there, is the last there is to send.
func (s *sender) isLast(to int) bool {
	return s.next.n+1 == s.tailN() && to == len(s.at(s.next.n).data)
}

// mark is a state to which unsend can return.
type mark struct {
	next     cursor
	sent     uint32
	inflight int
	unasked  int
}

func (s *sender) mark() mark { return mark{s.next, s.sent, s.inflight, s.unasked} }

// unsend takes a transmit back that the link had no room for.
func (s *sender) unsend(m mark) {
	s.sent, s.unasked = m.sent, m.unasked
	s.askDue = len(s.taken) > 0
	if m.next.n < s.headN { // given up meanwhile: everything held is to be sent again
		s.rewind()
		return
	}
	s.next, s.inflight = m.next, m.inflight
}

// after is the place after the frame that stands after c.
func (s *sender) after(c cursor) cursor {
	e := s.at(c.n)
	c.seq++
	c.i++
	if c.i == int(e.frames) && int(e.cutTo) == len(e.data) {
		c.n, c.i = c.n+1, 0
	}
	return c
}

// packFunc turns the payload of a frame into what travels, and the packing byte.
type packFunc func(src []byte) (out []byte, packing uint8, err error)
