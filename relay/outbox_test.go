package relay

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"ultrasockets/codec"
)

// TestIntegrity has two nodes flood a third that reads by fits and starts: what
// arrives is whole and in order, and exactly what the hub says it forwarded.
func TestIntegrity(t *testing.T) {
	for _, secret := range [][]byte{nil, make([]byte, 32)} {
		t.Run(fmt.Sprint("secret=", secret != nil), func(t *testing.T) {
			h, addr, _, _ := reignOn(t, HubConfig{Secret: secret, OutboxBytes: 256 << 10, Heartbeat: time.Minute})
			to := rawLink(t, addr, "to", secret)
			to.SetDeadline(time.Now().Add(2 * waitLimit))
			const frames = 3000
			var senders sync.WaitGroup
			for i, name := range []string{"a", "b"} {
				senders.Go(func() {
					hi := hello(name)
					hi.WantsRoster = false
					l, err := Dial(context.Background(), addr, DialConfig{Hello: hi, Secret: secret})
					if err != nil {
						t.Error(err)
						return
					}
					s := newSink()
					ran := make(chan struct{})
					go func() {
						defer close(ran)
						l.Run(&writableOnly{s})
					}()
					rnd := rand.New(rand.NewPCG(uint64(i), 1))
					for k := range frames {
						f := data(name, "to", 1, uint32(k), string(bytes.Repeat([]byte{byte(k)}, rnd.IntN(codec.MaxPayload))))
						for !l.Write(f, false) {
							wait(t, s.writable, "room")
						}
					}
					if err := l.Leave(context.Background()); err != nil {
						t.Error(err)
					}
					<-ran
				})
			}
			sent := make(chan struct{})
			go func() {
				senders.Wait()
				waitFor(t, h, "the senders' end", func() bool { return h.Links() == 1 })
				close(sent)
			}()
			got, next := uint64(0), map[string]uint32{}
			var in inbuf
			var opener codec.Opener
			for {
				select {
				case <-sent:
					if got == h.Stats().FramesOut {
						if d := h.Stats().Dropped; got+d.Busy != 2*frames {
							t.Fatalf("%d arrived, drops %+v", got, d)
						}
						return
					}
				default:
				}
				if got%512 == 0 {
					select { // now and then read nothing until the outbox has overflown
					case <-sent:
					case <-time.After(5 * time.Millisecond):
					}
				}
				to.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
				in.fill(to)
				for {
					f, rest, err := codec.Next(in.data())
					if err != nil {
						t.Fatal(err)
					}
					if f == nil {
						in.reserve(wholeFrame(in.data()))
						break
					}
					in.consume(len(in.data()) - len(rest))
					f = opener.Open(f)
					from := string(f.From())
					if !f.Valid() || f.Seq() < next[from] {
						t.Fatalf("from %s: seq %d after %d, valid %v", from, f.Seq(), next[from], f.Valid())
					}
					next[from] = f.Seq() + 1
					got++
				}
			}
		})
	}
}

// writableOnly passes only HandleWritable on.
type writableOnly struct{ *sink }

func (w *writableOnly) HandleFrame(codec.Raw, *Memory) {}
func (w *writableOnly) HandleBatchEnd() (int, int)     { return 0, 0 }

// TestWritable: after each refused Write comes a HandleWritable, also if the refusal was before Run.
func TestWritable(t *testing.T) {
	inBubble(t, HubConfig{Heartbeat: time.Hour}, func(s *star) {
		s.run(s.hub.Reign(Reign{}))
		l, err := Dial(context.Background(), "pipe", DialConfig{Hello: hello("a"), Dial: s.pipe.dial, Clock: s.now, OutboxBytes: minOutbox})
		if err != nil {
			t.Fatal(err)
		}
		block := data("a", "relay", 0, 0, string(make([]byte, 10<<10)))
		for l.Write(block, false) {
		}
		synctest.Wait() // everything is written, and nobody is told yet
		k := newSink()
		s.wg.Go(func() {
			k.err = l.Run(&writableOnly{k})
			close(k.done)
		})
		<-k.writable
		for range 50 {
			for l.Write(block, false) {
			}
			<-k.writable
		}
		if !l.Write(make([]byte, 0), true) {
			t.Fatal("control was refused")
		}
		l.Close()
		<-k.done
	})
}

// TestOutboxModel compares an outbox with a plain slice.
func TestOutboxModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		o := &outbox{limit: 100 << 10, reserve: 20 << 10, budget: &budget{max: 150 << 10}, clock: new(coarse), drain: func() {}}
		var want, got []byte
		held, n := 0, byte(0)
		t.Repeat(map[string]func(*rapid.T){
			"put": func(t *rapid.T) {
				n++
				b := bytes.Repeat([]byte{n}, rapid.IntRange(1, 40<<10).Draw(t, "size"))
				control := rapid.Bool().Draw(t, "control")
				limit := o.limit
				if control {
					limit += o.reserve
				}
				v, mark := o.put(b, nil, control)
				if ok := held == 0 || held+len(b) <= limit; (v == taken) != ok {
					t.Fatalf("%d bytes on %d, control %v: %v", len(b), held, control, v)
				}
				if v == taken {
					want = append(want, b...)
					held += len(b)
				}
				if mark {
					o.wake()
				}
			},
			"put frames": func(t *rapid.T) {
				var w Writing
				var whole []byte
				for range rapid.IntRange(1, 5).Draw(t, "frames") {
					n++
					m := NewMemory(rapid.IntRange(1, codec.MaxPayload).Draw(t, "size"))
					payload := bytes.Repeat([]byte{n}, cap(m.Bytes())/2)
					f := codec.Frame{Kind: codec.KindData, To: "b", Payload: append(m.Bytes(), payload...)}
					w.AppendHeld(&f, codec.PayloadSum(f.Payload), m)
					m.Release() // it is used again when the outbox has released it, and not before
					whole = f.Append(whole)
				}
				if piece, _ := w.InOnePiece(); !bytes.Equal(piece, whole) || w.Len() != len(whole) {
					t.Fatalf("%d bytes are %d, want %d", w.Len(), len(piece), len(whole))
				}
				if v := o.writeAll(&w, false); (v == taken) != (w.Len() == 0) {
					t.Fatal(v, w.Len())
				} else if v == taken {
					want = append(want, whole...)
					held += len(whole)
				}
				w.Reset()
			},
			"turn": func(t *rapid.T) {
				if o.state != busy {
					t.Skip()
				}
				if o.next() {
					for i := range o.turn {
						b := o.turn[i].bytes()
						got = append(got, b...)
						held -= len(b)
					}
					o.done()
				}
			},
			"": func(t *rapid.T) {
				if o.held != held || o.budget.used.Load() != int64(held) {
					t.Fatalf("holds %d, want %d", o.held, held)
				}
				if !bytes.HasPrefix(want, got) {
					t.Fatal("wrong bytes")
				}
				if o.state == idle && held > 0 {
					t.Fatal("idle, and something is held")
				}
			},
		})
		o.close()
		if o.held != 0 || o.budget.used.Load() != 0 {
			t.Fatalf("closed, and holds %d", o.held)
		}
		if v, _ := o.put([]byte{1}, nil, true); v != gone {
			t.Fatal(v)
		}
	})
}

func TestBudget(t *testing.T) {
	total := &budget{max: 100}
	box := func() *outbox {
		return &outbox{limit: 1000, reserve: 10, budget: total, clock: new(coarse), drain: func() {}}
	}
	x, y := box(), box()
	x.put(make([]byte, 60), nil, false)
	y.put(make([]byte, 30), nil, false)
	if v, _ := y.put(make([]byte, 20), nil, false); v != spent {
		t.Fatal(v)
	}
	if v, _ := y.put(make([]byte, 20), nil, true); v != taken {
		t.Fatal(v)
	}
	x.close()
	if v, _ := y.put(make([]byte, 20), nil, false); v != taken {
		t.Fatal(v)
	}
	y.close()
	if n := total.used.Load(); n != 0 {
		t.Fatal(n)
	}
}

func TestSeal(t *testing.T) {
	inBubble(t, HubConfig{}, func(s *star) {
		ours, theirs := net.Pipe()
		o := &outbox{limit: minOutbox, clock: new(coarse), conn: ours}
		o.drain = func() { go o.writer() }
		select {
		case <-o.finish(nil):
		default:
			t.Fatal("an idle outbox is not empty")
		}
		if v := o.write([]byte("x"), true); v != gone {
			t.Fatal(v)
		}
		o = &outbox{limit: minOutbox, clock: new(coarse), conn: ours}
		o.drain = func() { go o.writer() }
		o.write([]byte("one"), false)
		empty := o.finish([]byte("two"))
		synctest.Wait()
		select {
		case <-empty:
			t.Fatal("empty too soon")
		default:
		}
		b := make([]byte, 6)
		for n := 0; n < len(b); {
			m, _ := theirs.Read(b[n:])
			n += m
		}
		<-empty
		if string(b) != "onetwo" {
			t.Fatalf("%q", b)
		}
		ours.Close()
		theirs.Close()
	})
}

func TestRouteAllocates(t *testing.T) {
	for _, size := range payloadSizes {
		x := newRouterBench(size)
		x.turn()
		if n := testing.AllocsPerRun(50, x.turn); n > 0.5 {
			t.Errorf("%d B: %v allocations per read", size, n)
		}
	}
}

func TestInbuf(t *testing.T) {
	var b inbuf
	src := &scripted{in: bytes.Repeat([]byte("0123456789"), 100_000), step: 1 << 20}
	want := bytes.Clone(src.in)
	var got []byte
	for {
		n, err := b.fill(src)
		if err != nil {
			break
		}
		if n == 0 {
			t.Fatal("no room")
		}
		m := max(1, len(b.data())*2/3)
		got = append(got, b.data()[:m]...)
		b.consume(m)
	}
	got = append(got, b.data()...)
	if !bytes.Equal(got, want) {
		t.Fatal("bytes changed")
	}
	if len(b.buf) != inbufMax {
		t.Fatalf("%d bytes after a flood", len(b.buf))
	}
	b.consume(len(b.data()))
	now := time.Duration(0)
	for range 10 {
		now += shrinkAfter
		src.in = []byte("ping")
		b.fill(src)
		b.consume(4)
		b.rest(now)
	}
	if len(b.buf) != inbufMin {
		t.Fatalf("%d bytes at rest", len(b.buf))
	}
}

// TestClosedBeforeItWasWoken: who waits until an outbox is empty is told also if it was closed before anybody drained it.
func TestClosedBeforeItWasWoken(t *testing.T) {
	o := &outbox{limit: 1000, clock: new(coarse), drain: func() { t.Error("a closed outbox is drained") }}
	o.close()
	o.mu.Lock()
	o.state = marked // as the end of writeDirect does if something is due
	empty := o.emptied()
	o.mu.Unlock()
	o.wake()
	if !isClosed(empty) {
		t.Error("who waits for it waits for ever")
	}
}
