package mesh

import (
	"encoding/binary"
	"math/rand/v2"
	"time"

	"ultrasockets/codec"
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
// head is the oldest message held; ack and next are cursors on frames. A message is cut into frames, or put into one
// with others, when it is sent for the first time; then these are numbered: cut is the number after the last one given.

const (
	probeFirst  = time.Second            // a sender that hears nothing asks after this time …
	probeMax    = 5 * time.Second        // … doubling up to this
	absentProbe = 5 * time.Second        // and so often towards a name the relay does not know
	idleWindow  = time.Second            // a window lapses when nothing was unacknowledged for so long
	busyFirst   = 10 * time.Millisecond  // pause after the relay's outbox was full …
	busyMax     = 50 * time.Millisecond  // … doubling up to this
	shareSpan   = time.Second            // messages queued within so long may share a frame: it expires with the last
	shareBlind  = 64                     // messages that share a frame that nobody has granted
	minCut      = 1024                   // a message is not cut into smaller frames than this to fit a window
	messageCost = 96                     // what a queued message costs beside its bytes, in SendBytes and InboxBytes
	noDeadline  = time.Duration(1 << 62) // never
)

// outMessage is one message in a sender's queue. Its data may be shared with other streams and is never changed.
type outMessage struct {
	data    []byte        // what stands before the item, and the item
	queued  time.Duration // when
	receipt *receipt      // who wants to know the outcome; nil: nobody
	flags   codec.Flags   // group, request or reply
	ackNow  bool          // a caller waits for the outcome

	whole  bool    // it is one single frame, cut, or shares one
	first  uint32  // number of its first frame, once cut has begun
	cutTo  int32   // bytes of data that have been cut into frames
	shares int32   // the first of those that share a frame: how many they are; else 0
	shared int32   // the first of those: bytes of the payload
	ends   []int32 // where each frame ends in data; nil while it is, or may become, a single frame
}

func (m *outMessage) frames() int {
	if m.whole {
		return 1
	}
	return len(m.ends)
}

// span is the part of data in frame i.
func (m *outMessage) span(i int) (from, to int) {
	if m.whole {
		return 0, len(m.data)
	}
	if i > 0 {
		from = int(m.ends[i-1])
	}
	return from, int(m.ends[i])
}

// cursor is a place between frames: before frame number seq, which is frame i of message n (counted from the stream's start).
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
	maxShare  int // largest payload that messages share; 0: none do; the owner may change it

	// the queue
	queue fifo[outMessage] // the oldest is message number headN
	headN uint64
	bytes int    // of all in it, with messageCost
	cut   uint32 // number after the last one given
	sent  uint32 // number after the highest one sent
	ack   cursor
	next  cursor

	// the window: granted from ack on, while valid
	granted  bool
	window   int
	messages int
	inflight int // cost of the frames from ack up to next

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

	taken []takenWait // acknowledged, and somebody waits until the application took them
	given []givenUp   // given up since the owner last asked

	scratch []byte // the last payload that messages shared
	stats   senderStats
}

type takenWait struct {
	end     uint32
	receipt *receipt
}

// givenUp is one message given up.
type givenUp struct {
	reason  error
	unsent  bool
	receipt *receipt
	told    bool // a caller that waited for it knows
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

// push queues a message.
func (s *sender) push(now time.Duration, m outMessage) {
	m.queued = now
	if s.queue.len() == 0 {
		if now-s.idleSince >= idleWindow {
			s.granted = false
		}
		s.probeWait = probeFirst
		s.armProbe(now)
	}
	s.queue.push(m)
	s.bytes += len(m.data) + messageCost
}

func (s *sender) held() int { return s.queue.len() }

// at is the message number n, which must be held.
func (s *sender) at(n uint64) *outMessage { return s.queue.at(int(n - s.headN)) }

func (s *sender) tailN() uint64 { return s.headN + uint64(s.queue.len()) }

func (s *sender) armProbe(now time.Duration) {
	wait := s.probeWait
	if s.absent {
		wait = absentProbe
	}
	s.probeAt = now + wait
}

// transmit appends to dst the frames that may be sent now, while dst stays under limit bytes, and moves next behind them.
// pack turns a payload into what travels; its result is used before the next call.
func (s *sender) transmit(now time.Duration, dst []byte, limit int, pack packFunc) []byte {
	if s.absent || now < s.holdUntil {
		return dst
	}
	for len(dst) < limit && s.next.n < s.tailN() {
		m := s.at(s.next.n)
		if fresh := s.next.seq == s.cut; fresh && !s.cutFrame(m) || !fresh && !s.fits(s.frameCost(s.next)) {
			break
		}
		var err error
		if dst, err = s.appendFrame(dst, m, !s.granted, pack); err != nil {
			if s.next.n != s.headN {
				break // what is before it is to be acknowledged first
			}
			s.giveUpHead(now, err)
		}
	}
	return dst
}

// probe goes back to the oldest frame and sends it, whatever the window says.
func (s *sender) probe(now time.Duration, dst []byte, pack packFunc) []byte {
	s.stats.probes++
	s.rewind()
	s.holdUntil = 0
	s.probeWait = min(2*s.probeWait, probeMax)
	s.armProbe(now)
	m := s.at(s.next.n)
	if s.next.seq == s.cut {
		s.cutFrame(m)
	}
	dst, err := s.appendFrame(dst, m, true, pack)
	if err != nil {
		s.giveUpHead(now, err)
	}
	return dst
}

// tick does what time demands: gives up what is too old, ends pauses, probes. linked tells whether there is a link to
// send on; without one only the first is done.
func (s *sender) tick(now time.Duration, linked bool, dst []byte, pack packFunc) []byte {
	s.expire(now)
	if now >= s.holdUntil {
		s.holdUntil = 0
	}
	if len(s.taken) > 0 && s.absent && now >= s.heard+s.retention {
		s.forgetTaken(ErrOutcomeUnknown)
	}
	if s.queue.len() == 0 && len(s.taken) == 0 || now < s.probeAt {
		return dst
	}
	if !linked {
		s.armProbe(now)
		return dst
	}
	if s.queue.len() == 0 {
		return s.ask(now, dst)
	}
	return s.probe(now, dst, pack)
}

// ask repeats the number of a frame that is acknowledged: the Ack that answers it says what was taken. The one that said so before may
// be lost with a link.
func (s *sender) ask(now time.Duration, dst []byte) []byte {
	s.probeWait = min(2*s.probeWait, probeMax)
	s.armProbe(now)
	f := codec.Frame{Kind: codec.KindData, Flags: codec.FlagAckNow, To: s.to, From: s.from, Stream: s.id, Seq: s.taken[0].end - 1}
	return f.Append(dst)
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
	m := s.at(c.n)
	if m.shares > 0 {
		return s.overhead + int(m.shared)
	}
	from, to := m.span(c.i)
	return s.overhead + to - from
}

// cutFrame cuts the next frame off message m, if the window has room for it. It may be made smaller to fit, or hold the
// messages behind m too.
func (s *sender) cutFrame(m *outMessage) bool {
	if m.cutTo == 0 && s.share() {
		return true
	}
	rest := len(m.data) - int(m.cutTo)
	size := min(rest, s.maxCut)
	if room := s.window - s.inflight - s.overhead; s.granted && minCut <= room && room < size {
		size = room
	}
	if !s.fits(s.overhead + size) {
		return false
	}
	if m.cutTo == 0 {
		m.first = s.cut
		m.whole = size == rest
	}
	if !m.whole {
		m.ends = append(m.ends, m.cutTo+int32(size))
	}
	m.cutTo += int32(size)
	s.cut++
	return true
}

// share puts the next message and as many behind it as it may into one frame. False: they are not several.
func (s *sender) share() bool {
	limit := s.maxShare
	most := s.queue.len() - int(s.next.n-s.headN)
	if !s.granted {
		most = min(most, shareBlind)
	} else {
		limit = min(limit, s.window-s.inflight-s.overhead)
		most = min(most, s.messages-int(s.next.n-s.ack.n))
	}
	first := s.at(s.next.n)
	size, n := 0, 0
	for n < most {
		m := s.at(s.next.n + uint64(n))
		more := codec.SeveralLength + len(m.data)
		if size+more > limit || m.flags != first.flags || m.queued-first.queued > shareSpan {
			break
		}
		size += more
		n++
		if m.receipt != nil && m.receipt.untilTaken {
			break // what waits until it is taken waits for nothing behind it
		}
	}
	if n < 2 || !s.fits(s.overhead+size) {
		return false
	}
	for i := range n {
		m := s.at(s.next.n + uint64(i))
		m.first, m.cutTo, m.whole = s.cut, int32(len(m.data)), true
	}
	first.shares, first.shared = int32(n), int32(size)
	s.cut++
	return true
}

// payload is what frame i of message m carries, before packing, and the flags that follow from it.
func (s *sender) payload(m *outMessage, i int) ([]byte, codec.Flags) {
	flags := m.flags
	if m.shares == 0 {
		from, to := m.span(i)
		if to < len(m.data) {
			return m.data[from:to], flags | codec.FlagMore
		}
		if m.ackNow {
			flags |= codec.FlagAckNow
		}
		return m.data[from:to], flags
	}
	b := s.scratch[:0]
	for k := range m.shares {
		each := s.at(s.next.n + uint64(k))
		b = binary.BigEndian.AppendUint16(b, uint16(len(each.data)))
		b = append(b, each.data...)
		if each.ackNow {
			flags |= codec.FlagAckNow
		}
	}
	s.scratch = b
	return b, flags | codec.FlagSeveral
}

// appendFrame appends the frame at next, and moves next behind it. An error is that of pack: nothing was appended.
func (s *sender) appendFrame(dst []byte, m *outMessage, ackNow bool, pack packFunc) ([]byte, error) {
	plain, flags := s.payload(m, s.next.i)
	payload, packing, err := pack(plain)
	if err != nil {
		return dst, err
	}
	if s.next.n == s.headN && s.next.i == 0 {
		flags |= codec.FlagFirst
	}
	if ackNow {
		flags |= codec.FlagAckNow
	}
	f := codec.Frame{Kind: codec.KindData, Flags: flags, Packing: packing, To: s.to, From: s.from, Stream: s.id, Seq: s.next.seq, Payload: payload}
	dst = f.Append(dst)
	if codec.Less(s.next.seq, s.sent) {
		s.stats.resent++
	} else {
		s.sent = s.next.seq + 1
	}
	s.stats.frames++
	s.inflight += s.frameCost(s.next)
	s.next = s.after(s.next)
	return dst, nil
}

// mark is a state to which unsend can return.
type mark struct {
	next     cursor
	sent     uint32
	inflight int
}

func (s *sender) mark() mark { return mark{s.next, s.sent, s.inflight} }

// unsend takes a transmit back that the link had no room for.
func (s *sender) unsend(m mark) {
	s.sent = m.sent
	if m.next.n < s.headN { // given up meanwhile: everything held is to be sent again
		s.rewind()
		return
	}
	s.next, s.inflight = m.next, m.inflight
}

// after is the place after the frame that stands after c.
func (s *sender) after(c cursor) cursor {
	m := s.at(c.n)
	c.seq++
	if m.shares > 0 {
		c.n += uint64(m.shares)
		return c
	}
	c.i++
	if c.i == m.frames() && int(m.cutTo) == len(m.data) {
		c.n, c.i = c.n+1, 0
	}
	return c
}

// rewind goes back to the oldest frame held. The window is one frame again.
func (s *sender) rewind() {
	head := cursor{n: s.headN, seq: s.cut}
	if s.queue.len() > 0 && s.queue.at(0).cutTo > 0 {
		head.seq = s.queue.at(0).first
	}
	s.ack = head
	s.goBack()
}

// goBack goes back to the first frame that is not acknowledged. The window is one frame again.
func (s *sender) goBack() {
	s.next, s.inflight, s.granted = s.ack, 0, false
}

// linkChanged tells that frames in flight may be lost: the link, the relay or the receiver's instance is new.
func (s *sender) linkChanged(now time.Duration) {
	s.rewind()
	s.holdUntil, s.busyWait = 0, 0
	s.absent = false
	s.probeWait = probeFirst
	if s.queue.len() > 0 || len(s.taken) > 0 {
		s.armProbe(now)
	}
}

// setAbsent tells that no node of the name is linked, by the relay's word about a frame or by the roster.
func (s *sender) setAbsent(now time.Duration) {
	s.absent, s.paused = true, false
	s.never = !s.known
	if s.queue.len() > 0 {
		s.armProbe(now)
	}
}

// onAck takes an acknowledgement.
func (s *sender) onAck(now time.Duration, seq uint32, a codec.Ack) {
	if codec.Less(seq, s.ack.seq) || codec.Less(s.cut, seq) {
		return
	}
	s.heard = now
	s.absent, s.never, s.known = false, false, true
	progress := seq != s.ack.seq || a.Window > 0 && (!s.granted || s.window == 0)
	s.advance(now, seq)
	s.granted, s.window, s.messages = true, int(a.Window), int(a.Messages)
	s.onTaken(a.Taken)
	if progress {
		s.probeWait, s.busyWait = probeFirst, 0
		if s.queue.len() > 0 {
			s.armProbe(now)
		}
	}
}

// advance acknowledges all before seq.
func (s *sender) advance(now time.Duration, seq uint32) {
	for codec.Less(s.ack.seq, seq) {
		if codec.Less(s.ack.seq, s.next.seq) {
			s.inflight -= s.frameCost(s.ack)
		}
		s.ack = s.after(s.ack)
	}
	if codec.Less(s.next.seq, s.ack.seq) {
		s.next, s.inflight = s.ack, 0
	}
	for s.headN < s.ack.n {
		m := s.queue.at(0)
		if r := m.receipt; r != nil {
			r.arrive()
			if r.untilTaken {
				s.taken = append(s.taken, takenWait{m.first + uint32(m.frames()), r})
			}
		}
		s.pop(now)
	}
}

func (s *sender) onTaken(taken uint32) {
	i := 0
	for ; i < len(s.taken) && !codec.Less(taken, s.taken[i].end); i++ {
		s.taken[i].receipt.finish(nil)
	}
	s.taken = s.taken[i:]
}

// pop drops the head of the queue.
func (s *sender) pop(now time.Duration) {
	s.bytes -= len(s.queue.at(0).data) + messageCost
	s.queue.pop()
	s.headN++
	if s.queue.len() == 0 {
		s.idleSince = now
		s.probeAt = noDeadline
		if len(s.taken) > 0 {
			s.armProbe(now)
		}
	}
}

// onReset takes a Reset; known: the receiver knows the stream and expects seq.
func (s *sender) onReset(now time.Duration, seq uint32, known bool) {
	if known && codec.Less(s.cut, seq) {
		return
	}
	s.stats.resets++
	s.heard = now
	if !known {
		s.forgetTaken(ErrOutcomeUnknown)
	}
	s.absent, s.never, s.known = false, false, true
	if !known || codec.Less(seq, s.ack.seq) {
		s.rewind()
	} else {
		s.advance(now, seq)
		s.goBack()
	}
	if s.queue.len() > 0 {
		s.armProbe(now)
	}
}

// onBusy takes the relay's word that frame seq did not fit the receiver's outbox.
func (s *sender) onBusy(now time.Duration, seq uint32) {
	if codec.Less(seq, s.ack.seq) || !codec.Less(seq, s.cut) {
		return
	}
	s.stats.busy++
	s.goBack()
	s.busyWait = min(max(2*s.busyWait, busyFirst), busyMax)
	s.holdUntil = now + s.busyWait/2 + rand.N(s.busyWait/2+1)
	s.armProbe(now)
}

// onRefused takes the receiver's word that it cannot take the message with frame seq. It had taken all before.
func (s *sender) onRefused(now time.Duration, seq uint32, reason error) {
	if codec.Less(seq, s.ack.seq) || !codec.Less(seq, s.cut) {
		return
	}
	s.heard = now
	s.advance(now, seq)
	s.giveUpHead(now, reason)
	if s.queue.len() > 0 {
		s.armProbe(now)
	}
}

// giveUpHead gives up the oldest message and those that share its frame; what follows begins with flag first.
func (s *sender) giveUpHead(now time.Duration, reason error) {
	for n := max(1, s.queue.at(0).shares); n > 0; n-- {
		m := s.queue.at(0)
		unsent := s.never || m.cutTo == 0 || !codec.Less(m.first, s.sent)
		s.given = append(s.given, givenUp{reason: reason, unsent: unsent, receipt: m.receipt})
		s.pop(now)
	}
	s.rewind()
}

// expire gives up what has waited for longer than the retention, and tells when to look again.
func (s *sender) expire(now time.Duration) {
	if s.paused {
		s.heard = now
	}
	for s.queue.len() > 0 && now >= s.expiry() {
		s.giveUpHead(now, ErrExpired)
	}
}

func (s *sender) expiry() time.Duration {
	last := s.queue.at(int(max(1, s.queue.at(0).shares)) - 1)
	return max(last.queued, s.heard) + s.retention
}

// giveUpAll gives up everything held.
func (s *sender) giveUpAll(now time.Duration, reason error) {
	for s.queue.len() > 0 {
		s.giveUpHead(now, reason)
	}
	s.forgetTaken(reason)
}

// forgetTaken tells those who wait until the application took their message that nobody will know.
func (s *sender) forgetTaken(reason error) {
	for _, w := range s.taken {
		w.receipt.finish(reason)
	}
	s.taken = nil
}

// deadline is when the owner must call again at the latest.
func (s *sender) deadline() time.Duration {
	if s.queue.len() == 0 {
		if len(s.taken) > 0 {
			return s.probeAt
		}
		return noDeadline
	}
	d := min(s.probeAt, s.expiry())
	if s.holdUntil > 0 && s.next.n < s.tailN() {
		d = min(d, s.holdUntil)
	}
	return d
}

// packFunc turns the payload of a frame into what travels, and the packing byte.
type packFunc func(src []byte) (out []byte, packing uint8, err error)
