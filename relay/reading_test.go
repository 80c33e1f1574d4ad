package relay

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"ultrasockets/codec"
)

// waker is a Handler that wakes who waits for the frame of its number.
type waker struct {
	link   *Link
	t0     time.Time
	woken  int
	others int

	slept    atomic.Int64 // how long the machine slept
	panicsAt uint32       // frame of that number; 0: none
	closesAt uint32       // the link, likewise
	ends     atomic.Int32 // of batches

	mu      sync.Mutex
	waits   map[uint32]chan struct{}
	closes  bool // … by closing the channel
	handled []handled
}

// handled is what became of one frame.
type handled struct {
	seq   uint32
	guest bool // a guest has read it
	at    time.Duration
}

func (w *waker) HandleFrame(f codec.Raw, _ *Memory) {
	if w.panicsAt > 0 && f.Seq() == w.panicsAt {
		panic("as it is meant to")
	}
	if w.closesAt > 0 && f.Seq() == w.closesAt {
		w.link.Close()
	}
	guest := w.isIn()
	w.mu.Lock()
	w.handled = append(w.handled, handled{f.Seq(), guest, time.Since(w.t0)})
	w.mu.Unlock()
	if w.tell(f.Seq()) {
		w.woken++
	}
	if f.Seq() >= forOthers {
		w.others++
	}
}

// isIn tells whether a guest reads.
func (w *waker) isIn() bool {
	w.link.reading.mu.Lock()
	defer w.link.reading.mu.Unlock()
	return w.link.reading.isIn
}

// forOthers is the number from which on frames are work for others.
const forOthers = 1 << 31

func (w *waker) HandleBatchEnd() (woken, others int) {
	w.ends.Add(1)
	woken, w.woken = w.woken, 0
	others, w.others = w.others, 0
	return woken, others
}

func (w *waker) HandleWritable() {}

// expect gives the channel that the frame of that number makes tell.
func (w *waker) expect(seq uint32) chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	c := make(chan struct{}, 1)
	w.waits[seq] = c
	return c
}

// tell wakes who waits for that number. False: nobody does.
func (w *waker) tell(seq uint32) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	c := w.waits[seq]
	delete(w.waits, seq)
	switch {
	case c == nil:
		return false
	case w.closes:
		close(c)
	default:
		c <- struct{}{}
	}
	return true
}

func (w *waker) seen() []handled {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]handled(nil), w.handled...)
}

// frame is one of that number.
func numbered(seq uint32, size int) []byte {
	f := codec.Frame{Kind: codec.KindData, To: "a", From: "b", Stream: 1, Seq: seq, Payload: make([]byte, size)}
	return f.Append(nil)
}

// linkToRead is a link that runs, with a waker, in a bubble of fake time. theirs is the relay's end, whose pings are answered.
func linkToRead(t *testing.T) (w *waker, theirs net.Conn, ended chan error) {
	ours, theirs := net.Pipe()
	w = &waker{t0: time.Now(), waits: make(map[uint32]chan struct{})}
	cfg := &DialConfig{Hello: hello("a"), Clock: func() time.Duration { return time.Since(w.t0) + time.Duration(w.slept.Load()) }}
	w.link = newLink(ours, inbuf{}, codec.Welcome{Heartbeat: time.Hour, Relay: "r", Mesh: "m"}, cfg)
	go func() {
		var b [1024]byte
		for {
			if _, err := theirs.Read(b[:]); err != nil {
				return
			}
		}
	}()
	ended = make(chan error, 1)
	go func() { ended <- w.link.Run(w) }()
	t.Cleanup(func() {
		theirs.Close()
		w.link.Close()
	})
	return w, theirs, ended
}

// send writes what the relay sends.
func send(t *testing.T, theirs net.Conn, frame []byte) {
	t.Helper()
	_ = theirs.SetWriteDeadline(time.Now().Add(time.Minute))
	if _, err := theirs.Write(frame); err != nil {
		t.Fatal(err)
	}
}

// round waits for one frame that comes a moment later, and then takes busy for what it is about.
func (w *waker) round(t *testing.T, theirs net.Conn, seq uint32, size int, busy time.Duration) {
	t.Helper()
	c := w.expect(seq)
	go func() {
		time.Sleep(20 * time.Microsecond)
		send(t, theirs, numbered(seq, size))
	}()
	if err := w.link.Await(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	time.Sleep(busy)
}

// guests counts the frames that guests have read.
func (w *waker) guests() (n int) {
	for _, h := range w.seen() {
		if h.guest {
			n++
		}
	}
	return n
}

// promptly sends a frame, and fails if nobody, or a guest, has handled it within two ticks.
func (w *waker) promptly(t *testing.T, theirs net.Conn, seq uint32) (late time.Duration) {
	t.Helper()
	sent := time.Since(w.t0)
	send(t, theirs, numbered(seq, 100))
	synctest.Wait()
	seen := w.seen()
	h := seen[len(seen)-1]
	if h.seq != seq || h.guest || h.at-sent > 2*standTime {
		t.Fatalf("frame %d: %+v, %v after it was sent", seq, h, h.at-sent)
	}
	return h.at - sent
}

// TestGuestReads: whoever comes back quickly reads for itself; whoever takes its time does not. What nobody waits for is read
// within two ticks, at first and ever after.
func TestGuestReads(t *testing.T) {
	const rounds = 1000
	for _, c := range []struct {
		name   string
		size   int           // of each frame
		busy   time.Duration // after each
		guests int           // at most; who is quick, also at least
	}{
		{"quick", 100, 20 * time.Microsecond, rounds - 1}, // the first is read by Run
		{"quick, much", codec.MaxPayload, 20 * time.Microsecond, rounds - 1},
		{"slow", 100, 2 * quickTime, rounds / 20},
		{"very slow", 100, 10 * standTime, rounds / 20},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, theirs, _ := linkToRead(t)
				for seq := range uint32(rounds) {
					w.round(t, theirs, seq, c.size, c.busy)
				}
				if guests := w.guests(); guests > c.guests || c.busy < quickTime && guests < c.guests {
					t.Errorf("%d of %d frames were read by guests", guests, rounds)
				}
				if shy := w.link.reading.shy; c.busy > quickTime && shy < maxShy/4 {
					t.Errorf("it still stands by after %d times in vain", shy)
				}
				for seq := uint32(rounds); seq < rounds+200; seq++ {
					if seq%10 == 0 { // to somebody who never comes back
						w.expect(seq)
					}
					w.promptly(t, theirs, seq)
					time.Sleep(5 * time.Millisecond)
				}
			})
		})
	}
}

// TestBursts: after a quick exchange something comes for others. It is late at first, by a tick at most, and hardly ever later on.
func TestBursts(t *testing.T) {
	const bursts = 2000
	for _, n := range []int{1, 5, 10, 20} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, theirs, _ := linkToRead(t)
				late, worst, seq := 0, time.Duration(0), uint32(0)
				for i := range uint32(bursts) {
					for range n {
						w.round(t, theirs, seq, 10, 0)
						seq++
					}
					d := w.promptly(t, theirs, forOthers+i)
					if worst = max(worst, d); d > 0 {
						late++
					}
					time.Sleep(5 * time.Millisecond)
				}
				t.Logf("%d of %d late, by %v at most; %d of %d others were read by guests", late, bursts, worst, w.guests(), seq)
				if late > bursts/20 || worst > standTime+quickTime {
					t.Errorf("%d of %d late, by %v at most", late, bursts, worst)
				}
			})
		})
	}
}

// TestGuestIsTold: whoever reads for itself hears within two ticks what others do, and when its context ends; the link lives
// on; and whoever is only told by others does not wait like that again and again.
func TestGuestIsTold(t *testing.T) {
	for _, closes := range []bool{false, true} {
		for _, after := range []time.Duration{0, 300 * time.Microsecond, 5 * time.Millisecond, time.Minute} {
			for _, what := range []string{"told", "cancelled", "both"} {
				t.Run(fmt.Sprintf("%s after %v, closes %v", what, after, closes), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						w, theirs, _ := linkToRead(t)
						w.closes = closes
						once := func(seq uint32) (took time.Duration) {
							t.Helper()
							ctx, cancel := context.WithCancel(t.Context())
							defer cancel()
							c := w.expect(seq)
							go func() {
								time.Sleep(after)
								if what != "cancelled" {
									w.tell(seq)
								}
								if what != "told" {
									cancel()
								}
							}()
							before := time.Now()
							err := w.link.Await(ctx, c)
							took = time.Since(before)
							if took < after || took > after+2*standTime {
								t.Fatalf("%d: %v after %v", seq, err, took)
							}
							if what == "told" && err != nil || what == "cancelled" && !errors.Is(err, context.Canceled) {
								t.Fatalf("%d: %v", seq, err)
							}
							if what == "both" && err != nil {
								synctest.Wait()
								<-c // it is not lost
							}
							return took
						}
						seq := uint32(0)
						for range 50 {
							for range goodStay + 2 {
								w.round(t, theirs, seq, 10, 0)
								seq++
							}
							once(seq)
							seq++
						}
						if n := w.guests(); n < 20*goodStay {
							t.Errorf("guests have read %d frames", n)
						}
						late := 0
						for range 1000 {
							if once(seq) > after {
								late++
							}
							seq++
						}
						if late > 1 {
							t.Errorf("%d times late of 1000", late)
						}
					})
				})
			}
		}
	}
}

// TestEndedContexts: who asks again and again with a context that has ended keeps nobody from reading.
func TestEndedContexts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, theirs, _ := linkToRead(t)
		w.round(t, theirs, 0, 10, 0)
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		stop := time.Now().Add(time.Second)
		var polling sync.WaitGroup
		polling.Go(func() {
			never := w.expect(forOthers - 1)
			for time.Now().Before(stop) {
				if err := w.link.Await(ended, never); err == nil {
					t.Error("told, by nobody")
				}
				time.Sleep(quickTime / 2)
			}
		})
		for seq := range uint32(100) {
			w.promptly(t, theirs, seq+1)
		}
		polling.Wait()
	})
}

// TestOthersWait: Run does not stand by for one of several; and when a guest goes and others wait, it reads at once.
func TestOthersWait(t *testing.T) {
	for _, c := range []struct {
		idle          int32
		woken, others int
		may           bool
	}{
		{1, 0, 0, false}, {0, 1, 0, true}, {1, 1, 0, true}, {2, 1, 0, false}, {0, 2, 0, false},
		{0, 0, 1, true}, {1, 0, 1, false}, {0, 1, 1, false}, {0, 0, 2, false},
	} {
		r := new(reading)
		r.idle.Store(c.idle)
		if r.mayStandBy(c.woken, c.others) != c.may {
			t.Errorf("%+v", c)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		w, theirs, _ := linkToRead(t)
		w.round(t, theirs, 0, 10, 0)
		one, two := w.expect(1), w.expect(2)
		told := make(chan time.Duration, 2)
		for _, c := range []chan struct{}{one, two} {
			go func() {
				if err := w.link.Await(t.Context(), c); err != nil {
					t.Error(err)
				}
				told <- time.Since(w.t0)
			}()
			synctest.Wait()
		}
		if !w.isIn() || w.link.reading.idle.Load() != 1 {
			t.Fatal("the second is a guest, too")
		}
		send(t, theirs, numbered(1, 10))
		synctest.Wait()
		sent := time.Since(w.t0)
		send(t, theirs, numbered(2, 10))
		<-told
		if at := <-told; at != sent {
			t.Errorf("the second was told %v after its frame came", at-sent)
		}
		if seen := w.seen(); !seen[1].guest || seen[2].guest {
			t.Errorf("%+v", seen)
		}
	})
}

// TestNothingComes: a guest that nothing comes for reads no more after two ticks.
func TestNothingComes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, theirs, _ := linkToRead(t)
		w.round(t, theirs, 0, 10, 0)
		told := make(chan error)
		go func() { told <- w.link.Await(t.Context(), w.expect(1)) }()
		synctest.Wait()
		if !w.isIn() {
			t.Fatal("there is no guest")
		}
		time.Sleep(2*standTime + quickTime)
		if w.isIn() || w.link.reading.idle.Load() != 1 {
			t.Error("the guest reads on")
		}
		w.promptly(t, theirs, 1)
		if err := <-told; err != nil {
			t.Error(err)
		}
	})
}

// TestHandlerPanics: a guest whose handler panics ends the batch, and the link lives on.
func TestHandlerPanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, theirs, _ := linkToRead(t)
		w.round(t, theirs, 0, 10, 0)
		synctest.Wait() // until Run stands by
		w.panicsAt = 1
		panicked := make(chan bool)
		go func() {
			defer func() { panicked <- recover() != nil }()
			_ = w.link.Await(t.Context(), w.expect(1))
		}()
		synctest.Wait()
		before := w.ends.Load()
		send(t, theirs, numbered(1, 10))
		if !<-panicked || w.ends.Load() != before+1 {
			t.Fatal("the guest has not panicked, or its batch has not ended")
		}
		w.panicsAt = 0
		send(t, theirs, numbered(2, 10))
		synctest.Wait()
		time.Sleep(5 * time.Millisecond)
		if seen := w.seen(); seen[len(seen)-1].seq != 2 {
			t.Errorf("%+v", seen)
		}
	})
}

// TestEndStandingBy: Run returns at once, and not with the next tick, when the link ends while it stands by, or before it does.
func TestEndStandingBy(t *testing.T) {
	for _, name := range []string{"while", "after a visit", "before"} {
		synctest.Test(t, func(t *testing.T) {
			w, theirs, ended := linkToRead(t)
			if name == "before" {
				w.closesAt = 1
			} else if name == "after a visit" {
				w.round(t, theirs, 0, 10, 0)
				synctest.Wait() // until Run stands by
			}
			w.round(t, theirs, 1, 10, 0)
			synctest.Wait()
			before := time.Now()
			if name != "before" {
				if !w.link.reading.offered.Load() {
					t.Fatal("it does not stand by")
				}
				w.link.Close()
			}
			if err := <-ended; err != ErrClosed || time.Since(before) > 0 {
				t.Errorf("%s: it ended after %v: %v", name, time.Since(before), err)
			}
		})
	}
}

// TestEndUnderGuest: a guest finds the end of the link; Run tells why, and the guest waits on.
func TestEndUnderGuest(t *testing.T) {
	for name, c := range map[string]struct {
		end  func(w *waker, theirs net.Conn)
		want error
	}{
		"closed":     {func(w *waker, _ net.Conn) { w.link.Close() }, ErrClosed},
		"broken off": {func(_ *waker, theirs net.Conn) { theirs.Close() }, nil},
		"rubbish": {func(_ *waker, theirs net.Conn) {
			_ = theirs.SetWriteDeadline(time.Time{})
			_, _ = theirs.Write(make([]byte, 64))
		}, ErrProtocol},
		"asleep": {func(w *waker, theirs net.Conn) {
			w.slept.Store(int64(10 * time.Hour))
			_ = theirs.SetWriteDeadline(time.Time{})
			_, _ = theirs.Write(numbered(2, 10))
		}, ErrStalled},
	} {
		for _, after := range []time.Duration{0, time.Minute} {
			t.Run(fmt.Sprint(name, " after ", after), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w, theirs, ended := linkToRead(t)
					w.round(t, theirs, 0, 10, 0)
					never := w.expect(1)
					ctx, cancel := context.WithCancel(t.Context())
					over := make(chan error, 1)
					go func() { over <- w.link.Await(ctx, never) }()
					time.Sleep(after)
					synctest.Wait()
					before := time.Now()
					c.end(w, theirs)
					err := <-ended
					if time.Since(before) > standTime || err == nil || c.want != nil && !errors.Is(err, c.want) {
						t.Errorf("%v after %v", err, time.Since(before))
					}
					synctest.Wait()
					select {
					case err := <-over:
						t.Errorf("Await: %v", err)
					default:
					}
					cancel()
					if err := <-over; !errors.Is(err, context.Canceled) {
						t.Errorf("Await: %v", err)
					}
					if err := w.link.Await(ctx, make(chan struct{})); !errors.Is(err, context.Canceled) {
						t.Errorf("Await after the end: %v", err)
					}
				})
			})
		}
	}
}

// TestGuestsTogether, in real time: many wait, give up, and are told by frames and by others; nobody is forgotten, and nothing is told twice.
func TestGuestsTogether(t *testing.T) {
	ours, theirs := net.Pipe()
	w := &waker{t0: time.Now(), waits: make(map[uint32]chan struct{})}
	w.link = newLink(ours, inbuf{}, codec.Welcome{Heartbeat: time.Hour, Relay: "r", Mesh: "m"}, &DialConfig{Hello: hello("a")})
	ended := make(chan error, 1)
	go func() { ended <- w.link.Run(w) }()
	pings := make(chan struct{})
	go func() {
		defer close(pings)
		var b [1024]byte
		for {
			if _, err := theirs.Read(b[:]); err != nil {
				return
			}
		}
	}()

	frames := make(chan uint32, 64)
	var relay, others, waiters sync.WaitGroup
	relay.Go(func() {
		for seq := range frames {
			if _, err := theirs.Write(numbered(seq, rand.IntN(100))); err != nil {
				t.Error(err)
			}
		}
	})
	const count, rounds = 4, 1500
	for i := range count {
		waiters.Go(func() {
			r := rand.New(rand.NewPCG(uint64(i), 1))
			for n := range rounds {
				seq := uint32(n*count + i)
				c := w.expect(seq)
				byFrame := r.IntN(8) > 0
				if byFrame {
					frames <- seq
				} else {
					others.Go(func() {
						time.Sleep(time.Duration(rand.IntN(3000)) * time.Microsecond)
						w.tell(seq)
					})
				}
				ctx, cancel := t.Context(), func() {}
				if r.IntN(4) == 0 {
					ctx, cancel = context.WithTimeout(ctx, time.Duration(r.IntN(3000))*time.Microsecond)
				}
				if w.link.Await(ctx, c) != nil {
					<-c // it gave up: the channel tells later
				}
				cancel()
				select {
				case <-c:
					t.Error("told twice")
				default:
				}
				if i > 0 || n > rounds/2 { // at first only one waits, most of the time
					time.Sleep(time.Duration(r.IntN(4)) * standTime)
				}
			}
		})
	}
	waiters.Wait()
	others.Wait()
	close(frames)
	relay.Wait()
	t.Logf("guests have read %d of %d frames", w.guests(), len(w.seen()))
	theirs.Close()
	<-ended
	<-pings
}
