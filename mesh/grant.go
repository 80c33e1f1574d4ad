package mesh

import (
	"slices"
	"time"

	"ultrasockets/codec"
)

// Step 7 of a message's way, the answers: what an intake tells the senders, and above all how much each may send.

// free is the room that is left. The one message that may go beyond the inbox does not count until it is complete: small ones
// pass beside it.
func (in *intake) free() int {
	free := in.limit - in.used
	if in.overrun != nil {
		free += len(in.overrun.half)
	}
	return free
}

// hasRoom tells whether a frame of r can be taken, which is of a reply or not: always below the limit, and beyond it for one
// message at a time.
func (in *intake) hasRoom(r *receiver, reply bool) bool {
	return in.free() > 0 || in.mayOverrun(r, reply)
}

// mayOverrun tells whether r's message may go on to its end whatever room there is, while no other does so: else it could keep
// others out, and wait for its own end, for as long as the application takes nothing. It must have begun, and what is beside it
// must leave room, so that the next one begins only when this one is taken; but a reply is no part of what waits in the inbox, and
// who waits for it may be the one who would make room. Who may go on and is silent while another asks may have given its message up.
func (in *intake) mayOverrun(r *receiver, reply bool) bool {
	other := in.overrun
	if other == r {
		return true
	}
	if other != nil && r.lastFrame-max(other.lastFrame, in.overrunAt) <= overrunRest {
		return false
	}
	return other == nil && reply || len(r.half) > 0 && in.used-len(r.half) < in.limit
}

// beyond lets r's message go on beyond the inbox.
func (in *intake) beyond(now time.Duration, r *receiver) {
	if in.overrun != r {
		in.overrun, in.overrunAt = r, now
	}
}

func (in *intake) dropHalf(r *receiver) {
	in.used -= len(r.half)
	r.half = nil
	r.memory.Release()
	r.memory = nil
	if in.overrun == r {
		in.overrun = nil
	}
}

// note lists a receiver whose answers have changed.
func (in *intake) note(r *receiver) {
	switch {
	case r.isUrgent():
		if !r.inUrgent {
			r.inUrgent = true
			in.urgent = append(in.urgent, r)
		}
	case r.ackDue:
		if !r.inLate {
			r.inLate = true
			in.late = append(in.late, r)
		}
	}
}

// answers appends the answers that are due; those that may still wait only when all is set.
func (in *intake) answers(now time.Duration, dst []byte, all bool) []byte {
	if now >= in.sweepAt {
		in.sweep(now)
	}
	in.wakeStarved()
	for _, r := range in.urgent {
		r.inUrgent = false
		dst = r.appendAnswers(dst, in.me)
		if r.known && (r.ackNow || r.ackDue) {
			dst = in.appendAck(now, dst, r)
		}
	}
	clear(in.urgent)
	in.urgent = in.urgent[:0]
	if all {
		for _, r := range in.late {
			r.inLate = false
			if r.known && r.ackDue { // else it was urgent meanwhile
				dst = in.appendAck(now, dst, r)
			}
		}
		clear(in.late)
		in.late = in.late[:0]
	}
	switch {
	case len(in.late) == 0:
		in.ackAt = noDeadline
	case in.ackAt == noDeadline:
		in.ackAt = now + ackDelay
	}
	return dst
}

// wakeStarved lets those go on who had to wait for room: all when there is enough, else one that may go on beyond the inbox.
func (in *intake) wakeStarved() {
	if in.paused || len(in.starved) == 0 {
		return
	}
	woken := in.starved
	if in.free() < min(wakeRoom, in.limit/2) {
		i := slices.IndexFunc(in.starved, func(r *receiver) bool { return in.mayOverrun(r, r.turnedAway && r.awayReply) })
		if i < 0 {
			return
		}
		last, r := len(in.starved)-1, in.starved[i]
		copy(in.starved[i:], in.starved[i+1:]) // the others keep their turns
		in.starved[last] = r
		woken = in.starved[last:]
	}
	for _, r := range woken {
		r.starved = false
		r.goOn()
		in.note(r)
	}
	clear(woken)
	in.starved = in.starved[:len(in.starved)-len(woken)]
}

// spend notes that a frame was taken which costs n bytes of r's window.
func (in *intake) spend(r *receiver, n int) {
	in.arrived += n
	in.spent += uint64(n)
	r.used += uint64(n)
	in.setWindow(r, max(0, r.window-n), r.messages)
}

// setLow decides when the next Ack for r leaves at once: when half of its window is left if it alone has kept the line busy since
// the last one, so that it need not pause; a third if another sent as much, and so on. While one of several waits, the others
// go on, and each Ack is for more, which costs everybody less. What is left has room for any frame: not all senders cut them.
func (in *intake) setLow(r *receiver) {
	busy := 1 // senders
	if r.used > 0 {
		busy = int(min((in.spent-r.spentAt)/r.used, manyBusy))
	}
	r.used, r.spentAt = 0, in.spent
	r.low = max(r.window/(busy+1), min(r.window/2, codec.MaxFrame))
	r.lowCount = r.messages / (busy + 1)
}

// line is how much the senders should have under way together, so that on a slow line nothing waits long behind a stream:
// what this node takes within lineTime, and calmLine at least; and half of the relay's outbox at most.
func (in *intake) line(now time.Duration) int {
	if span := now - in.lineAt; span >= lineTime {
		in.rate = int(float64(in.arrived) * float64(lineTime) / float64(span))
		in.lineAt, in.arrived = now, 0
	}
	return min(max(in.rate, calmLine), in.outbox/2)
}

// setOutbox notes the outbox of another relay. What was granted for a larger one is taken back: it would drop what that lets through.
func (in *intake) setOutbox(size int) {
	if size < in.outbox {
		for _, r := range in.receivers {
			in.deactivate(r)
		}
	}
	in.outbox = size
}

// setWindow changes what r's sender may send.
func (in *intake) setWindow(r *receiver, window, messages int) {
	in.granted += window - r.window
	in.promised += window - r.window + (messages-r.messages)*messageCost
	r.window, r.messages = window, messages
}

// appendAck tells r's sender how far it got and what it may send: an equal share of the line, one of them for the next to come;
// no more than twice what it has used up before, for what is granted is not taken back; and at most half of what is
// left of the relay's outbox, so that there is always something left also where others had their share when the line was
// faster. Neither the outbox nor the inbox can overflow by that: of a share of the inbox, half is for bytes, the rest for
// what messages cost beside them. Even if others hold all of that, a sender may go on frame by frame while there is room in
// the inbox.
func (in *intake) appendAck(now time.Duration, dst []byte, r *receiver) []byte {
	in.activate(now, r)
	window, messages := r.window, max(1, r.messages)
	if !in.paused {
		line := in.line(now)
		if 2*r.window <= r.told {
			r.appetite = min(r.appetite, line) * 2
		}
		own := r.window + r.messages*messageCost
		share := min(line/(in.active+1), (in.outbox/2-in.granted+r.window)/2, r.appetite)
		room := min(in.free()/in.active, (in.free()-in.promised+own)/2)
		window = max(window, min(share, room/2))
		if window <= 0 && in.free() > 0 {
			window = 1
		}
		if window < minGrant && (in.overrun == r || in.free() <= 0 && in.mayOverrun(r, false)) {
			in.beyond(now, r)
			window = oversizeGrant
		}
		messages = max(messages, min((room-window)/messageCost, window/r.overhead+1))
	}
	if window == 0 {
		in.starve(r)
	}
	in.setWindow(r, window, messages)
	in.setLow(r)
	return r.appendAck(dst, in.me)
}

// awaited tells whether somebody waits for what the application takes: it is to be reported at once.
func (in *intake) awaited() bool { return in.wanted > 0 || in.free() <= 0 && len(in.starved) > 0 }

// starve notes that r's sender cannot go on until there is more room.
func (in *intake) starve(r *receiver) {
	if !r.starved {
		r.starved = true
		in.starved = append(in.starved, r)
	}
}

// activate gives r a share of the windows for the next grantIdle.
func (in *intake) activate(now time.Duration, r *receiver) {
	r.lastActive = now
	if !r.active {
		r.active, r.appetite = true, firstGrant
		in.active++
	}
}

// deactivate takes r's share back.
func (in *intake) deactivate(r *receiver) {
	in.setWindow(r, 0, 0)
	if r.active {
		r.active = false
		in.active--
	}
}

// forgetHalf drops what came of a message that is not complete. If its sender lives, it begins the message again.
func (in *intake) forgetHalf(r *receiver) {
	if len(r.half) > 0 {
		in.dropHalf(r)
		r.expected = r.halfAt
		r.ackDue, r.resetSent = false, false
	}
}

// gone notes that a node has left: if it comes back it begins with a window of one frame, and a half message again.
func (in *intake) gone(from string) {
	if r := in.receivers[from]; r != nil {
		in.deactivate(r)
		in.forgetHalf(r)
	}
}

// sweep takes back the windows of the idle, and forgets the streams of those long gone. Once a second is enough.
func (in *intake) sweep(now time.Duration) {
	in.sweepAt = now + time.Second
	for from, r := range in.receivers {
		idle := now - r.lastFrame
		if r.active && now-r.lastActive > grantIdle {
			in.deactivate(r)
		}
		if in.overrun == r && idle > overrunIdle {
			in.overrun = nil
		}
		if idle > overrunIdle && in.used >= in.limit/2 {
			in.forgetHalf(r) // its sender seems gone, and others need the room
		}
		if idle > streamKeep && !r.active && !r.inUrgent && !r.inLate && !r.starved && r.waiting.len() == 0 {
			in.dropHalf(r)
			delete(in.receivers, from)
			if r.isWanted {
				in.wanted--
			}
		}
	}
}
