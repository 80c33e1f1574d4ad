package mesh

import (
	"context"
	"encoding/binary"
	"math"
	"strconv"
	"testing"
	"time"

	"pgregory.net/rapid"

	"ultrasockets/codec"
	"ultrasockets/relay"
)

// What an application may do with an inbox that is full, and what is told about messages that are taken out of turn.

func newTestInbound(limit int) *inbound {
	start := time.Now()
	set := &settings{}
	set.Name, set.InboxBytes, set.MaxMessage, set.Now = "b", limit, 1<<20, time.Now
	set.unpacker, _ = codec.NewUnpacker(nil)
	return newInbound(set, func() time.Duration { return time.Since(start) }, func(time.Duration) {}, new(Node).await, &events{now: time.Now})
}

// TestFullInboxOfOnesOwn: who takes a message from a full inbox may send one to itself.
func TestFullInboxOfOnesOwn(t *testing.T) {
	b := newTestInbound(32 << 10)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	for b.in.free() > 0 {
		if err := b.local(ctx, "b", make([]byte, 100), nil); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 200 {
		if err := b.receive(ctx, new(Message)); err != nil {
			t.Fatal(err)
		}
		if err := b.local(ctx, "b", make([]byte, 100), nil); err != nil {
			t.Fatalf("%d were taken: %v", i+1, err)
		}
	}
}

// TestTakenOutOfTurn: a message of which the sender wants to know when it is taken, taken first by Get, counts as soon as Receive
// has taken those before it.
func TestTakenOutOfTurn(t *testing.T) {
	w := newWire(1<<20, 40000)
	b := newTestInbound(1 << 20)
	w.in = b.in
	pass := func() {
		for range 3 {
			w.now += 10 * time.Millisecond
			w.pass(written(func(x *relay.Writing) { w.o.transmit(w.now, x, 1<<20, plain) }))
			for answers := w.in.answers(w.now, nil, true); len(answers) > 0; {
				f, rest, _ := codec.Next(answers)
				answers = rest
				w.o.takeAnswer(w.now, f, true)
			}
		}
	}
	awaited := newReceipt(true)
	w.o.push(0, &draft{body: []byte{1}, kept: true})
	w.o.push(0, &draft{body: []byte{2}, kept: true})
	w.o.push(0, &draft{body: []byte{3}, kept: true, receipt: awaited, ackNow: true})
	pass()
	if got := b.get(1); got[0].data[0] != 3 {
		t.Fatal(got)
	}
	w.o.push(0, &draft{body: []byte{4}, kept: true})
	pass()
	for want := byte(1); want < 3; want++ {
		var m Message
		if err := b.receive(context.Background(), &m); err != nil || m.data[0] != want {
			t.Fatal(m, err)
		}
	}
	if taken := b.in.receivers["a"].taken; codec.Less(taken, w.o.taken[0].end) {
		t.Errorf("messages 1 to 3 are taken, and the sender, who waits for that, would be told %d", taken)
	}
}

// TestForgottenSenders: of senders that were silent for long nothing stays but their messages.
func TestForgottenSenders(t *testing.T) {
	in := newIntake("b", 1<<20, 1<<20, unpackPlain)
	now := time.Duration(0)
	for i := range 100 {
		from := string(rune('A'+i/26)) + string(rune('a'+i%26))
		f := codec.Frame{Kind: codec.KindData, Flags: codec.FlagFirst, To: "b", From: from, Stream: 7, Seq: 1, Payload: make([]byte, 10)}
		in.data(now, time.Time{}, f.Append(nil), nil)
		in.answers(now, nil, true)
		for range 3 {
			now += streamKeep/2 + time.Second
			in.answers(now, nil, true)
		}
		in.get(All) // the application looks only now
		in.answers(now, nil, true)
	}
	for range 3 {
		now += streamKeep/2 + time.Second
		in.answers(now, nil, true)
	}
	if len(in.receivers) != 0 || in.active != 0 || in.granted != 0 || in.promised != 0 {
		t.Errorf("%d senders known, %d active, granted %d, promised %d", len(in.receivers), in.active, in.granted, in.promised)
	}
}

// TestAppetiteIsBounded: windows grow to what the largest outbox allows, also where an int has 32 bits.
func TestAppetiteIsBounded(t *testing.T) {
	in := newIntake("b", 256<<20, 64<<20, unpackPlain)
	in.outbox = 1 << 30
	r := &receiver{from: "a", overhead: 30, known: true}
	for i := range 40 {
		in.appendAck(time.Duration(i)*lineTime, nil, r)
		if r.appetite <= 0 || r.appetite > in.outbox {
			t.Fatalf("ack %d: appetite %d, window %d", i, r.appetite, r.window)
		}
		in.spend(r, r.window-(r.window/2-1))
		in.arrived = 1 << 30 // nothing is faster
	}
	if r.appetite != in.outbox {
		t.Errorf("appetite %d, the outbox has %d", r.appetite, in.outbox)
	}
}

// TestWindowOfSpeed: a sender may have more under way the faster it is taken, so that little waits on a slow line and a fast
// one is never empty.
func TestWindowOfSpeed(t *testing.T) {
	for _, c := range []struct {
		name        string
		perSecond   int // bytes
		least, most int // of the window, in the end
	}{
		{"100 Mbit/s", 12 << 20, calmLine / 2, calmLine / 2},
		{"1 Gbit/s", 118 << 20, calmLine / 2, 118 << 20 / 50},
		{"loopback", 400 << 20, 2 << 20, 8 << 20},
		{"any faster", math.MaxInt32, 4 << 20, 4 << 20}, // half of half of the outbox
	} {
		in := newIntake("b", 256<<20, 64<<20, unpackPlain)
		in.outbox = 16 << 20
		r := &receiver{from: "a", overhead: 30, known: true}
		now, top := time.Duration(0), 0
		for now < time.Second {
			in.appendAck(now, nil, r)
			top = r.window
			half := max(1, r.window/2)
			now += time.Duration(float64(half) / float64(c.perSecond) * 1e9)
			in.spend(r, half)
		}
		if top < c.least || top > c.most {
			t.Errorf("%s: a window of %d, want %d to %d", c.name, top, c.least, c.most)
		}
		in.appendAck(now+time.Minute, nil, r) // it rested
		in.spend(r, r.window)
		if in.appendAck(now+time.Minute, nil, r); r.window > calmLine/2 {
			t.Errorf("%s: a window of %d after a rest", c.name, r.window)
		}
	}
}

// TestWindowsOfMany: whatever senders use of their windows, and however fast, what they may have under way fits half of the
// relay's outbox, and nobody is left with nothing while the inbox is empty.
func TestWindowsOfMany(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := newIntake("b", 256<<20, 64<<20, unpackPlain)
		in.outbox = rapid.SampledFrom([]int{1 << 20, 4 << 20, 16 << 20, 64 << 20}).Draw(t, "outbox")
		now := time.Duration(0)
		r := make([]*receiver, rapid.IntRange(1, 5).Draw(t, "senders"))
		for i := range r {
			r[i] = &receiver{from: string(rune('a' + i)), overhead: 30, known: true}
			in.receivers[r[i].from] = r[i]
		}
		for range rapid.IntRange(1, 100).Draw(t, "steps") {
			x := r[rapid.IntRange(0, len(r)-1).Draw(t, "sender")]
			if most := in.outbox / 4; rapid.IntRange(0, 99).Draw(t, "new relay") == 0 && most >= 1<<20 {
				in.setOutbox(most)
			}
			for range rapid.SampledFrom([]int{0, 1, 1, 30}).Draw(t, "windows") { // a run of them: it gets fast
				in.appendAck(now, nil, x)
				in.spend(x, x.window)
				now += time.Millisecond
			}
			in.spend(x, x.window/rapid.SampledFrom([]int{1, 2, 1000}).Draw(t, "sends"))
			now += time.Duration(rapid.SampledFrom([]int{0, 1, 50}).Draw(t, "wait")) * time.Millisecond
			used := 2*x.window <= x.told
			in.appendAck(now, nil, x)
			if in.granted > in.outbox/2 {
				t.Fatalf("%d granted, the outbox has %d", in.granted, in.outbox)
			}
			if used && x.window < min(firstGrant, in.outbox>>(len(r)+2)) {
				t.Fatalf("a window of %d, %d granted of %d, line %d", x.window, in.granted, in.outbox/2, in.line(now))
			}
		}
	})
}

// TestAcksOfMany: a sender that has the line to itself hears of its progress in time to go on without a pause; each of many that
// share it hears more rarely, but while there is room for a frame.
func TestAcksOfMany(t *testing.T) {
	for _, c := range []struct {
		name         string
		busy, quiet  int
		window, left int // of each; and when the Ack is due
	}{
		{"alone", 1, 0, 64 << 10, 32 << 10},
		{"beside quiet ones", 1, 15, 64 << 10, 32 << 10},
		{"two", 2, 0, 60 << 10, 20 << 10},
		{"sixteen", 16, 0, 256 << 10, 64 << 10},
		{"sixteen, room for a frame", 16, 0, 48 << 10, codec.MaxFrame},
		{"small windows", 16, 0, 8 << 10, 4 << 10},
	} {
		in := newIntake("b", 256<<20, 64<<20, unpackPlain)
		all := make([]*receiver, c.busy+c.quiet)
		for i := range all {
			all[i] = &receiver{from: strconv.Itoa(i), overhead: 30, known: true}
		}
		grant := func(r *receiver) {
			in.setWindow(r, c.window, 1000)
			in.setLow(r)
			r.ackDue = true
		}
		for _, r := range all {
			grant(r)
		}
		due := func(r *receiver) (left int) {
			for !r.isUrgent() {
				for _, other := range all[:c.busy] {
					in.spend(other, 16)
				}
			}
			return r.window
		}
		due(all[0])
		for _, r := range all {
			grant(r)
		}
		if left := due(all[0]); left > c.left || left < c.left-16 {
			t.Errorf("%s: the Ack is due when %d of %d are left, want %d", c.name, left, c.window, c.left)
		}
	}
}

// exchange passes frames and answers between senders and a receiving node from which nothing is taken, for so many rounds.
func (w *wire) exchange(rounds int, others ...*outStream) {
	senders := append(others, w.o)
	for range rounds {
		w.now += 10 * time.Millisecond
		for _, o := range senders {
			w.pass(written(func(x *relay.Writing) { o.tick(w.now, true, x, plain) }))
			w.pass(written(func(x *relay.Writing) { o.transmit(w.now, x, 1<<20, plain) }))
		}
		for answers := w.in.answers(w.now, nil, true); len(answers) > 0; {
			f, rest, _ := codec.Next(answers)
			answers = rest
			for _, o := range senders {
				if string(f.To()) == o.from {
					o.takeAnswer(w.now, f, true)
				}
			}
		}
	}
}

// TestLargeBesideUntaken: a message larger than the inbox comes to its end although something waits that nobody takes, and small
// ones of others pass beside it. The next one waits then, so that there is only one beyond the inbox.
func TestLargeBesideUntaken(t *testing.T) {
	const limit, large = 200 << 10, 500_000
	w := newWire(limit, 1<<20)
	w.o.push(0, &draft{body: make([]byte, 10), kept: true})
	w.exchange(5)
	w.o.push(w.now, &draft{body: make([]byte, large), kept: true})
	for n := uint32(0); w.in.inbox.len() < 2 || w.o.held() > 0; n++ {
		if w.exchange(1); w.now > 20*time.Second {
			t.Fatalf("%d of %d bytes have come, %d are used of %d", len(w.in.receivers["a"].half), large, w.in.used, limit)
		}
		if len(w.in.receivers["a"].half) > limit && n%10 == 0 {
			f := codec.Frame{Kind: codec.KindData, Flags: codec.FlagFirst, To: "b", From: "c", Stream: 7, Seq: n, Payload: make([]byte, 10)}
			before := w.in.stats.messages
			w.in.data(w.now, time.Time{}, f.Append(nil), nil)
			if w.in.stats.messages == before {
				t.Fatalf("a small message is kept out, %d used of %d", w.in.used, limit)
			}
			w.in.get(1)
		}
	}
	w.in.get(All)

	// Of two at the same time only one goes on beyond the inbox; the other does when that is taken.
	other := &outStream{sender: *newSender("b", "c", time.Hour, 0)}
	for _, o := range []*outStream{w.o, other} {
		o.push(w.now, &draft{body: make([]byte, large), kept: true})
	}
	w.exchange(500, other)
	if most := limit + large + 2*messageCost + codec.MaxFrame; w.in.inbox.len() != 1 || w.in.used > most || len(w.in.receivers["a"].half)+len(w.in.receivers["c"].half) == 0 {
		t.Fatalf("%d in the inbox, %d used, at most %d", w.in.inbox.len(), w.in.used, most)
	}
	w.in.get(1)
	w.exchange(500, other)
	if w.in.inbox.len() != 1 || w.o.held()+other.held() > 0 {
		t.Errorf("%d in the inbox, %d and %d held: the second large one did not go on", w.in.inbox.len(), w.o.held(), other.held())
	}
}

// TestLargeReplyPassesFullInbox: a reply of many frames comes whatever waits, as a small one does.
func TestLargeReplyPassesFullInbox(t *testing.T) {
	const limit, large = 64 << 10, 500_000
	w := newWire(limit, 1<<20)
	w.in.used = w.in.limit + 1
	w.o.push(0, &draft{body: make([]byte, large), kept: true, flags: codec.FlagReply})
	for len(w.in.replies) == 0 {
		if w.exchange(1); w.now > probeFirst { // nobody has asked again
			t.Fatalf("%d of %d bytes have come", len(w.in.receivers["a"].half), large)
		}
	}
	if w.in.used != limit+1 || w.in.overrun != nil {
		t.Errorf("%d are used, want %d", w.in.used, limit+1)
	}
	w.o.push(w.now, &draft{body: make([]byte, 10), kept: true})
	if w.exchange(100); w.in.inbox.len() > 0 || w.in.overrun != nil {
		t.Error("a message behind the reply has found room, too")
	}
	repeat := codec.Frame{Kind: codec.KindData, Flags: codec.FlagReply | codec.FlagMore, To: "b", From: "a", Stream: w.o.id, Seq: w.o.ack.seq - 1, Payload: make([]byte, 10)}
	if w.in.data(w.now, time.Time{}, repeat.Append(nil), nil); w.in.overrun != nil {
		t.Error("a repeat keeps others from going beyond the inbox")
	}
}

// TestOneLargeReplyAtATime: of replies of many frames, wanted or not, only one passes a full inbox at the same time; the next one
// follows at once.
func TestOneLargeReplyAtATime(t *testing.T) {
	const limit, large, replies = 64 << 10, 500_000, 5
	w := newWire(limit, 1<<20)
	w.in.used = w.in.limit + 1
	var others []*outStream
	for i := range replies - 1 {
		others = append(others, &outStream{sender: *newSender("b", string(rune('c'+i)), time.Hour, 0)})
	}
	for _, o := range append(others, w.o) {
		o.push(0, &draft{body: make([]byte, large), kept: true, flags: codec.FlagReply})
	}
	most := 0
	for len(w.in.replies) < replies {
		if w.exchange(1, others...); w.now > probeFirst { // nobody has asked again
			t.Fatalf("%d replies have come", len(w.in.replies))
		}
		most = max(most, w.in.used)
	}
	if most > limit+1+large+(replies+1)*codec.MaxFrame {
		t.Errorf("%d were used at a time", most)
	}
}

// TestStarvedTakeTurns: of those that wait for more room than there is, each has its turn to go on beyond the inbox.
func TestStarvedTakeTurns(t *testing.T) {
	in := newIntake("b", 64<<10, 1<<20, unpackPlain)
	in.used = in.limit + 1
	for _, from := range []string{"c", "d", "e"} {
		r := &receiver{from: from}
		r.turnAway(true)
		in.starve(r)
	}
	turns := ""
	for range 9 {
		in.wakeStarved()
		for _, r := range in.urgent { // woken: it is turned away again, behind the others
			turns += r.from
			r.inUrgent, r.resetDue = false, false
			r.turnAway(true)
			in.starve(r)
		}
		in.urgent = in.urgent[:0]
	}
	if turns != "cdecdecde" {
		t.Errorf("they had their turns like this: %s", turns)
	}
}

// TestGivenUpGivesWay: who may go on beyond the inbox and gives its message up is soon followed by another.
func TestGivenUpGivesWay(t *testing.T) {
	const limit, large = 64 << 10, 300_000
	for rounds := range 12 {
		w := newWire(limit, 1<<20)
		other := &outStream{sender: *newSender("b", "c", time.Hour, 0)}
		w.o.push(0, &draft{body: make([]byte, large), kept: true})
		w.exchange(rounds % 4)
		other.push(w.now, &draft{body: make([]byte, large), kept: true})
		for range rounds / 4 {
			w.exchange(1, other)
			w.in.get(All)
		}
		if w.o.held() == 0 || w.in.receivers["a"] != nil && len(w.in.receivers["a"].half) >= limit {
			continue // it has come, or its half alone fills the inbox until it is forgotten
		}
		w.o.giveUpHead(w.now, ErrExpired)
		for start := w.now; other.held() > 0; w.in.get(All) {
			if w.exchange(1, other); w.now-start > 2*probeFirst {
				t.Fatalf("%d rounds: %d of %d bytes have come", rounds, len(w.in.receivers["c"].half), large)
			}
		}
	}
}

// TestBegunMessagesGrantNoMore: messages that have begun are granted no more of the relay's outbox than others, while the inbox has room.
func TestBegunMessagesGrantNoMore(t *testing.T) {
	const senders = 200
	in := newIntake("b", 16<<20, 1<<20, unpackPlain)
	for i := range senders {
		in.data(0, time.Time{}, dataFrame(strconv.Itoa(i), 1, codec.FlagFirst|codec.FlagMore|codec.FlagAckNow, 1000), nil)
		in.answers(0, nil, true)
	}
	if most := in.outbox/2 + senders; in.granted > most || in.overrun != nil {
		t.Errorf("%d are granted, at most %d", in.granted, most)
	}
}

// TestInboxIsBounded: whatever members send, by the rules or not, the inbox has at most a message and a reply more than its limit,
// and the answers end.
func TestInboxIsBounded(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const limit, large = 64 << 10, 200_000
		in := newIntake("b", limit, large, unpackPlain)
		now, next := time.Duration(0), map[string]uint32{}
		for range rapid.IntRange(1, 300).Draw(t, "frames") {
			from := rapid.SampledFrom([]string{"x", "y", "z"}).Draw(t, "from")
			flags := codec.Flags(0)
			for _, flag := range []codec.Flags{codec.FlagFirst, codec.FlagMore, codec.FlagReply, codec.FlagSeveral} {
				if rapid.IntRange(0, 2).Draw(t, "flag") == 0 {
					flags |= flag
				}
			}
			payload := make([]byte, rapid.SampledFrom([]int{0, 20, 5000, codec.MaxPayload}).Draw(t, "size"))
			if size := len(payload) - codec.SeveralLength; flags&codec.FlagSeveral != 0 && size > 0 {
				binary.BigEndian.PutUint16(payload, uint16(size))
			}
			stream := uint32(7 + rapid.IntRange(0, 30).Draw(t, "stream")/30)
			f := codec.Frame{Kind: codec.KindData, Flags: flags, To: "b", From: from, Stream: stream, Seq: next[from], Payload: payload}
			in.data(now, time.Time{}, f.Append(nil), nil)
			next[from] = in.receivers[from].expected
			for i := range 4 {
				if answers := in.answers(now, nil, true); i == 3 && len(answers) > 0 {
					t.Fatalf("%d bytes of answers, again and again", len(answers))
				}
			}
			in.replies = nil
			now += time.Duration(rapid.IntRange(0, 2000).Draw(t, "ms")) * time.Millisecond
			if in.used > limit+2*large+3*codec.MaxFrame {
				t.Fatalf("%d bytes are used of %d", in.used, limit)
			}
			if in.overrun != nil && len(in.overrun.half) == 0 {
				t.Fatal("nothing of what goes on beyond the inbox is here")
			}
		}
	})
}

// TestNothingSlipsIn: what begins as a reply, which passes a full inbox, and goes on as something else, finds no room there.
func TestNothingSlipsIn(t *testing.T) {
	const limit, large = 64 << 10, 200_000
	begins := codec.FlagFirst | codec.FlagMore | codec.FlagReply
	several := make([]byte, codec.MaxPayload)
	binary.BigEndian.PutUint16(several, uint16(len(several)-codec.SeveralLength))
	whole := make([]byte, codec.MaxPayload)
	for name, c := range map[string]struct {
		flags    [2]codec.Flags
		payloads [2][]byte
	}{
		"it ends as a message":         {[2]codec.Flags{begins, 0}, [2][]byte{whole, whole}},
		"a message begins instead":     {[2]codec.Flags{begins, codec.FlagFirst}, [2][]byte{whole[:100], whole}},
		"it is empty, several follow":  {[2]codec.Flags{begins, codec.FlagSeveral}, [2][]byte{nil, several}},
		"it begins, and several begin": {[2]codec.Flags{begins, codec.FlagSeveral | codec.FlagFirst}, [2][]byte{whole, several}},
	} {
		in := newIntake("b", limit, large, unpackPlain)
		next := uint32(1)
		for i := range 200 {
			f := codec.Frame{Kind: codec.KindData, Flags: c.flags[i%2], To: "b", From: "x", Stream: 7, Seq: next, Payload: c.payloads[i%2]}
			in.data(0, time.Time{}, f.Append(nil), nil)
			in.answers(0, nil, true)
			next = in.receivers["x"].expected
		}
		if in.used > limit+large+2*codec.MaxFrame {
			t.Errorf("%s: %d bytes are used of %d", name, in.used, limit)
		}
	}
}

// TestReplyPassesFullInbox: who waits for a reply may be the one who would make room.
func TestReplyPassesFullInbox(t *testing.T) {
	in := newIntake("b", 32<<10, 1<<20, unpackPlain)
	in.used = in.limit + 1
	f := codec.Frame{Kind: codec.KindData, Flags: codec.FlagFirst | codec.FlagReply, To: "b", From: "db", Stream: 8, Seq: 1, Payload: make([]byte, 10)}
	in.data(0, time.Time{}, f.Append(nil), nil)
	if len(in.replies) != 1 || in.used != in.limit+1 {
		t.Errorf("%d replies, used %d of %d", len(in.replies), in.used, in.limit)
	}
}

// TestWantedIsForgotten: a sender that repeated a frame of a message that it never ended is waited for by nobody once it is forgotten.
func TestWantedIsForgotten(t *testing.T) {
	in := newIntake("b", 1<<20, 1<<20, unpackPlain)
	in.data(0, time.Time{}, dataFrame("a", 1, codec.FlagFirst|codec.FlagMore, 100), nil)
	in.data(0, time.Time{}, dataFrame("a", 1, codec.FlagFirst|codec.FlagMore, 100), nil)
	for now := time.Duration(0); now < 3*streamKeep; now += streamKeep / 3 {
		in.answers(now, nil, true)
	}
	if len(in.receivers) != 0 || in.wanted != 0 {
		t.Errorf("%d senders known, %d want to hear what is taken", len(in.receivers), in.wanted)
	}
}

// TestTakenAfterGivingUp: who waits until a message is taken hears of it also if those behind it were given up.
func TestTakenAfterGivingUp(t *testing.T) {
	w := newWire(1<<20, 40000)
	pass := func() {
		w.now += 10 * time.Millisecond
		w.pass(written(func(x *relay.Writing) { w.o.transmit(w.now, x, 1<<20, plain) }))
		for answers := w.in.answers(w.now, nil, true); len(answers) > 0; {
			f, rest, _ := codec.Next(answers)
			answers = rest
			w.o.takeAnswer(w.now, f, true)
		}
	}
	awaited := newReceipt(true)
	w.o.push(0, &draft{body: []byte{1}, kept: true, receipt: awaited})
	pass()
	w.o.push(w.now, &draft{body: []byte{2}, kept: true})
	written(func(x *relay.Writing) { w.o.transmit(w.now, x, 1<<20, plain) }) // lost
	w.o.giveUpHead(w.now, ErrExpired)
	takeOne(w.in)
	w.pass(written(func(x *relay.Writing) { w.o.ask(x) }))
	pass()
	if len(w.o.taken) > 0 || len(awaited.done) == 0 {
		t.Error("the message is taken, and its sender does not hear it")
	}
}
