package relay

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"ultrasockets/codec"
)

func TestLimit(t *testing.T) {
	frame := func(k codec.Kind, size int) []byte {
		f := codec.Frame{Kind: k, To: "b", From: "a", Payload: make([]byte, size)}
		return f.Append(nil)
	}
	var all []byte
	for _, k := range []codec.Kind{codec.KindData, codec.KindAck, codec.KindPing, codec.KindData, codec.KindUnreachable, 0x80, codec.KindReset} {
		all = append(all, frame(k, 100)...)
	}
	messages, size := 3, float64(len(all))
	for name, c := range map[string]struct {
		rate Rate
		want time.Duration
	}{
		"messages":             {Rate{Messages: 2}, time.Second / 2 * time.Duration(messages-2)},
		"messages within":      {Rate{Messages: 3}, 0},
		"bytes":                {Rate{Bytes: 100}, time.Duration((size - 100) / 100 * float64(time.Second))},
		"bytes within":         {Rate{Bytes: len(all)}, 0},
		"the slower of both":   {Rate{Messages: 1, Bytes: len(all)}, 2 * time.Second},
		"the other is slower":  {Rate{Messages: 3, Bytes: len(all) / 2}, time.Second},
		"negative is no limit": {Rate{Messages: -1, Bytes: 1 << 30}, 0},
	} {
		if got := newLimit(c.rate, nil, 0).spend(all, 0); (got - c.want).Abs() > 10*time.Millisecond {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
	if newLimit(Rate{}, nil, 0) != nil {
		t.Error("a limit of nothing")
	}
}

// TestRate: a node that sends too fast is slowed down to its rate. Nothing of it is lost, its link lives, and others do not notice.
func TestRate(t *testing.T) {
	const frames, perSecond = 10_000, 500
	for name, rate := range map[string]Rate{
		"messages": {Messages: perSecond},
		"bytes":    {Bytes: perSecond * len(data("fast", "to", 1, 0, string(make([]byte, 100))))},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, HubConfig{Rate: rate}, func(s *star) {
				s.runIdle(s.hub.Reign(Reign{}))
				_, to := s.join("to", nil)
				cfg := DialConfig{Hello: hello("fast"), Dial: s.pipe.dial, Clock: s.now, OutboxBytes: 4 << 20}
				fast, err := Dial(context.Background(), "pipe", cfg)
				if err != nil {
					t.Fatal(err)
				}
				fastSink := s.run(fast)
				slow, _ := s.join("slow", nil)
				begun := time.Now()
				for i := range frames {
					if !fast.Write(data("fast", "to", 1, uint32(i), string(make([]byte, 100))), false) {
						t.Fatal("the outbox is full")
					}
				}
				synctest.Wait()
				slow.Write(data("slow", "to", 2, 0, "x"), false)
				next, other := uint32(0), time.Duration(-1)
				for next < frames {
					select {
					case f := <-to.frames:
						switch {
						case f.Kind == codec.KindData && f.From == "slow":
							other = time.Since(begun)
						case f.Kind == codec.KindData && f.Seq != next:
							t.Fatalf("%d after %d", f.Seq, next)
						case f.Kind == codec.KindData:
							next++
						}
					case <-fastSink.done:
						t.Fatalf("its link ended after %d frames and %v: %v", next, time.Since(begun), fastSink.err)
					}
				}
				took, st := time.Since(begun), s.hub.Stats()
				ideal := (frames - perSecond) / perSecond * time.Second
				if took < ideal*9/10 || took > ideal*11/10 || other != 0 || st.Dropped != (Drops{}) || st.Slowed == 0 {
					t.Fatalf("%v for %d frames, ideal %v; the other's frame after %v; %+v", took, frames, ideal, other, st)
				}
				t.Logf("%d frames in %v at %d a second, in %d pauses", frames, took, perSecond, st.Slowed)
			})
		})
	}
}

// TestRateEnds: a link whose reader pauses ends at once when it is to.
func TestRateEnds(t *testing.T) {
	for name, end := range map[string]func(s *star, l *Link){
		"the hub closes":   func(s *star, _ *Link) { s.hub.Close() },
		"it is replaced":   func(s *star, _ *Link) { s.view("a", nil) },
		"the hub shuts":    func(s *star, _ *Link) { s.hub.Shutdown(ended(), "", nil) },
		"the reign is too": func(s *star, _ *Link) { s.hub.Resign(ended(), "", nil) },
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, HubConfig{Rate: Rate{Messages: 1}}, func(s *star) {
				s.runIdle(s.hub.Reign(Reign{}))
				l, sink := s.join("a", nil)
				for i := range 1000 {
					l.Write(data("a", "relay", 1, uint32(i), "x"), false)
				}
				synctest.Wait()
				begun := time.Now()
				end(s, l)
				<-sink.done
				if d := time.Since(begun); d > 0 || s.hub.Stats().Slowed == 0 {
					t.Fatalf("after %v (%v)", d, sink.err)
				}
			})
		})
	}
}

func ended() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

// TestSlowIsNotDead: a write of 256 KiB to a node that takes a few kilobytes a second gets on, so its link lives; when nothing is taken
// any more it dies after three heartbeats.
func TestSlowIsNotDead(t *testing.T) {
	for _, secret := range [][]byte{nil, make([]byte, 32)} {
		t.Run(fmt.Sprint("secret=", secret != nil), func(t *testing.T) {
			inBubble(t, HubConfig{Secret: secret}, func(s *star) {
				a := s.hub.Reign(Reign{})
				own := s.run(a)
				hi := hello("a")
				hi.WantsRoster = false
				l, err := Dial(context.Background(), "pipe", DialConfig{Hello: hi, Secret: secret, Dial: s.pipe.dial, Clock: s.now})
				if err != nil {
					t.Fatal(err)
				}
				wantChange(t, own, codec.Joined, 0, "a")
				payload := make([]byte, 4<<10)
				sent := 0
				for ; sent < 64; sent++ {
					a.Write(data("relay", "a", 1, uint32(sent), string(payload)), false)
				}
				begun := time.Now()
				raw := rawConn(l.conn)
				buf := make([]byte, 4<<10)
				for got := 0; got < sent/2*len(payload); {
					n, err := raw.Read(buf)
					if err != nil {
						t.Fatalf("after %v: %v", time.Since(begun), err)
					}
					got += n
					time.Sleep(400 * time.Millisecond)
					if secret == nil { // it has pings to send, too
						raw.Write(pingFrame(nil))
					} else if _, err := l.conn.Write(pingFrame(nil)); err != nil {
						t.Fatal(err)
					}
				}
				slow := time.Since(begun)
				begun = time.Now()
				stop := make(chan struct{})
				s.wg.Go(func() {
					for {
						select {
						case <-stop:
							return
						case <-time.After(time.Second):
							l.conn.Write(pingFrame(nil))
						}
					}
				})
				if e := wantChange(t, own, codec.Left, codec.LeftLost, "a"); e.Name != "a" {
					t.Fatal(e)
				}
				if d := time.Since(begun); slow < 10*time.Second || d < 2*time.Second || d > 5*time.Second {
					t.Fatalf("slow for %v, dead after %v", slow, d)
				}
				close(stop)
				l.Close()
			})
		})
	}
}

// TestNudge asks a write that is under way how far it is: what is written arrives whole and once, however often it is asked.
func TestNudge(t *testing.T) {
	for _, secret := range [][]byte{nil, make([]byte, 32)} {
		t.Run(fmt.Sprint("secret=", secret != nil), func(t *testing.T) {
			inBubble(t, HubConfig{Secret: secret, Heartbeat: time.Hour}, func(s *star) {
				a := s.hub.Reign(Reign{})
				s.runIdle(a)
				l, err := Dial(context.Background(), "pipe", DialConfig{Hello: hello("a"), Secret: secret, Dial: s.pipe.dial, Clock: s.now})
				if err != nil {
					t.Fatal(err)
				}
				const frames = 200
				for i := range frames {
					a.Write(data("relay", "a", 1, uint32(i), fmt.Sprint(i, string(make([]byte, 3000)))), false)
				}
				s.hub.mu.Lock()
				p := s.hub.names["a"]
				s.hub.mu.Unlock()
				k := newSink()
				done := make(chan struct{})
				s.wg.Go(func() {
					for i := 0; i < 1000; i++ {
						p.out.stuck(s.now(), 0)
						time.Sleep(time.Microsecond)
					}
					close(done)
				})
				s.wg.Go(func() { k.err = l.Run(k); close(k.done) })
				for i := range uint32(frames) {
					if f := k.next(t, codec.KindData); f.Seq != i || string(f.Payload[:len(fmt.Sprint(i))]) != fmt.Sprint(i) {
						t.Fatalf("%d: %d", i, f.Seq)
					}
				}
				<-done
				l.Close()
				<-k.done
				if !errors.Is(k.err, ErrClosed) {
					t.Fatal(k.err)
				}
			})
		})
	}
}
