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
	in.data(0, time.Time{}, f.Append(nil))
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
	session{n, nil}.HandleFrame(roster)
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
