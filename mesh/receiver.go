package mesh

import (
	"slices"
	"time"

	"ultrasockets/codec"
	"ultrasockets/relay"
)

// Step 7 of a message's way: the receiving end of the stream from one source name. Pure: no goroutine, no clock, no
// lock. The rules are those of codec/WIRE.md, section 6.

// receiver is the receiving end of a stream. Not safe for concurrent use: inbound holds the lock.
type receiver struct {
	// static
	from     string
	overhead int // bytes of a frame beside its payload

	// the stream
	known     bool
	stream    uint32
	expected  uint32
	half      []byte                  // what has arrived of a message that goes on …
	memory    *relay.Memory           // … where it is, if that is lent …
	halfFlags codec.Flags             // … and the prefixFlags of all its frames …
	halfAt    uint32                  // … and the number of its first frame …
	size      int                     // … and its size, as it says itself; 0: it does not
	refusing  codec.UnreachableReason // the message at expected was refused for this reason, until another begins; 0: no
	lastFrame time.Duration

	// the window granted from expected on
	window     int           // what is left of it, in bytes …
	messages   int           // … and in messages
	told       int           // the window in the last Ack, in bytes
	used       uint64        // bytes of windows that it has spent since …
	spentAt    uint64        // … and intake.spent then
	low        int           // the next one is due at once when no more than so much of the window is left, in bytes …
	lowCount   int           // … or in messages
	appetite   int           // what may be granted at most: it doubles each time half of it is used
	starved    bool          // is in intake.starved
	turnedAway bool          // the frame at expected came while there was no room: it is asked for when there is …
	awayReply  bool          // … and is one of a reply
	active     bool          // has a share of the windows …
	lastActive time.Duration // … until grantIdle after this

	// answers due
	inUrgent     bool // is in intake.urgent
	inLate       bool // is in intake.late
	ackNow       bool
	ackDue       bool
	ackBody      [codec.AckSize]byte // scratch
	resetDue     bool
	resetSent    bool // since the last frame taken or repeated: no more
	resetKnown   bool
	resetStream  uint32
	refusal      codec.UnreachableReason // 0: none
	refusedSeq   uint32
	lastGroup    string // as of the last message to a group: saves an allocation
	waiting      fifo[waitingParcel]
	firstWaiting uint64 // number of waiting[0] since the receiver exists
	taken        uint32
	wanted       uint32 // the sender wants to hear at once when all before this number are taken …
	isWanted     bool   // … as long as this is true
}

// waitingParcel is a parcel that the application has not taken, or has taken before an older one.
type waitingParcel struct {
	end   uint32 // all frames before this number are taken with it
	taken bool
}

// check decides by stream and number whether the receiver takes a frame, and notes the answer that is due if not.
// A first frame that is not a repeat ends what is half received: the caller drops that.
// missed is the number of frames that the sender gave up before this one.
func (r *receiver) check(now time.Duration, f codec.Raw) (take bool, missed uint32) {
	stream, seq := f.Stream(), f.Seq()
	first := f.Flags()&codec.FlagFirst != 0
	r.lastFrame = now
	switch {
	case !r.known || stream != r.stream:
		if !first {
			r.askReset(stream, false)
			return false, 0
		}
		r.begin(stream, seq)
	case seq == r.expected:
	case codec.Less(seq, r.expected):
		r.ackNow, r.resetSent = true, false
		r.want(seq)
		return false, 0
	case !first:
		r.askReset(stream, true)
		return false, 0
	default:
		missed = seq - r.expected
		r.skipTo(seq)
	}
	return true, missed
}

// goOn has the sender hear what it may send, and send again what was turned away.
func (r *receiver) goOn() {
	r.ackNow = true
	if r.turnedAway {
		r.resetDue, r.resetStream, r.resetKnown = true, r.stream, true
		r.turnedAway = false
	}
}

// turnAway notes that there is no room for the frame at expected, which is of a reply or not.
func (r *receiver) turnAway(reply bool) { r.ackNow, r.turnedAway, r.awayReply = true, true, reply }

// begin replaces the stream by another. What the old one brought and the application has not taken stays in the inbox.
func (r *receiver) begin(stream, seq uint32) {
	r.known, r.stream, r.expected, r.taken = true, stream, seq, seq
	r.firstWaiting += uint64(r.waiting.len())
	r.waiting, r.isWanted = fifo[waitingParcel]{}, false
	r.resetDue, r.resetSent, r.refusal, r.refusing, r.turnedAway = false, false, 0, 0, false
}

// growth is how much memory the half message is to get next, for n bytes at least. What it says of its size is believed as far as
// it costs no more than some frames of it, or three times what has come; else it grows in step with that.
func (r *receiver) growth(n int) int {
	have := len(r.half)
	if left := r.size - have; left >= n {
		return max(n, min(left, max(believed, 3*have)))
	}
	return max(n, have/4, min(have, believed))
}

// skipTo goes on at seq: all before was given up by the sender.
func (r *receiver) skipTo(seq uint32) {
	r.expected, r.refusing = seq, 0
	if r.waiting.len() == 0 {
		r.taken = seq
	}
}

// add adds to the half message. lend tells whether its memory is to be lent if it is the first part.
func (r *receiver) add(payload []byte, lend bool) {
	if len(r.half)+len(payload) > cap(r.half) {
		size := r.growth(len(payload))
		if lend && r.half == nil || r.memory != nil {
			m := relay.NewMemory(len(r.half) + size)
			r.half = append(m.Bytes(), r.half...)
			r.memory.Release()
			r.memory = m
		} else {
			r.half = slices.Grow(r.half, size)
		}
	}
	r.half = append(r.half, payload...)
}

func (r *receiver) askReset(stream uint32, known bool) {
	if r.resetSent && stream == r.resetStream {
		return
	}
	r.resetDue, r.resetStream, r.resetKnown = true, stream, known
}

// ackSoon notes that a frame was taken.
func (r *receiver) ackSoon(flags codec.Flags) {
	r.ackDue = true
	r.ackNow = r.ackNow || flags&codec.FlagAckNow != 0
}

// want notes that the sender has repeated a frame: it may do so to hear when its message is taken.
func (r *receiver) want(seq uint32) {
	if codec.Less(seq, r.taken) {
		return // the Ack that answers says so
	}
	if !r.isWanted || codec.Less(r.wanted, seq+1) {
		r.isWanted, r.wanted = true, seq+1
	}
}

// complete notes that a parcel goes to the inbox, and gives its number.
func (r *receiver) complete(end uint32) uint64 {
	r.waiting.push(waitingParcel{end: end})
	return r.firstWaiting + uint64(r.waiting.len()) - 1
}

// take notes that the application took parcel n, and tells whether an answer should say so at once, or soon.
func (r *receiver) take(n uint64) (now, soon bool) {
	if n < r.firstWaiting {
		return false, false // of a stream that was replaced
	}
	r.waiting.at(int(n - r.firstWaiting)).taken = true
	for r.waiting.len() > 0 && r.waiting.at(0).taken {
		r.taken = r.waiting.pop().end
		r.firstWaiting++
		soon = true
	}
	if soon && r.waiting.len() == 0 {
		r.taken = r.expected // also past a message that is only half here: none ends before
	}
	now = soon && r.isWanted
	r.isWanted = r.isWanted && codec.Less(r.taken, r.wanted)
	return now, soon
}

// isUrgent tells whether an answer is due at once: somebody waits for it, or little of the window is left.
func (r *receiver) isUrgent() bool {
	return r.resetDue || r.refusal != 0 || r.ackNow || r.ackDue && (r.window <= r.low || r.messages <= r.lowCount)
}

// appendAnswers appends the Reset and the Unreachable that are due.
func (r *receiver) appendAnswers(dst []byte, me string) []byte {
	if r.resetDue {
		r.resetDue, r.resetSent = false, true
		body := codec.Reset{Known: r.resetKnown}
		f := codec.Frame{Kind: codec.KindReset, To: r.from, From: me, Stream: r.resetStream, Seq: r.expected, Payload: body.Append(nil)}
		dst = f.Append(dst)
	}
	if r.refusal != 0 {
		body := codec.Unreachable{Reason: r.refusal}
		f := codec.Frame{Kind: codec.KindUnreachable, To: r.from, From: me, Stream: r.stream, Seq: r.refusedSeq, Payload: body.Append(nil)}
		dst = f.Append(dst)
		r.refusal = 0
	}
	return dst
}

func (r *receiver) appendAck(dst []byte, me string) []byte {
	r.ackNow, r.ackDue = false, false
	r.told = r.window
	a := codec.Ack{Window: uint32(r.window), Messages: uint32(r.messages), Taken: r.taken}
	f := codec.Frame{Kind: codec.KindAck, To: r.from, From: me, Stream: r.stream, Seq: r.expected, Payload: a.Append(r.ackBody[:0])}
	return f.Append(dst)
}
