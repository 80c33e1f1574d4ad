package relay

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"ultrasockets/codec"
)

// Attacks on a hub over real sockets on loopback, which is the worst place to be attacked from: no address is limited there.
// What is asserted is counts and memory. Latencies are printed, for they say as much about the machine as about the hub.

// long makes the attacks as large as the security page says they were tried; .ci/long sets it.
var long = flag.Bool("long", false, "attack at full size")

// pick gives the short or the full size of an attack.
func pick[T any](short, full T) T {
	if *long {
		return full
	}
	return short
}

// pair is two honest nodes: one asks, the other answers, at a pace that leaves the relay idle.
type pair struct {
	t       *testing.T
	x, y    net.Conn
	ask     []byte
	answer  []byte
	echoing sync.WaitGroup
}

const pace = 2 * time.Millisecond

func newPair(t *testing.T, addr string, secret []byte) *pair {
	p := &pair{t: t, x: rawLink(t, addr, "honest1", secret), y: rawLink(t, addr, "honest2", secret)}
	p.ask, p.answer = data("honest1", "honest2", 1, 1, "ask"), data("honest2", "honest1", 1, 1, "answer")
	p.echoing.Go(func() {
		buf := make([]byte, len(p.ask))
		for {
			if _, err := io.ReadFull(p.y, buf); err != nil {
				return
			}
			if _, err := p.y.Write(p.answer); err != nil {
				return
			}
		}
	})
	t.Cleanup(p.close)
	return p
}

func (p *pair) close() {
	p.x.Close()
	p.y.Close()
	p.echoing.Wait()
}

// talk asks at the pace until done is closed, and returns how long each answer took, the shortest first.
func (p *pair) talk(done <-chan struct{}) []time.Duration {
	var took []time.Duration
	tick := time.NewTicker(pace)
	defer tick.Stop()
	buf := make([]byte, len(p.answer))
	for {
		select {
		case <-done:
			slices.Sort(took)
			return took
		case <-tick.C:
		}
		begun := time.Now()
		if _, err := p.x.Write(p.ask); err != nil {
			p.t.Error("the honest pair:", err)
			return nil
		}
		p.x.SetReadDeadline(time.Now().Add(waitLimit))
		if _, err := io.ReadFull(p.x, buf); err != nil {
			p.t.Error("the honest pair:", err)
			return nil
		}
		took = append(took, time.Since(begun))
	}
}

func at(sorted []time.Duration, percent int) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[(len(sorted)-1)*percent/100]
}

// beside lets an honest pair talk while it is quiet, and then while f runs. Every question must be answered.
func beside(t *testing.T, addr string, secret []byte, f func()) (quiet, during []time.Duration) {
	t.Helper()
	p := newPair(t, addr, secret)
	calm := make(chan struct{})
	time.AfterFunc(pick(250*time.Millisecond, 3*time.Second), func() { close(calm) })
	quiet = p.talk(calm)
	done := make(chan struct{})
	var attack sync.WaitGroup
	attack.Go(func() {
		defer close(done)
		f()
	})
	begun := time.Now()
	during = p.talk(done)
	attack.Wait()
	p.close()
	t.Logf("an honest pair: quiet p50 %v p99 %v (%d); meanwhile p50 %v p99 %v (%d in %v, %.0f %% of the pace)",
		at(quiet, 50), at(quiet, 99), len(quiet), at(during, 50), at(during, 99), len(during), time.Since(begun).Round(time.Millisecond),
		100*float64(len(during))*float64(pace)/float64(time.Since(begun)))
	return quiet, during
}

// heap is the memory in use after a collection.
func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapInuse + m.StackInuse)
}

// TestFlood: one member sends as fast as it can.
func TestFlood(t *testing.T) {
	for _, name := range []string{"to one that reads", "with a limit", "to one that does not read", "to nobody", "to everybody", "pings", "updates"} {
		t.Run(name, func(t *testing.T) {
			cfg := HubConfig{Heartbeat: time.Minute} // nobody here pings
			if name == "with a limit" {
				cfg.Rate = Rate{Bytes: 2 << 20}
			}
			h, addr := hubOn(t, cfg)
			runIdle(t, h.Reign(Reign{}))
			flood := rawLink(t, addr, "flood", nil)
			before := h.Stats()
			var unit []byte
			var readers sync.WaitGroup
			drain := func(c net.Conn) { readers.Go(func() { io.Copy(io.Discard, c) }) }
			drain(flood)
			switch name {
			case "to one that reads", "with a limit":
				c := rawLink(t, addr, "reader", nil)
				drain(c)
				unit = data("flood", "reader", 1, 1, string(make([]byte, 128)))
			case "to one that does not read":
				rawLink(t, addr, "deaf", nil)
				unit = data("flood", "deaf", 1, 1, string(make([]byte, 128)))
			case "to nobody":
				unit = data("flood", "nobody", 1, 1, string(make([]byte, 128)))
			case "to everybody":
				for i := range 10 {
					drain(rawLink(t, addr, fmt.Sprint("reader", i), nil))
				}
				f := codec.Frame{Kind: codec.KindData, Flags: codec.FlagGroup, To: "nogroup", From: "flood", Payload: make([]byte, 128)}
				unit = f.Append(nil)
			case "pings":
				unit = pingFrame(make([]byte, 64))
			case "updates":
				for i := range 10 {
					l, err := Dial(context.Background(), addr, DialConfig{Hello: hello(fmt.Sprint("viewer", i))})
					if err != nil {
						t.Fatal(err)
					}
					runIdle(t, l)
				}
				u := codec.Update{Changes: []codec.Change{{Op: codec.Changed, Entry: codec.Entry{Tags: map[string]string{"a": "b"}}}}}
				f := codec.Frame{Kind: codec.KindUpdate, Payload: u.Append(nil)}
				unit = f.Append(nil)
			}
			var block []byte
			for len(block) < 60<<10 {
				block = append(block, unit...)
			}
			beside(t, addr, nil, func() {
				until := time.Now().Add(pick(500*time.Millisecond, 5*time.Second))
				flood.SetWriteDeadline(until) // a flood that is slowed down waits
				for time.Now().Before(until) {
					if _, err := flood.Write(block); err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
						t.Error(err)
						return
					}
				}
			})
			s := h.Stats()
			t.Logf("%.2f million frames of the flood came in, %.2f million went out, %d pauses, dropped %+v",
				float64(s.FramesIn-before.FramesIn)/1e6, float64(s.FramesOut-before.FramesOut)/1e6, s.Slowed, s.Dropped)
			if s.FramesIn == before.FramesIn || (s.Slowed > 0) != (name == "with a limit" || name == "updates") {
				t.Errorf("%+v", s)
			}
			flood.Close()
			h.Close()
			readers.Wait()
		})
	}
}

// lines is a logger's handler that counts, and takes everything.
type lines struct{ n atomic.Int64 }

func (l *lines) Enabled(context.Context, slog.Level) bool      { return true }
func (l *lines) WithAttrs([]slog.Attr) slog.Handler            { return l }
func (l *lines) WithGroup(string) slog.Handler                 { return l }
func (l *lines) Handle(_ context.Context, r slog.Record) error { l.n.Add(1); return nil }

// siege is a hub that is attacked, with what it cost.
type siege struct {
	t          *testing.T
	hub        *Hub
	addr       string
	log        lines
	begun      time.Time
	heap       int64
	goroutines int
	most       atomic.Int64 // goroutines
}

// besiege starts a hub with an own node and a first link, and takes the measures.
func besiege(t *testing.T, secret []byte) *siege {
	s := &siege{t: t}
	s.hub, s.addr = hubOn(t, HubConfig{Secret: secret, Logger: slog.New(&s.log), Heartbeat: time.Minute})
	runIdle(t, s.hub.Reign(Reign{}))
	s.heap, s.goroutines, s.begun = heap(), runtime.NumGoroutine(), time.Now()
	return s
}

// count remembers the largest number of goroutines.
func (s *siege) count() {
	if n := int64(runtime.NumGoroutine()); n > s.most.Load() {
		s.most.Store(n)
	}
}

// lifted checks what is left a moment after the attack: of goroutines nothing, of memory little, of the log ten lines a second.
func (s *siege) lifted() Stats {
	s.t.Helper()
	took := time.Since(s.begun)
	lines := s.log.n.Load()
	if most := int64(maxLogLines * (took/time.Second + 2)); lines > most {
		s.t.Errorf("%d lines in the log within %v", lines, took)
	}
	left := 0
	waitFor(s.t, s.hub, "the end of the handshakes", func() bool {
		left = runtime.NumGoroutine() - s.goroutines
		return s.hub.Stats().Pending == 0 && left <= 0
	})
	ended := time.Since(s.begun) - took
	grown := heap() - s.heap
	if grown > 16<<20 {
		s.t.Errorf("%d KiB more memory", grown>>10)
	}
	s.t.Logf("it lasted %v; at most %d goroutines, after %v none left; %d KiB more memory; %d log lines",
		took.Round(time.Millisecond), s.most.Load()-int64(s.goroutines), ended.Round(time.Millisecond), grown>>10, lines)
	return s.hub.Stats()
}

// crowd lets a few workers do f n times in all: at full speed, or at full size a thousand times a second, for the attackers have
// the same processor as the attacked.
func crowd(workers, n int, f func(i int)) {
	turns := make(chan int)
	var all sync.WaitGroup
	for range workers {
		all.Go(func() {
			for i := range turns {
				f(i)
			}
		})
	}
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for i := range n {
		if *long && i%10 == 0 {
			<-tick.C
		}
		turns <- i
	}
	close(turns)
	all.Wait()
}

// TestWrongSecrets: who guesses gets nowhere, and costs little.
func TestWrongSecrets(t *testing.T) {
	secret := secretOf(7)
	s := besiege(t, secret)
	n := pick(500, 10_000)
	beside(t, s.addr, secret, func() {
		crowd(8, n, func(i int) {
			guess := secretOf(byte(i))
			guess[31]++
			if err := tryDial(t, s.addr, DialConfig{Hello: hello("guest"), Secret: guess}); !errors.Is(err, ErrWrongSecret) {
				t.Error(err)
			}
			s.count()
		})
	})
	s.hub.log.Info("the end")
	st := s.lifted()
	if st.Admitted != 2 || st.TurnedAway.BadSecret != uint64(n) {
		t.Errorf("%+v", st)
	}
}

// rubbish is what comes to a port on a LAN that is not meant for it.
func rubbish(i int, rnd *rand.Rand) []byte {
	random := make([]byte, 1+rnd.IntN(300))
	for k := range random {
		random[k] = byte(rnd.Uint32())
	}
	hi := hello("guest")
	good := codec.Frame{Kind: codec.KindHello, Payload: hi.Append(nil)}
	switch i % 8 {
	case 0:
		return []byte("GET /admin HTTP/1.1\r\nHost: relay\r\nUser-Agent: scanner\r\n\r\n")
	case 1: // a TLS 1.3 ClientHello, as far as anybody reads it
		return append([]byte{0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3}, random...)
	case 2:
		return random
	case 3:
		return append([]byte("ULTR"), random...)
	case 4: // the secure channel, with no secret behind it
		return append(append(preamble(1, codec.ModeSecret), 0, noiseHello), random...)
	case 5:
		return append(preamble(1, codec.ModeOpen), random...)
	case 6: // a Hello with a hole in it
		whole := good.Append(preamble(1, codec.ModeOpen))
		whole[codec.PreambleSize+rnd.IntN(len(whole)-codec.PreambleSize)] ^= 1 << rnd.IntN(8)
		return whole
	}
	return good.Append(preamble(1, codec.ModeOpen))[:rnd.IntN(60)] // and then nothing more
}

func TestRubbish(t *testing.T) {
	for _, secret := range [][]byte{nil, secretOf(7)} {
		t.Run(fmt.Sprint("secret=", secret != nil), func(t *testing.T) {
			s := besiege(t, secret)
			n := pick(800, 10_000)
			beside(t, s.addr, secret, func() {
				crowd(8, n, func(i int) {
					rnd := rand.New(rand.NewPCG(uint64(i), 1))
					c, err := net.Dial("tcp", s.addr)
					if err != nil {
						t.Error(err)
						return
					}
					defer c.Close()
					c.Write(rubbish(i, rnd))
					s.count()
					if i%8 != 7 && i%16 < 8 { // half of them listen for the answer
						c.SetReadDeadline(time.Now().Add(time.Second))
						io.Copy(io.Discard, c)
					}
				})
			})
			st := s.lifted()
			if st.Admitted-2 > uint64(n/8) { // of the holes, those that hit what nobody looks at
				t.Errorf("%+v", st)
			}
			if secret != nil && st.Admitted != 2 {
				t.Errorf("%+v", st)
			}
			t.Logf("turned away %+v, refused %v", st.TurnedAway, st.Refused)
		})
	}
}

// TestSlowloris: connections that say a byte a second, and come again when they are closed, do not keep an honest node out. (From
// loopback only a whole preamble helps against those that say a preamble and then nothing; see TestPerAddress for the others.)
func TestSlowloris(t *testing.T) {
	for _, secret := range [][]byte{nil, secretOf(7)} {
		t.Run(fmt.Sprint("secret=", secret != nil), func(t *testing.T) {
			s := besiege(t, secret)
			n := pick(300, 2000)
			hi := hello("guest")
			mode := codec.ModeOpen
			if secret != nil {
				mode = codec.ModeSecret
			}
			f := codec.Frame{Kind: codec.KindHello, Payload: hi.Append(nil)}
			words := f.Append(preamble(1, mode))
			stop := make(chan struct{})
			var slow sync.WaitGroup
			var dials atomic.Int64
			for i := range n {
				slow.Go(func() {
					at := i % codec.PreambleSize // some are well on their way
					for !isClosed(stop) {
						c, err := net.Dial("tcp", s.addr)
						if err != nil {
							t.Error(err)
							return
						}
						dials.Add(1)
						for k := at; err == nil && !isClosed(stop); k++ {
							said := words[:k]
							if k > at {
								said = words[k-1 : k]
							}
							if _, err = c.Write(said); err != nil {
								break
							}
							c.SetReadDeadline(time.Now().Add(time.Second))
							if _, e := c.Read(make([]byte, 64)); e != nil && !errors.Is(e, errTimeout) {
								err = e
							}
							s.count()
						}
						c.Close()
					}
				})
			}
			waitFor(t, s.hub, "all places to be taken", func() bool { return s.hub.Stats().Pending >= maxPlaces && dials.Load() >= int64(n) })
			for i := range 5 {
				begun := time.Now()
				l, err := Dial(context.Background(), s.addr, DialConfig{Hello: hello(fmt.Sprint("honest", i)), Secret: secret})
				took := time.Since(begun)
				if err != nil {
					t.Fatal("after", took, err)
				}
				t.Logf("joined within %v, among %d connections so far", took.Round(time.Microsecond), dials.Load())
				if *long && took > 2*time.Second {
					t.Error("that was too long")
				}
				l.Close()
			}
			close(stop)
			slow.Wait()
			t.Logf("%+v", s.lifted().TurnedAway)
		})
	}
}

// TestFramesThatCannotBe: what no sender can mean ends the link before any room is made for it; what is merely at its limit passes.
func TestFramesThatCannotBe(t *testing.T) {
	h, addr, _, _ := reignOn(t, HubConfig{Heartbeat: time.Minute})
	_, to := join(t, addr, "to")
	header := func(length uint32, toLen, fromLen byte) []byte {
		b := binary.BigEndian.AppendUint32(nil, length)
		return append(b, byte(codec.KindData), 0, 0, toLen, fromLen, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0)
	}
	for name, frame := range map[string][]byte{
		"a length of 2^32-1":         header(1<<32-1, 2, 1),
		"a length of 2^31":           header(1<<31, 2, 1),
		"one byte too long":          header(codec.MaxFrame-4+1, 2, 1),
		"a length of 0":              header(0, 0, 0),
		"one byte too short":         header(codec.HeaderSize-4-1, 0, 0),
		"a name past the end":        header(30, 64, 1),
		"names past the end":         header(codec.HeaderSize-4+3, 2, 2),
		"a name that is too long":    header(1000, 65, 1),
		"a source that is too long":  header(1000, 2, 255),
		"a payload that is too long": header(codec.HeaderSize-4+3+codec.MaxPayload+1, 2, 1),
	} {
		t.Run(name, func(t *testing.T) {
			c := rawLink(t, addr, "a", nil)
			before := h.Stats().Protocol
			var m0, m1 runtime.MemStats
			runtime.ReadMemStats(&m0)
			if _, err := c.Write(frame); err != nil {
				t.Fatal(err)
			}
			c.SetReadDeadline(time.Now().Add(waitLimit))
			said, err := io.ReadAll(c)
			runtime.ReadMemStats(&m1)
			f, _, _ := codec.Next(said)
			if err != nil || f == nil || f.Kind() != codec.KindBye || h.Stats().Protocol != before+1 {
				t.Fatalf("%x %v", said, err)
			}
			if n := m1.TotalAlloc - m0.TotalAlloc; n > 64<<10 {
				t.Errorf("%d KiB allocated", n>>10)
			} else {
				t.Logf("%d bytes allocated, by both ends", n)
			}
			waitFor(t, h, "the name to be free", func() bool { return h.Links() == 1 })
		})
	}
	c := rawLink(t, addr, "a", nil)
	last := codec.Frame{Kind: codec.KindData, Flags: 0xff &^ codec.FlagGroup, Packing: 0xff, To: "to", From: "a", Stream: 1<<32 - 1, Seq: 1<<32 - 1, Payload: make([]byte, codec.MaxPayload)}
	c.Write(last.Append(nil))
	if f := to.next(t, codec.KindData); f.Stream != last.Stream || f.Seq != last.Seq || len(f.Payload) != codec.MaxPayload || f.Flags != last.Flags {
		t.Fatalf("%+v", f)
	}
}

// TestImpostor: nobody speaks under another's name, nor gets it while its holder lives.
func TestImpostor(t *testing.T) {
	h, addr, _, own := reignOn(t, HubConfig{Heartbeat: time.Minute})
	victim, vs := join(t, addr, "victim")
	_, ws := join(t, addr, "witness")
	frame := func(k codec.Kind, flags codec.Flags, from, to string) []byte {
		f := codec.Frame{Kind: k, Flags: flags, To: to, From: from, Stream: uint32(k) % 2, Seq: 1, Payload: []byte("forged")}
		return f.Append(nil)
	}
	var speeches [][]byte
	for _, from := range []string{"victim", "relay", "", "Victim", "victim\x00", "witness", "Impostor", "impostor2"} {
		for _, to := range []string{"witness", "victim", "relay", "impostor"} {
			for _, k := range []codec.Kind{codec.KindData, codec.KindAck, codec.KindReset, codec.KindUnreachable, codec.KindPing, codec.KindPong, 0x80} {
				speeches = append(speeches, frame(k, 0, from, to))
			}
		}
		speeches = append(speeches, frame(codec.KindData, codec.FlagGroup, from, "g"))
	}
	token := hello("victim").Token
	var hellos []codec.Hello
	for _, name := range []string{"victim", "relay"} {
		for _, wrong := range [][]byte{nil, make([]byte, codec.TokenSize), append(bytes.Clone(token[:codec.TokenSize-1]), token[codec.TokenSize-1]^1), hello("impostor").Token} {
			for _, instance := range []uint64{instanceOf(name), 1, 1<<64 - 1} {
				for _, visitor := range []bool{false, true} {
					hellos = append(hellos, codec.Hello{Name: name, Instance: instance, Token: wrong, Visitor: visitor, Role: codec.RoleServer})
				}
			}
		}
	}
	speech, claim := 0, 0
	n := pick(500, 1000)
	for i := range n {
		if i%2 == 0 {
			wantRefusal(t, tryDial(t, addr, DialConfig{Hello: hellos[claim%len(hellos)]}), codec.RefuseNameTaken)
			claim++
			continue
		}
		c := rawLink(t, addr, "impostor", nil)
		c.Write(speeches[speech%len(speeches)])
		c.SetReadDeadline(time.Now().Add(waitLimit))
		if said, err := io.ReadAll(c); err != nil {
			t.Fatalf("%x: %x %v", speeches[speech%len(speeches)], said, err)
		}
		speech++
		waitFor(t, h, "its end", func() bool { return h.Links() == 2 })
	}
	if s := h.Stats(); s.Protocol != uint64(speech) || s.Refused[codec.RefuseNameTaken] != uint64(claim) || s.FramesOut != 0 {
		t.Errorf("%d speeches, %d claims: %+v", speech, claim, s)
	}
	// The victim has lost nothing, and all that came to anybody came from the hub.
	victim.Write(data("victim", "witness", 1, 1, "the true one"), false)
	for f := (codec.Frame{}); f.From != "victim"; {
		f = ws.next(t, codec.KindData, codec.KindAck, codec.KindReset, codec.KindUnreachable, codec.KindPing, codec.KindPong, 0x80)
		if f.From != "victim" || string(f.Payload) != "the true one" {
			t.Errorf("%+v", f)
		}
	}
	for _, s := range []*sink{own, vs} {
		for len(s.frames) > 0 {
			if f := <-s.frames; f.From != "" {
				t.Errorf("%+v", f)
			}
		}
	}
	t.Logf("%d frames with a false source: %d links closed, 0 delivered; %d claims to a name: 0 granted", speech, speech, claim)
}

// recorder is a connection that keeps what is written to it, as somebody on the same wire would.
type recorder struct {
	net.Conn
	said *bytes.Buffer
}

func (r recorder) Write(b []byte) (int, error) {
	r.said.Write(b)
	return r.Conn.Write(b)
}

// TestReplay plays a recorded session again, many times. With a secret nothing of it has an effect. In an open mesh it is what anybody
// could have said: the node is back, with the frames that it sent, which their receiver knows by their numbers.
func TestReplay(t *testing.T) {
	for _, secret := range [][]byte{nil, secretOf(7)} {
		t.Run(fmt.Sprint("secret=", secret != nil), func(t *testing.T) {
			s := besiege(t, secret)
			var session bytes.Buffer
			witness, ws := dialTo(t, s.addr, DialConfig{Hello: hello("witness"), Secret: secret})
			l, err := Dial(context.Background(), s.addr, DialConfig{Hello: hello("recorded"), Secret: secret, Dial: func(ctx context.Context, network, addr string) (net.Conn, error) {
				c, err := new(net.Dialer).DialContext(ctx, network, addr)
				return recorder{c, &session}, err
			}})
			if err != nil {
				t.Fatal(err)
			}
			const frames = 10
			for i := range frames {
				l.Write(data("recorded", "witness", 5, uint32(i), "known text"), false)
			}
			if err := l.Leave(context.Background()); err != nil {
				t.Fatal(err)
			}
			if found := bytes.Contains(session.Bytes(), []byte("known text")) || bytes.Contains(session.Bytes(), []byte("recorded")); found != (secret == nil) {
				t.Errorf("text and names can be read on the wire: %v", found)
			}
			waitFor(t, s.hub, "the end of the recorded session", func() bool { return s.hub.Links() == 1 })
			before := s.hub.Stats()
			n := pick(100, 1000)
			for range n {
				c, err := net.Dial("tcp", s.addr)
				if err != nil {
					t.Fatal(err)
				}
				c.Write(session.Bytes())
				c.SetReadDeadline(time.Now().Add(waitLimit))
				io.Copy(io.Discard, c)
				c.Close()
				waitFor(t, s.hub, "the end of it", func() bool { return s.hub.Links() == 1 })
			}
			st := s.hub.Stats()
			admitted, routed := st.Admitted-before.Admitted, st.FramesOut-before.FramesOut
			if want := uint64(n); secret == nil && (admitted != want || routed != want*frames) || secret != nil && (admitted != 0 || routed != 0 || st.FramesIn != before.FramesIn) {
				t.Errorf("%d of %d admitted, %d frames routed", admitted, n, routed)
			}
			for range st.FramesOut {
				if f := ws.next(t, codec.KindData); f.From != "recorded" || f.Stream != 5 || f.Seq >= frames {
					t.Fatalf("%+v", f)
				}
			}
			t.Logf("%d replays: %d admitted, %d frames routed, beside the session's own %d", n, admitted, routed, frames)
			witness.Close()
			<-ws.done
		})
	}
}
