package mesh

import (
	"encoding/binary"
	"testing"
	"time"

	"pgregory.net/rapid"

	"ultrasockets/codec"
	"ultrasockets/relay"
)

func plain(src []byte) ([]byte, uint8, error) { return src, 0, nil }

func unpackPlain(_, src []byte, packing uint8) ([]byte, error) { return src, nil }

// written is what f writes.
func written(f func(*relay.Writing)) []byte {
	var w relay.Writing
	f(&w)
	frames, _ := w.InOnePiece() // the memory is the caller's, for good
	return frames
}

// pipe is the path between one sender and one receiving node, with a relay's outbox of bounded size, in virtual time.
type pipe struct {
	t      *rapid.T
	now    time.Duration
	s      *sender
	in     *intake
	there  []codec.Raw // frames on their way to the receiver
	back   []codec.Raw // and back
	next   uint64      // next message to send
	want   uint64      // next message that must arrive
	lost   map[uint64]bool
	bytes  int // on the way there
	outbox int
}

func newPipe(t *rapid.T, outbox, inbox int) *pipe {
	p := &pipe{t: t, outbox: outbox, lost: map[uint64]bool{}}
	p.s = newSender("b", "a", time.Hour, 0)
	start := rapid.SampledFrom([]uint32{0, 1<<32 - 3, 1<<31 - 2}).Draw(t, "first number")
	p.s.cut, p.s.sent = start, start
	p.s.maxShare = rapid.SampledFrom([]int{0, 500, codec.MaxPayload}).Draw(t, "share")
	p.s.rewind()
	p.restart(inbox)
	return p
}

// restart puts a new instance of the receiver into place.
func (p *pipe) restart(inbox int) {
	p.in = newIntake("b", inbox, 1<<20, unpackPlain)
	p.in.outbox = p.outbox
}

func (p *pipe) push(size int) {
	data := binary.BigEndian.AppendUint64(nil, p.next)
	for i := range size { // no two parts are equal
		data = append(data, byte(i>>12)^byte(i*31)^byte(p.next))
	}
	if d := (&draft{body: data, kept: p.next%4 == 0}); !p.s.join(d) {
		p.s.push(p.now, d)
	}
	p.next++
	p.transmit()
}

// put puts whole frames onto the way there; those that the outbox has no room for come back as busy.
func (p *pipe) put(frames []byte) {
	for len(frames) > 0 {
		f, rest, err := codec.Next(frames)
		if err != nil || f == nil || !f.Valid() {
			p.t.Fatalf("the sender made a bad frame, of %d bytes: %v", len(f), err)
		}
		frames = rest
		if p.bytes+len(f) > p.outbox {
			p.reply(codec.KindUnreachable, f, codec.Unreachable{Reason: codec.Busy}.Append(nil))
			continue
		}
		p.bytes += len(f)
		p.there = append(p.there, append(codec.Raw(nil), f...))
	}
}

func (p *pipe) reply(kind codec.Kind, f codec.Raw, body []byte) {
	r := codec.Frame{Kind: kind, To: "a", From: "b", Stream: f.Stream(), Seq: f.Seq(), Payload: body}
	p.back = append(p.back, r.Append(nil))
}

func (p *pipe) transmit() {
	for {
		b := written(func(x *relay.Writing) { p.s.transmit(p.now, x, 1<<16, plain) })
		if len(b) == 0 {
			return
		}
		p.put(b)
	}
}

// arrive lets the next frame on the way there arrive.
func (p *pipe) arrive() {
	if len(p.there) == 0 {
		return
	}
	f := p.there[0]
	p.there = p.there[1:]
	p.bytes -= len(f)
	p.in.data(p.now, time.Time{}, f, nil)
	p.answers(false)
}

func (p *pipe) answers(all bool) {
	b := p.in.answers(p.now, nil, all)
	for len(b) > 0 {
		f, rest, _ := codec.Next(b)
		b = rest
		p.back = append(p.back, append(codec.Raw(nil), f...))
	}
}

// hear lets the next answer arrive at the sender.
func (p *pipe) hear() {
	if len(p.back) == 0 {
		return
	}
	f := p.back[0]
	p.back = p.back[1:]
	if f.Stream() == p.s.id {
		(&outStream{sender: *p.s}).takeAnswerInto(p, f)
	}
	p.transmit()
}

// takeAnswerInto runs takeAnswer on a copy and keeps what it did.
func (s *outStream) takeAnswerInto(p *pipe, f codec.Raw) {
	s.takeAnswer(p.now, f, true)
	*p.s = s.sender
}

// takeOne is the application taking the oldest message.
func takeOne(in *intake) (Message, bool) {
	list := in.draw(nil)
	if len(list) == 0 {
		return Message{}, false
	}
	var m Message
	list[0].take(&m)
	whole := 0
	if list[0].left == 0 {
		whole = 1
	}
	in.inbox.putBack(list[whole:])
	in.tookDrawn(list[:whole])
	return m, true
}

// take lets the application take n messages and checks them.
func (p *pipe) take(n int) {
	for ; n > 0; n-- {
		m, ok := takeOne(p.in)
		if !ok {
			break
		}
		got := binary.BigEndian.Uint64(m.data)
		for p.lost[p.want] {
			p.want++
		}
		if got != p.want {
			p.t.Fatalf("message %d arrived, want %d", got, p.want)
		}
		p.want++
	}
	p.answers(false)
}

// pass lets time pass.
func (p *pipe) pass(d time.Duration) {
	p.now += d
	if b := written(func(x *relay.Writing) { p.s.tick(p.now, true, x, plain) }); len(b) > 0 {
		p.put(b)
	}
	p.transmit()
	if p.now >= p.in.ackAt {
		p.answers(true)
	}
}

// relink loses everything on the way, as a new link does.
func (p *pipe) relink() {
	p.there, p.back, p.bytes = nil, nil, 0
	p.s.linkChanged(p.now)
	p.transmit()
}

func (p *pipe) check() {
	if p.in.granted < 0 || p.in.used < 0 || p.s.inflight < 0 || p.s.bytes < 0 {
		p.t.Fatalf("negative: granted %d used %d in flight %d held %d", p.in.granted, p.in.used, p.s.inflight, p.s.bytes)
	}
	sum, promised := 0, 0
	for _, r := range p.in.receivers {
		sum += r.window
		promised += r.window + r.messages*messageCost
	}
	if sum != p.in.granted || promised != p.in.promised {
		p.t.Fatalf("windows sum to %d, granted is %d; they may cost %d, promised is %d", sum, p.in.granted, promised, p.in.promised)
	}
	if p.in.inbox.len() == 0 && len(p.in.receivers) == 1 {
		for _, r := range p.in.receivers {
			if p.in.used != len(r.half) {
				p.t.Fatalf("the inbox is empty, %d bytes are half received, and %d are counted", len(r.half), p.in.used)
			}
		}
	}
}

// TestStreamDelivers is the model: whatever happens on the way, every message arrives once and in order, and when the
// faults end everything arrives.
func TestStreamDelivers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := newPipe(t, rapid.IntRange(40<<10, 200<<10).Draw(t, "outbox"), rapid.IntRange(codec.MaxFrame, 100<<10).Draw(t, "inbox"))
		t.Repeat(map[string]func(*rapid.T){
			"send":  func(t *rapid.T) { p.push(rapid.IntRange(0, 100).Draw(t, "size")) },
			"large": func(t *rapid.T) { p.push(rapid.IntRange(0, 300<<10).Draw(t, "size")) },
			"peer": func(t *rapid.T) {
				p.s.maxCut = rapid.SampledFrom([]int{1, 700, 5000, 9000, 16000, codec.MaxPayload}).Draw(t, "cut")
				p.s.maxShare = min(p.s.maxCut, rapid.SampledFrom([]int{0, 500, codec.MaxPayload}).Draw(t, "share"))
			},
			"medium": func(t *rapid.T) { p.push(rapid.IntRange(2000, 8300).Draw(t, "size")) },
			"row": func(t *rapid.T) {
				for range rapid.IntRange(2, 200).Draw(t, "n") {
					p.push(rapid.IntRange(0, 100).Draw(t, "size"))
				}
				p.push(shareMost) // it joins no other
			},
			"arrive": func(t *rapid.T) { p.arrive() },
			"many": func(t *rapid.T) {
				for range 20 {
					p.arrive()
					p.hear()
				}
			},
			"hear": func(t *rapid.T) { p.hear() },
			"hurry": func(t *rapid.T) {
				if p.s.held() > 0 {
					p.put(written(p.s.hurry))
				}
			},
			"take":  func(t *rapid.T) { p.take(rapid.IntRange(1, 50).Draw(t, "n")) },
			"pass":  func(t *rapid.T) { p.pass(time.Duration(rapid.IntRange(1, 3000).Draw(t, "ms")) * time.Millisecond) },
			"pause": func(t *rapid.T) { p.in.pause() },
			"resume": func(t *rapid.T) {
				p.in.resume()
				p.answers(false)
			},
			"lose frame": func(t *rapid.T) {
				if len(p.there) > 0 {
					p.bytes -= len(p.there[0])
					p.there = p.there[1:]
				}
			},
			"lose answer": func(t *rapid.T) {
				if len(p.back) > 0 {
					p.back = p.back[1:]
				}
			},
			"repeat answer": func(t *rapid.T) {
				if len(p.back) > 0 {
					p.back = append(p.back, p.back[0])
				}
			},
			"relink": func(t *rapid.T) { p.relink() },
			"absent": func(t *rapid.T) { p.s.setAbsent(p.now) },
			"":       func(t *rapid.T) { p.check() },
		})
		p.in.resume()
		p.drain(t)
	})
}

// drain ends all faults; then everything must arrive, and something again and again.
func (p *pipe) drain(t *rapid.T) {
	p.s.maxCut = max(p.s.maxCut, 700) // hundreds of thousands of frames of a byte would only take long
	for rounds, last := 0, p.s.ack.seq; p.s.held() > 0 || p.in.inbox.len() > 0; rounds++ {
		if p.s.ack.seq != last {
			rounds, last = 0, p.s.ack.seq
		}
		if rounds > 500 {
			t.Fatalf("stuck: %d held, next %+v ack %+v cut %d granted %v window %d, absent %v hold %v probe at %v now %v; inbox %d used %d promised %d",
				p.s.held(), p.s.next, p.s.ack, p.s.cut, p.s.granted, p.s.window, p.s.absent, p.s.holdUntil, p.s.probeAt, p.now, p.in.inbox.len(), p.in.used, p.in.promised)
		}
		for len(p.there) > 0 {
			p.arrive()
		}
		p.take(1 << 20)
		for len(p.back) > 0 {
			p.hear()
		}
		if len(p.there) == 0 && len(p.back) == 0 {
			p.pass(max(time.Millisecond, min(p.s.deadline(), p.in.ackAt)-p.now))
		}
		p.check()
	}
	for p.lost[p.want] {
		p.want++
	}
	if p.want != p.next {
		t.Fatalf("%d of %d messages arrived", p.want, p.next)
	}
}

// TestStreamExpiry: with a short retention some are given up; arrived and given up together are everything, and the rest
// stays in order.
func TestStreamExpiry(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := newPipe(t, 1<<20, 1<<20)
		p.s.retention = 2 * time.Second
		arrived := map[uint64]bool{}
		given := 0
		last := int64(-1)
		take := func() {
			for {
				m, ok := takeOne(p.in)
				if !ok {
					break
				}
				n := binary.BigEndian.Uint64(m.data)
				if arrived[n] || int64(n) <= last {
					t.Fatalf("message %d arrived after %d", n, last)
				}
				arrived[n], last = true, int64(n)
			}
			p.answers(false)
			for _, g := range p.s.given {
				given += g.count
			}
			p.s.given = nil
		}
		t.Repeat(map[string]func(*rapid.T){
			"send": func(t *rapid.T) { p.push(rapid.SampledFrom([]int{0, 100, 40000}).Draw(t, "size")) },
			"run": func(t *rapid.T) {
				for range 10 {
					p.arrive()
					p.hear()
				}
			},
			"relink": func(t *rapid.T) { p.relink() },
			"pass":   func(t *rapid.T) { p.pass(time.Duration(rapid.IntRange(1, 2500).Draw(t, "ms")) * time.Millisecond) },
			"take":   func(t *rapid.T) { take() },
		})
		for p.s.held() > 0 {
			p.arrive()
			p.hear()
			take()
			if len(p.there)+len(p.back) == 0 {
				p.pass(time.Second)
			}
		}
		take()
		// What was given up may have arrived all the same (its outcome is unknown); nothing may be neither.
		if len(arrived)+given < int(p.next) {
			t.Fatalf("%d sent, %d arrived, %d given up", p.next, len(arrived), given)
		}
	})
}

// FuzzIntake feeds whatever a hostile node could send: no panic, nothing unbounded, the books stay right.
func FuzzIntake(f *testing.F) {
	f.Add([]byte{0, 1, 1, 0x60}, []byte{0x18, 2, 0, 0x64})
	f.Add([]byte{1, 3, 9, 0xf6}, []byte{0x38, 7, 5, 'b', 'o', 't', 'h'})
	f.Add([]byte{0x41, 1, 1, 0, 1, 0x60, 0, 2, 0x61, 'a'}, []byte{0x50, 2, 0, 0, 9, 1, 2, 3, 4, 5, 6, 7, 8, 0x60})
	f.Fuzz(func(t *testing.T, a, b []byte) {
		in := newIntake("b", codec.MaxFrame, 64<<10, unpackPlain)
		now := time.Duration(0)
		for round := range 50 {
			for _, x := range [][]byte{a, b} {
				if len(x) < 3 {
					continue
				}
				fr := codec.Frame{
					Kind: codec.KindData, Flags: codec.Flags(x[0]), Packing: 0, To: "b", From: string(rune('c' + x[1]%3)),
					Stream: uint32(x[1] >> 6), Seq: uint32(x[2]) + uint32(round*int(x[1]&1)), Payload: x[3:],
				}
				if len(fr.Payload) > codec.MaxPayload {
					fr.Payload = fr.Payload[:codec.MaxPayload]
				}
				in.data(now, time.Time{}, fr.Append(nil), nil)
			}
			now += time.Duration(round) * time.Millisecond * 37
			in.answers(now, nil, round%3 == 0)
			if in.used < 0 || in.granted < 0 || in.used > in.limit+64<<10+3*codec.MaxFrame {
				t.Fatalf("used %d granted %d", in.used, in.granted)
			}
			if round%7 == 0 {
				in.get(2)
			}
			for _, r := range in.requests {
				in.took(&r.parcel)
			}
			in.requests, in.replies = nil, nil
		}
	})
}
