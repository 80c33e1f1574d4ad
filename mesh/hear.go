package mesh

import (
	"math/rand/v2"
	"time"

	"ultrasockets/codec"
)

// Step 2 of a message's way, what comes back: what a sender makes of answers, of changes around it, and of time that passes.

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
	s.askDue = len(s.taken) > 0
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
	if codec.Less(s.cut, seq) {
		return
	}
	s.heard = now
	if codec.Less(seq, s.ack.seq) { // late, or the frames from there on were given up: what was taken was taken
		s.onTaken(a.Taken)
		return
	}
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
		e := s.queue.at(0)
		for r := e.receipts; r != nil; {
			next := r.next // who has its outcome may be used again
			if r.untilTaken {
				s.taken = append(s.taken, takenWait{e.first + uint32(e.frames), r})
				s.askDue = true
			}
			if r.arrive() {
				s.told++
			}
			r = next
		}
		s.pop(now)
	}
}

func (s *sender) onTaken(taken uint32) {
	i := 0
	for ; i < len(s.taken) && !codec.Less(taken, s.taken[i].end); i++ {
		if s.taken[i].receipt.finish(nil) {
			s.told++
		}
	}
	s.taken = s.taken[i:]
}

// pop drops the head of the queue.
func (s *sender) pop(now time.Duration) {
	e := s.queue.pop()
	s.bytes -= len(e.data) + messageCost
	s.done += uint64(e.messages())
	e.memory.Release()
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
	e := s.queue.at(0)
	unsent := s.never || e.cutTo == 0 || !codec.Less(e.first, s.sent)
	s.given = append(s.given, givenUp{reason: reason, unsent: unsent, count: e.messages(), receipts: e.receipts})
	s.pop(now)
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
	return max(s.queue.at(0).queued, s.heard) + s.retention
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
