package mesh

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"testing"
	"time"

	"ultrasockets/codec"
	"ultrasockets/relay"
)

// Messages that share a frame are messages all the same.

// severalOf is a payload of several messages.
func severalOf(messages ...string) (payload []byte) {
	for _, m := range messages {
		payload = append(binary.BigEndian.AppendUint16(payload, uint16(len(m))), m...)
	}
	return payload
}

// TestSharedGroups: a message to a group tells which, also where the group has the node's own name.
func TestSharedGroups(t *testing.T) {
	in := newIntake("b", 1<<20, 1<<20, unpackPlain)
	f := codec.Frame{
		Kind: codec.KindData, Flags: codec.FlagFirst | codec.FlagGroup | codec.FlagSeveral, To: "b", From: "a", Stream: 7,
		Payload: severalOf("\x01b\x01", "\x00\x02", "\x03lab\x03", "\x01b\x04"),
	}
	in.data(0, time.Time{}, f.Append(nil), nil)
	for i, want := range []string{"@b", "@", "@lab", "@b"} {
		m, ok := takeOne(in)
		if !ok || m.To != want || !bytes.Equal(m.data, []byte{byte(i + 1)}) {
			t.Errorf("message %d is %q to %q, want it to %q", i+1, m.data, m.To, want)
		}
	}
}

// TestSharedAge: a message is kept for the whole retention, also if it joined an older one, of which its frame was split off.
func TestSharedAge(t *testing.T) {
	const retention = 2 * time.Second
	s := newSender("b", "a", retention, 0)
	s.maxShare = 30
	message := func() *draft { return &draft{body: make([]byte, 10)} }
	s.push(0, message())
	for range 4 {
		if !s.join(message()) {
			t.Fatal("it joins no other")
		}
	}
	joined := 900 * time.Millisecond
	written(func(x *relay.Writing) { s.transmit(joined, x, 1<<16, plain) })
	s.expire(joined + retention - time.Millisecond)
	if len(s.given) > 0 {
		t.Errorf("%d were given up %v before their time", s.given[0].count, joined-time.Millisecond)
	}
	if s.expire(joined + retention); s.held() > 0 {
		t.Errorf("%d are still held", s.held())
	}
	s.push(0, message())
	if s.look(shareSpan); !s.join(message()) {
		t.Error("it does not join one of the last second")
	}
	if s.look(shareSpan + 1); s.join(message()) {
		t.Error("it joins an older one, which would never expire if it went on like that")
	}
}

// TestSharedAlone: one message of those that would share a frame is cut like any other where the transforms, or what is left of
// the window, have no room for all of it; none waits for more room than minCut.
func TestSharedAlone(t *testing.T) {
	for _, c := range []struct{ maxCut, window, used int }{
		{5000, 0, 0}, {5000, 1 << 20, 8000}, {codec.MaxPayload, 14 << 10, 6000}, {codec.MaxPayload, 14 << 10, 8000}, {codec.MaxPayload, 8000, 3000},
	} {
		s := newSender("b", "a", time.Hour, 0)
		s.maxCut, s.maxShare = c.maxCut, c.maxCut
		left, most := 1<<30, 0
		pack := func(src []byte) ([]byte, uint8, error) {
			most = max(most, len(src))
			left -= s.overhead + len(src)
			return src, 0, nil
		}
		transmit := func() { written(func(x *relay.Writing) { s.transmit(0, x, 1<<20, pack) }) }
		s.push(0, &draft{body: make([]byte, max(1, c.used))})
		transmit()
		if left = 1 << 30; c.window > 0 {
			s.onAck(0, s.ack.seq+1, codec.Ack{Window: uint32(c.window), Messages: 100})
			left = c.window
		}
		for range 5 {
			if d := (&draft{body: make([]byte, 8000)}); !s.join(d) {
				s.push(0, d)
			}
		}
		if transmit(); most > c.maxCut {
			t.Errorf("%+v: a frame of %d bytes before packing", c, most)
		}
		if left < 0 || s.hasWork() || c.window > 0 && s.next.n < s.tailN() && left >= s.overhead+minCut {
			t.Errorf("%+v: %d bytes of the window are left while messages wait", c, left)
		}
	}
}

// TestSharedOutcomes: who waits for a message hears of that one, however often the frame that it waited in was split.
func TestSharedOutcomes(t *testing.T) {
	s := newSender("b", "a", time.Hour, 0)
	s.maxShare = 2 * (codec.SeveralLength + 10) // two share a frame
	var receipts []*receipt
	for range 6 {
		d := &draft{body: make([]byte, 10), receipt: newReceipt(false)}
		if receipts = append(receipts, d.receipt); !s.join(d) {
			s.push(0, d)
		}
	}
	for frames := uint32(0); frames <= 3; frames++ {
		if frames > 0 {
			s.onAck(0, s.ack.seq+1, codec.Ack{Window: 1 << 16, Messages: 1})
		}
		for i, r := range receipts {
			if arrived := len(r.done) > 0; arrived != (i < 2*int(frames)) {
				t.Errorf("%d frames of two messages are acknowledged, and who waits for message %d has heard of it: %v", frames, i, arrived)
			}
		}
		written(func(x *relay.Writing) { s.transmit(0, x, 1<<16, plain) })
	}
}

// TestNobodyHears: what a group's Deliver has queued before it failed counts for Flush: nobody else hears of it.
func TestNobodyHears(t *testing.T) {
	cfg := Config{Name: "a", Groups: []string{"lab"}, Retention: time.Second}
	set, err := cfg.check()
	if err != nil {
		t.Fatal(err)
	}
	n := newNode(set)
	n.view.setRelay("r")
	var entries []codec.Entry
	for i, name := range []string{"b", "c"} {
		entries = append(entries, codec.Entry{Name: name, Instance: uint64(i + 2), Groups: []string{"lab"}, MaxMessage: uint64(1000 - 900*i)})
	}
	roster, _, err := codec.Next(codec.AppendRosterFrames(nil, entries, nil))
	if err != nil {
		t.Fatal(err)
	}
	session{n, nil}.HandleFrame(roster, nil)
	if err := n.Deliver(context.Background(), ToGroup("lab"), make([]byte, 500)); !errors.Is(err, ErrTooLarge) {
		t.Fatalf("one of them takes no such message, and Deliver says %v", err)
	}
	n.out.one("b", func(s *outStream) { s.giveUpAll(0, ErrExpired) })
	var lost *UndeliveredError
	if err := n.Flush(context.Background()); !errors.As(err, &lost) || lost.To != "b" || lost.Count != 1 {
		t.Errorf("the other's was given up after, and Flush says %v", err)
	}
}

// TestNothingBehindAwaited: what waits until it is taken waits for nothing behind it.
func TestNothingBehindAwaited(t *testing.T) {
	s := newSender("b", "a", time.Hour, 0)
	s.push(0, &draft{body: []byte{1}})
	if !s.join(&draft{body: []byte{2}, receipt: newReceipt(true)}) {
		t.Error("a message that is waited for does not join one before it")
	}
	if s.join(&draft{body: []byte{3}}) {
		t.Error("a message joins one that is waited for until it is taken")
	}
}

// TestAskedAgain: whether a message was taken is asked until it is answered, whatever becomes of the question.
func TestAskedAgain(t *testing.T) {
	s := newSender("b", "a", time.Hour, 0)
	transmit := func(now time.Duration) int {
		return len(written(func(x *relay.Writing) { s.transmit(now, x, 1<<16, plain) }))
	}
	s.push(0, &draft{body: []byte{1}, receipt: newReceipt(true)})
	transmit(0)
	s.onAck(0, s.cut, codec.Ack{Window: 1 << 16, Messages: 10, Taken: s.cut - 1})
	m := s.mark()
	if transmit(0) == 0 {
		t.Fatal("it is not asked")
	}
	s.unsend(m)
	if !s.hasWork() || transmit(0) == 0 {
		t.Error("it is not asked again when the link had no room for it")
	}
	now := time.Duration(0)
	for range 5 { // nothing comes of them
		at := s.deadline()
		if at > now+probeMax {
			t.Fatalf("after %v it is not asked again before %v", now, at)
		}
		now = at
		if len(written(func(x *relay.Writing) { s.tick(now, true, x, plain) })) == 0 {
			t.Fatalf("it is not asked after %v", now)
		}
	}
	s.onAck(now, s.cut, codec.Ack{Window: 1 << 16, Messages: 10, Taken: s.cut})
	if len(s.taken) > 0 || s.deadline() != noDeadline {
		t.Error("it is answered, and goes on")
	}
}

// TestAskedAnother: an instance that knows nothing of the stream cannot tell what the one before it took.
func TestAskedAnother(t *testing.T) {
	s := newSender("b", "a", time.Hour, 0)
	r := newReceipt(true)
	s.push(0, &draft{body: []byte{1}, receipt: r})
	written(func(x *relay.Writing) { s.transmit(0, x, 1<<16, plain) })
	s.onAck(0, s.cut, codec.Ack{Window: 1 << 16, Messages: 10, Taken: s.cut - 1})
	s.onReset(0, 0, false)
	if len(r.done) == 0 || !errors.Is(r.err, ErrOutcomeUnknown) {
		t.Errorf("told: %v, %v", len(r.done) > 0, r.err)
	}
}

// TestSharedNonsense: of a frame in which one message is none, nothing is taken.
func TestSharedNonsense(t *testing.T) {
	sound := "\x03lab\x01"
	for _, c := range []struct {
		flags   codec.Flags
		payload []byte
	}{
		{0, nil},
		{0, []byte{0}},
		{0, []byte{0, 0}},
		{0, severalOf("\x01", "", "\x01")},
		{0, append(severalOf("\x01"), 0, 2, 1)},
		{0, append(severalOf("\x01"), 0xff, 0xff)},
		{codec.FlagMore, severalOf("\x01", "\x02")},
		{codec.FlagGroup, severalOf(sound, "\x00")},
		{codec.FlagGroup, severalOf(sound, "\x01\x01")},
		{codec.FlagGroup, severalOf(sound, "\x03lab")},
		{codec.FlagGroup, severalOf(sound, "\xff\x01\x01")},
		{codec.FlagGroup, severalOf(sound, "\x41"+string(make([]byte, 100)))},
		{codec.FlagGroup | codec.FlagRequest, severalOf(string(make([]byte, 20)))},
		{codec.FlagRequest, severalOf("12345678\x01", "12345678")},
		{codec.FlagReply, severalOf("12345678\x00\x01", "12345678\x00")},
		{codec.FlagReply | codec.FlagRequest, severalOf(string(make([]byte, 20)))},
	} {
		in := newIntake("b", 1<<20, 1<<20, unpackPlain)
		f := codec.Frame{Kind: codec.KindData, Flags: codec.FlagFirst | codec.FlagSeveral | c.flags, To: "b", From: "a", Stream: 7, Payload: c.payload}
		in.data(0, time.Time{}, f.Append(nil), nil)
		answer, _, _ := codec.Next(in.answers(0, nil, true))
		_, took := takeOne(in)
		if took || len(in.requests)+len(in.replies) > 0 || in.used != 0 || in.inbox.messages != 0 || answer.Kind() != codec.KindUnreachable {
			t.Errorf("flags %x, %x: taken %v, answered by %v", c.flags, c.payload, took, answer.Kind())
		}
	}
	in := newIntake("b", 1<<20, 1<<20, unpackPlain)
	in.data(0, time.Time{}, dataFrame("a", 0, codec.FlagFirst|codec.FlagMore, 100), nil)
	f := codec.Frame{Kind: codec.KindData, Flags: codec.FlagSeveral, To: "b", From: "a", Stream: 7, Seq: 1, Payload: severalOf("\x01", "\x02")}
	in.data(0, time.Time{}, f.Append(nil), nil)
	if _, took := takeOne(in); took || in.used != 0 {
		t.Errorf("in the middle of another message: taken %v, used %d", took, in.used)
	}
}

// TestSharedRequests: requests that came in one frame count as held until the last of them is handled, and then no more.
func TestSharedRequests(t *testing.T) {
	in := newIntake("b", 1<<20, 1<<20, unpackPlain)
	f := codec.Frame{
		Kind: codec.KindData, Flags: codec.FlagFirst | codec.FlagRequest | codec.FlagSeveral, To: "b", From: "a", Stream: 7, Seq: 5,
		Payload: severalOf("11111111\x01", "22222222\x02", "33333333\x03"),
	}
	in.data(0, time.Time{}, f.Append(nil), nil)
	used := in.used
	for i := range in.requests {
		if in.used != used || in.receivers["a"].taken != 5 {
			t.Errorf("%d of 3 are handled: %d bytes of %d are held, taken before %d", i, in.used, used, in.receivers["a"].taken)
		}
		in.took(&in.requests[i].parcel)
	}
	if len(in.requests) != 3 || in.used != 0 || in.receivers["a"].taken != 6 {
		t.Errorf("all %d are handled: %d bytes are held, taken before %d", len(in.requests), in.used, in.receivers["a"].taken)
	}
}

// TestToldOnce: what a Deliver says is given up is not said by Flush again.
func TestToldOnce(t *testing.T) {
	n := newTestNode(t)
	told := newReceipt(false)
	for _, d := range []*draft{{body: []byte{1}}, {body: []byte{2}, receipt: told}, {body: []byte{3}}} {
		if err := n.out.send(context.Background(), "b", d); err != nil {
			t.Fatal(err)
		}
	}
	n.out.one("b", func(s *outStream) { s.giveUpAll(0, ErrExpired) })
	var lost *UndeliveredError
	if err := n.Flush(context.Background()); !errors.As(err, &lost) || lost.Count != 2 || len(told.done) == 0 {
		t.Errorf("Flush says %v; who waited has heard: %v", err, len(told.done) > 0)
	}
}
