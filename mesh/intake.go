package mesh

import (
	"math"
	"time"

	"ultrasockets/codec"
	"ultrasockets/relay"
)

// Steps 7 and 8 of a message's way, the pure part: all receiving ends of a node, its inbox, and the windows it shares
// out among the senders. No goroutine, no clock, no lock: inbound is the shell around it.

const (
	ackDelay      = 5 * time.Millisecond  // an acknowledgement that nobody waits for leaves at the latest after this
	grantIdle     = 4 * time.Second       // a granted window without a frame for so long counts as free
	overrunIdle   = 3 * probeMax          // a sender not heard for so long gives way to the next message that is larger than the inbox
	overrunRest   = probeFirst / 2        // … and one not heard for so long gives way to another that has begun and asks
	streamKeep    = 10 * time.Minute      // stream state is kept for so long after the last frame
	maxRetention  = streamKeep / 2        // so that no sender can outlive it
	firstGrant    = 16 << 10              // the first window of a stream, in bytes; the next ones may double
	calmLine      = 2 << 20               // what all senders together may have under way, in bytes …
	maxOutbox     = 1 << 30               // what is believed of a relay's outbox
	lineTime      = 20 * time.Millisecond // … or what comes in so long, if that is more
	manyBusy      = 3                     // more senders at a time do not make acknowledgements rarer
	minGrant      = 2048                  // a message larger than the inbox is granted to its end when its window is smaller than this
	drawMost      = 64                    // parcels that the application gets at a time, behind the scenes
	wakeRoom      = 8 << 10               // those that wait for room in the inbox go on when there is so much
	believed      = 16 * codec.MaxPayload // memory that a message may claim with its first frame
	leastKept     = codec.MaxPayload / 2  // what is smaller is copied out of where it was read
	leastLent     = 256                   // what is smaller is not lent: pooled memory would be mostly empty
	oversizeGrant = 4 * codec.MaxPayload  // step in which a message larger than the inbox is granted to its end
)

// request is a complete request for the node's handler; reply is the answer to one of its own.
type request struct {
	Message
	id     [8]byte
	parcel parcel // what counts as taken when the handler has it
}

type reply struct {
	from   string
	id     [8]byte
	status byte
	body   []byte
}

// gapEvent tells that a sender gave up frames before one that arrived.
type gapEvent struct {
	from   string
	frames uint32
}

type intakeStats struct{ frames, messages, gaps, noRoom, refused uint64 }

type intake struct {
	// static
	me         string
	unpack     func(dst, src []byte, packing uint8) ([]byte, error)
	limit      int // InboxBytes
	maxMessage int

	outbox    int           // the relay's outbox for this link: half of it may be granted
	arrived   int           // bytes spent of windows since lineAt
	lineAt    time.Duration // when rate was taken
	rate      int           // … and in a lineTime before
	spent     uint64        // bytes spent of windows since the node began
	receivers map[string]*receiver
	inbox     inbox
	lend      bool          // what arrives may be lent: its memory is used again
	kept      *relay.Memory // of the read of which something was left where it is, and paid for; nil: none yet
	used      int           // bytes of inbox, half messages and requests not yet handled
	serial    uint64
	paused    bool

	granted   int           // sum of all receivers' windows
	promised  int           // what they may cost in the inbox: windows, and messageCost for each message of them
	active    int           // receivers with a share
	overrun   *receiver     // the one whose message is granted to its end although it may be larger than what is free
	overrunAt time.Duration // since then
	wanted    int           // receivers whose sender wants to hear at once what is taken
	starved   []*receiver
	urgent    []*receiver   // have answers that are due at once
	late      []*receiver   // have an acknowledgement that may wait
	ackAt     time.Duration // when delayed acknowledgements are due; noDeadline: none
	sweepAt   time.Duration

	// for the shell to collect
	requests []request
	replies  []reply
	gaps     []gapEvent
	scratch  []byte
	stats    intakeStats
}

func newIntake(me string, limit, maxMessage int, unpack func(dst, src []byte, packing uint8) ([]byte, error)) *intake {
	return &intake{
		me: me, unpack: unpack, limit: limit, maxMessage: maxMessage, outbox: 1 << 20,
		receivers: make(map[string]*receiver), ackAt: noDeadline,
	}
}

// data takes a Data frame with a good checksum. wall is the local time that its message gets if it is complete; lent, if not
// nil, holds the frame.
func (in *intake) data(now time.Duration, wall time.Time, f codec.Raw, lent *relay.Memory) {
	in.stats.frames++
	r := in.receivers[string(f.From())]
	if f.Stream() == 0 {
		in.bestEffort(wall, f)
		return
	}
	if r == nil {
		from := string(f.From())
		r = &receiver{from: from, overhead: codec.HeaderSize + len(in.me) + len(from)}
		in.receivers[from] = r
	}
	in.activate(now, r)
	in.frame(now, wall, r, f, lent)
	in.note(r)
}

// frame takes a frame of a stream, or notes what is to be answered instead.
func (in *intake) frame(now time.Duration, wall time.Time, r *receiver, f codec.Raw, lent *relay.Memory) {
	first, seq := f.Flags()&codec.FlagFirst != 0, f.Seq()
	wanted := r.isWanted
	take, missed := r.check(now, f)
	in.countWanted(wanted, r)
	if missed > 0 {
		in.stats.gaps++
		in.gaps = append(in.gaps, gapEvent{r.from, missed})
	}
	if first && seq == r.expected {
		in.dropHalf(r)
	}
	if !take {
		return
	}
	// A reply does not wait for what is in the inbox, lest who waits for it makes no room: see mayOverrun. A whole one waits for nothing.
	reply := f.Flags()&codec.FlagReply != 0
	whole := f.Flags()&codec.FlagMore == 0 && len(r.half) == 0
	if !(reply && whole) && !in.hasRoom(r, reply) {
		r.turnAway(reply)
		in.setWindow(r, 0, 0) // what else is under way would be turned away, too
		in.starve(r)
		return
	}
	r.resetSent, r.turnedAway = false, false
	if first {
		r.refusing = 0
	}
	reason := r.refusing // the rest of a refused message is refused too
	if reason == 0 {
		reason = in.accept(r, wall, f, lent)
	}
	if reason != 0 {
		in.stats.refused++
		in.dropHalf(r)
		r.refusal, r.refusedSeq, r.refusing = reason, seq, reason
	}
}

// countWanted keeps count of the senders that want to hear at once what is taken, when that of r may have changed.
func (in *intake) countWanted(before bool, r *receiver) {
	switch {
	case r.isWanted && !before:
		in.wanted++
	case before && !r.isWanted:
		in.wanted--
	}
}

// accept takes the frame that r expects, or says why it cannot.
func (in *intake) accept(r *receiver, wall time.Time, f codec.Raw, lent *relay.Memory) codec.UnreachableReason {
	if f.Flags()&codec.FlagsUnknown != 0 {
		return codec.Unsupported
	}
	payload, err := in.unpack(in.scratch, f.Payload(), f.Packing())
	if err != nil {
		return codec.Unsupported
	}
	if f.Packing() != 0 {
		in.scratch, lent = payload[:0], nil
	}
	if f.Flags()&codec.FlagSeveral != 0 {
		return in.acceptSeveral(r, wall, f.Flags(), payload, lent)
	}
	// All frames of a message are of one kind, and bring something: what they say of themselves decides what they may take.
	if f.Flags()&codec.FlagMore != 0 && len(payload) == 0 || len(r.half) > 0 && f.Flags()&prefixFlags != r.halfFlags {
		return codec.Unsupported
	}
	if len(r.half)+len(payload) > in.maxMessage {
		return codec.TooLarge
	}
	in.spend(r, r.overhead+len(payload))
	lend := in.lends(f.Flags())
	if f.Flags()&codec.FlagMore != 0 {
		if in.free() <= 0 {
			in.beyond(r.lastFrame, r)
		}
		if len(r.half) == 0 {
			r.halfAt, r.halfFlags = r.expected, f.Flags()&prefixFlags
			r.size = 0
			if f.Flags()&prefixFlags == 0 {
				r.size = int(min(codec.ItemSize(payload), uint64(in.maxMessage)))
			}
		}
		r.add(payload, lend)
		in.used += len(payload)
		r.expected++
		r.ackSoon(f.Flags())
		return 0
	}
	// Its own copy: it is the application's from here on, unless it is lent.
	data, memory, cost := payload, (*relay.Memory)(nil), len(payload)+messageCost
	switch {
	case len(r.half) > 0:
		r.add(payload, lend)
		in.used += len(payload)
		data = r.half
		cost = len(data) + messageCost
	case lend && in.keeps(payload, lent):
		if _, ok := in.parse(r, f.Flags(), payload); !ok {
			return codec.Unsupported
		}
		memory = lent
		cost += in.keep(lent)
	case lend && len(payload) >= leastLent:
		memory = relay.NewMemory(len(payload))
		data = append(memory.Bytes(), payload...)
	default:
		data = append([]byte(nil), payload...)
	}
	m, ok := in.parse(r, f.Flags(), data)
	if !ok {
		return codec.Unsupported
	}
	if len(r.half) > 0 {
		memory, r.memory = r.memory, nil
	}
	in.dropHalf(r)
	in.complete(r, f.Flags(), parcel{next: m, left: 1, cost: cost, memory: memory}, wall)
	return 0
}

// acceptSeveral takes a frame of several whole messages, all of them or none.
func (in *intake) acceptSeveral(r *receiver, wall time.Time, flags codec.Flags, payload []byte, lent *relay.Memory) codec.UnreachableReason {
	if flags&codec.FlagMore != 0 || len(r.half) > 0 || len(payload) == 0 {
		return codec.Unsupported
	}
	count, least := 0, leastMessage(flags)
	for rest := payload; len(rest) > 0; count++ {
		data, after, ok := cutSeveral(rest)
		if !ok || len(data) < least {
			return codec.Unsupported
		}
		if flags&prefixFlags == codec.FlagGroup {
			if _, sound := in.parse(r, flags, data); !sound {
				return codec.Unsupported
			}
		}
		if len(data) > in.maxMessage {
			return codec.TooLarge
		}
		rest = after
	}
	in.spend(r, r.overhead+len(payload))
	p := parcel{left: count, cost: len(payload) + messageCost, group: flags&codec.FlagGroup != 0}
	p.next = Message{From: r.from, To: in.me}
	switch lend := in.lends(flags); {
	case lend && in.keeps(payload, lent):
		p.piece, p.memory = payload, lent
		p.cost += in.keep(lent)
	default:
		p.fill(payload, lend && len(payload) >= leastLent)
	}
	in.complete(r, flags, p, wall)
	return 0
}

// lends tells whether messages with these flags may be lent: those that go to the inbox, while somebody takes batches from it.
func (in *intake) lends(flags codec.Flags) bool {
	return in.lend && flags&(codec.FlagRequest|codec.FlagReply) == 0
}

// keeps tells whether messages are to stay where they were read, in lent, until the application has taken them: long ones, while
// the inbox has room for all that this keeps from being used again.
func (in *intake) keeps(payload []byte, lent *relay.Memory) bool {
	return lent != nil && len(payload) >= leastKept && (lent == in.kept || in.free()-in.promised >= 2*lent.Size())
}

// keep retains lent, and gives what that costs beside the messages: all of it, with the first that is kept of what was read at once.
func (in *intake) keep(lent *relay.Memory) (cost int) {
	lent.Retain()
	if lent == in.kept {
		return 0
	}
	in.kept = lent
	return lent.Size()
}

// complete takes the messages that end with the frame that r expects.
func (in *intake) complete(r *receiver, flags codec.Flags, p parcel, wall time.Time) {
	in.setWindow(r, r.window, max(0, r.messages-1))
	r.expected++
	p.r, p.n, p.next.Time = r, r.complete(r.expected), wall
	in.used += p.cost
	in.stats.messages += uint64(p.left)
	in.dispatch(p, flags)
	r.ackSoon(flags)
}

const prefixFlags = codec.FlagGroup | codec.FlagRequest | codec.FlagReply

// leastMessage is the length of the shortest message with these flags: what stands before its item, and an item.
func leastMessage(flags codec.Flags) int {
	switch flags & prefixFlags {
	case 0:
		return 1
	case codec.FlagGroup:
		return 1 + 1
	case codec.FlagRequest:
		return requestPrefix + 1
	case codec.FlagReply:
		return replyPrefix + 1
	}
	return math.MaxInt // it claims to be several things at once
}

// parse takes what stands before the item off a message. Of requests and replies it stays, for dispatch. False: the
// message is too short for its prefix and an item, or claims to be several things at once.
func (in *intake) parse(r *receiver, flags codec.Flags, data []byte) (Message, bool) {
	m := Message{From: r.from, To: in.me, data: data}
	if len(data) < leastMessage(flags) {
		return m, false
	}
	if flags&codec.FlagGroup != 0 {
		if int(data[0]) > codec.MaxName || len(data) <= 1+int(data[0]) {
			return m, false
		}
		group := data[1 : 1+int(data[0])]
		if string(group) != r.lastGroup {
			r.lastGroup = string(group)
		}
		m.To, m.data = groupAddress(r.lastGroup), data[1+len(group):]
	}
	return m, true
}

// dispatch puts what is complete where it belongs: the inbox, the handler, or who waits for the reply.
func (in *intake) dispatch(p parcel, flags codec.Flags) {
	if flags&(codec.FlagReply|codec.FlagRequest) == 0 {
		in.put(p)
		return
	}
	messages := p.left
	for range messages {
		var m Message
		p.take(&m)
		if flags&codec.FlagReply != 0 {
			rep := reply{from: m.From, status: m.data[requestPrefix], body: m.data[replyPrefix:]}
			copy(rep.id[:], m.data)
			in.replies = append(in.replies, rep)
			continue
		}
		req := request{Message: m}
		copy(req.id[:], m.data)
		req.data = m.data[requestPrefix:]
		if p.left == 0 { // the frame is taken when its last request is: they are handled in order
			req.parcel = p
		}
		in.requests = append(in.requests, req)
	}
	if flags&codec.FlagReply != 0 {
		in.took(&p)
	}
}

// put puts messages into the inbox, as the next arrivals.
func (in *intake) put(p parcel) {
	p.next.Serial = in.serial + 1
	in.serial += uint64(p.left)
	in.inbox.add(p, !in.paused)
}

// bestEffort takes a frame of stream 0, if there is room and it makes sense.
func (in *intake) bestEffort(wall time.Time, f codec.Raw) {
	if in.free() <= 0 || in.paused || f.Flags()&(codec.FlagMore|codec.FlagSeveral|codec.FlagsUnknown|codec.FlagRequest|codec.FlagReply) != 0 {
		in.stats.noRoom++
		return
	}
	payload, err := in.unpack(in.scratch, f.Payload(), f.Packing())
	if err != nil {
		in.stats.refused++
		return
	}
	data := append([]byte(nil), payload...)
	m, ok := in.parse(&receiver{from: string(f.From())}, f.Flags(), data)
	if !ok {
		in.stats.refused++
		return
	}
	m.Time = wall
	p := parcel{next: m, left: 1, cost: len(data) + messageCost}
	in.used += p.cost
	in.stats.messages++
	in.put(p)
}

// local puts a message of this node to itself into its inbox; false: there is no room. It may pass the limit by as much as
// a frame of others does: else who takes one message and sends one might wait for itself.
func (in *intake) local(wall time.Time, to string, data []byte, own *receipt) bool {
	if in.free() <= -codec.MaxFrame {
		return false
	}
	cost := len(data) + messageCost
	in.used += cost
	if own != nil {
		own.arrive()
		if !own.untilTaken {
			own = nil
		}
	}
	in.put(parcel{next: Message{From: in.me, To: to, Time: wall, data: data}, left: 1, cost: cost, own: own})
	return true
}

// took notes that the application has a parcel.
func (in *intake) took(p *parcel) {
	in.used -= p.cost
	if p.own != nil {
		p.own.finish(nil)
	}
	if p.r == nil {
		return
	}
	wanted := p.r.isWanted
	now, soon := p.r.take(p.n)
	in.countWanted(wanted, p.r)
	p.r.ackNow = p.r.ackNow || now
	p.r.ackDue = p.r.ackDue || soon
	if now || soon {
		in.note(p.r)
	}
}

// tookPart notes that the application has a message of so many bytes of a parcel of several.
func (in *intake) tookPart(p *parcel, size int) {
	in.used -= size
	p.cost -= size
}

// get takes up to n messages, newest first; n < 0: all.
func (in *intake) get(n int) (out []Message) {
	if n < 0 {
		n = math.MaxInt
	}
	for len(out) < n && in.inbox.ready() > 0 {
		p := in.inbox.newest()
		had := len(out)
		out = p.takeNewest(out, n-had)
		in.inbox.messages -= len(out) - had
		if p.left == 0 {
			empty := in.inbox.popNewest()
			in.took(&empty)
		}
	}
	return out
}

// draw moves the oldest parcels that are ready to list: those that the application will take next. They still count as
// waiting until took.
func (in *intake) draw(list []parcel) []parcel {
	cost := 0
	for in.inbox.ready() > 0 && len(list) < drawMost && cost <= in.limit/8 {
		p := in.inbox.pop()
		cost += p.cost
		list = append(list, p)
	}
	return list
}

// tookDrawn notes that the application has parcels that were drawn.
func (in *intake) tookDrawn(list []parcel) {
	for i := range list {
		in.took(&list[i])
	}
}

func (in *intake) pause() { in.paused = true }

func (in *intake) resume() {
	in.paused = false
	in.inbox.release()
	for _, r := range in.receivers {
		if r.active && r.known {
			r.goOn()
			in.note(r)
		}
	}
}
