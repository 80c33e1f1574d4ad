package mesh

import (
	"errors"
	"testing"
	"time"

	"ultrasockets/codec"
	"ultrasockets/relay"
)

// wire is one sender and one receiving node with nothing lost between them.
type wire struct {
	now time.Duration
	o   *outStream
	in  *intake
	got []int // sizes of what arrived
}

func newWire(inbox, maxMessage int) *wire {
	return &wire{o: &outStream{sender: *newSender("b", "a", time.Hour, 0)}, in: newIntake("b", inbox, maxMessage, unpackPlain)}
}

// round passes what the sender may send, at most so many bytes at once, and the answers.
func (w *wire) round(limit int) {
	w.now += 10 * time.Millisecond
	w.pass(append(written(func(x *relay.Writing) { w.o.tick(w.now, true, x, plain) }), written(func(x *relay.Writing) { w.o.transmit(w.now, x, limit, plain) })...))
	b := w.in.answers(w.now, nil, true)
	for len(b) > 0 {
		f, rest, _ := codec.Next(b)
		b = rest
		w.o.takeAnswer(w.now, f, true)
		w.pass(written(func(x *relay.Writing) { w.o.transmit(w.now, x, limit, plain) })) // answers cross frames
	}
	for _, m := range w.in.get(All) {
		w.got = append(w.got, len(m.data))
	}
}

func (w *wire) pass(b []byte) {
	for len(b) > 0 {
		f, rest, _ := codec.Next(b)
		b = rest
		w.in.data(w.now, time.Time{}, f, nil)
	}
}

func dataFrame(from string, seq uint32, flags codec.Flags, n int) codec.Raw {
	f := codec.Frame{Kind: codec.KindData, Flags: flags, To: "b", From: from, Stream: 7, Seq: seq, Payload: make([]byte, n)}
	return f.Append(nil)
}

// TestRefusedWhole: of a message that is too large no part is delivered, whatever crosses the refusal.
func TestRefusedWhole(t *testing.T) {
	w := newWire(1<<20, 40000)
	w.o.push(0, &draft{body: make([]byte, 3*codec.MaxPayload-5000), kept: true})
	w.o.push(0, &draft{body: make([]byte, 6), kept: true})
	for range 50 {
		w.round(1 << 20)
	}
	if len(w.got) != 1 || w.got[0] != 6 || len(w.o.given) != 1 || !errors.Is(w.o.given[0].reason, ErrTooLarge) || w.o.held() != 0 {
		t.Fatalf("arrived %v, given up %+v, held %d", w.got, w.o.given, w.o.held())
	}
}

// TestHalfMessageGivesWay: a sender that is gone in the middle of a message as large as the inbox does not keep the others out.
func TestHalfMessageGivesWay(t *testing.T) {
	w := newWire(1<<20, 64<<20)
	for i := range uint32(65) {
		flags := codec.FlagMore
		if i == 0 {
			flags |= codec.FlagFirst
		}
		w.in.data(w.now, time.Time{}, dataFrame("gone", i, flags, codec.MaxPayload), nil)
		w.in.answers(w.now, nil, true)
	}
	for w.in.inbox.len() == 0 {
		if w.now += 5 * time.Second; w.now > 30*time.Second {
			t.Fatalf("another sender's message is still kept out after %v", w.now)
		}
		w.in.data(w.now, time.Time{}, dataFrame("c", 0, codec.FlagFirst|codec.FlagAckNow, 100), nil)
		w.in.answers(w.now, nil, true)
	}
}

// TestHalfMessageComesBack: if that sender lives after all, its message arrives, once.
func TestHalfMessageComesBack(t *testing.T) {
	w := newWire(200<<10, 1<<20)
	w.o.push(0, &draft{body: make([]byte, 10), kept: true})
	w.o.push(0, &draft{body: make([]byte, 500_000), kept: true})
	for range 8 {
		w.round(20_000)
	}
	half := len(w.in.receivers["a"].half)
	w.now += 30 * time.Second
	w.in.answers(w.now, nil, true)
	if half < 100<<10 || len(w.in.receivers["a"].half) != 0 {
		t.Fatalf("half received: %d, then %d", half, len(w.in.receivers["a"].half))
	}
	for range 2000 {
		w.round(20_000)
	}
	if len(w.got) != 2 || w.got[1] != 500_000 || w.o.held() != 0 {
		t.Fatalf("arrived %v, held %d", w.got, w.o.held())
	}
}

// TestSmallSender: a sender that may hold much less than the receiver's window does not wait for acknowledgements that come when
// there is time.
func TestSmallSender(t *testing.T) {
	const limit = 64 << 10
	for _, size := range []int{1, 100, 3000, 20_000, 30_000, 40_000, 60_000} {
		w := newWire(16<<20, 1<<20)
		w.o.askEvery = limit / askPart
		w.now = time.Second
		for came, stalled := 0, 0; came < 2000; {
			for w.o.bytes+size+messageCost <= limit {
				w.o.push(w.now, &draft{body: make([]byte, size), kept: true})
				w.o.queue.at(w.o.queue.len() - 1).shut()
			}
			if stalled++; stalled > 10 {
				t.Fatalf("%d B: nothing is acknowledged after %d messages", size, came)
			}
			for sent := written(func(x *relay.Writing) { w.o.transmit(w.now, x, 1<<20, plain) }); len(sent) > 0; {
				var f codec.Raw
				f, sent, _ = codec.Next(sent) // each in a read of its own: only those that ask are answered
				w.pass(f)
				for b := w.in.answers(w.now, nil, false); len(b) > 0; {
					f, b, _ = codec.Next(b)
					w.o.takeAnswer(w.now, f, true)
				}
			}
			if w.o.bytes < limit/2 {
				stalled = 0
			}
			came += len(w.in.get(All))
		}
	}
}

// TestNoTicksForNothing: once everything is said, nobody asks for ticks.
func TestNoTicksForNothing(t *testing.T) {
	w := newWire(1<<20, 1<<20)
	w.in.data(0, time.Time{}, dataFrame("a", 0, codec.FlagFirst, 10), nil)
	w.in.data(0, time.Time{}, dataFrame("a", 1, codec.FlagMore, 10), nil)
	w.in.answers(0, nil, true)
	w.now = 8 * time.Minute
	w.in.answers(w.now, nil, true)
	takeOne(w.in)
	w.in.answers(w.now, nil, false)
	for ticks := 0; w.in.ackAt != noDeadline; ticks++ {
		if ticks > 10 {
			t.Fatal("it goes on and on")
		}
		w.now = w.in.ackAt
		w.in.answers(w.now, nil, true)
	}
}

// TestUnsendAfterGivingUp: a message that cannot be packed is given up, and the link is full for the next one.
func TestUnsendAfterGivingUp(t *testing.T) {
	s := newSender("b", "a", time.Hour, 0)
	pack := func(src []byte) ([]byte, uint8, error) {
		if src[0] == 'x' {
			return nil, 0, errors.New("cannot be packed")
		}
		return src, 0, nil
	}
	s.push(0, &draft{body: []byte("x1"), kept: true})
	s.push(0, &draft{body: []byte("y2"), kept: true})
	m := s.mark()
	if b := written(func(x *relay.Writing) { s.transmit(0, x, 1<<16, pack) }); len(b) == 0 || len(s.given) != 1 {
		t.Fatal(len(b), s.given)
	}
	s.unsend(m)
	if b := written(func(x *relay.Writing) { s.transmit(0, x, 1<<16, pack) }); len(b) == 0 {
		t.Fatal("the second message is not sent again")
	}
}

// TestHurryPastForgotten: a receiver that has forgotten what came of a message, and acknowledged it, takes no hurry for a frame of it.
func TestHurryPastForgotten(t *testing.T) {
	s := newSender("b", "a", time.Minute, 0)
	in := newIntake("b", 1<<20, 1<<20, unpackPlain)
	s.push(0, &draft{body: make([]byte, 2*codec.MaxPayload), kept: true})
	next := func(make func(*relay.Writing)) codec.Raw {
		f, _, err := codec.Next(written(make))
		if err != nil || f == nil {
			t.Fatalf("no frame: %v", err)
		}
		return f
	}
	transmit := func(w *relay.Writing) { s.transmit(0, w, 1, plain) }
	in.data(0, time.Time{}, next(transmit), nil)
	ack, _, _ := codec.Next(in.answers(0, nil, true))
	a, err := codec.ParseAck(ack.Payload())
	if err != nil {
		t.Fatal(err)
	}
	s.onAck(0, ack.Seq(), a)
	next(transmit) // and is lost
	in.gone("a")   // who has forgotten the first half
	r := in.receivers["a"]
	expects := r.expected
	in.data(0, time.Time{}, next(s.hurry), nil)
	if r.expected != expects || r.refusal != 0 {
		t.Fatalf("it expected frame %d, and then %d; refusal %d", expects, r.expected, r.refusal)
	}
	if ack, _, _ := codec.Next(in.answers(0, nil, false)); ack == nil || ack.Kind() != codec.KindAck || ack.Seq() != expects {
		t.Fatal("it has not answered at once")
	}
}
