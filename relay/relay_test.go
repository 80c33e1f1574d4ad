package relay

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"ultrasockets/codec"
)

const waitLimit = 10 * time.Second

// sink is a Handler that keeps what it gets.
type sink struct {
	frames   chan codec.Frame
	writable chan struct{}
	batches  chan struct{}
	done     chan struct{} // closed when Run has returned
	err      error         // of Run
}

func newSink() *sink {
	return &sink{
		frames: make(chan codec.Frame, 4096), writable: make(chan struct{}, 64), batches: make(chan struct{}, 1),
		done: make(chan struct{}),
	}
}

func (s *sink) HandleFrame(f codec.Raw, _ *Memory) {
	if !f.Valid() {
		panic("bad checksum")
	}
	frame := f.Frame()
	frame.Payload = append([]byte(nil), frame.Payload...)
	s.frames <- frame
}

func (s *sink) HandleBatchEnd() (int, int) {
	select {
	case s.batches <- struct{}{}:
	default:
	}
	return 0, 0
}

func (s *sink) HandleWritable() { s.writable <- struct{}{} }

// next waits for the next frame of one of the kinds, and skips others.
func (s *sink) next(t testing.TB, kinds ...codec.Kind) codec.Frame {
	t.Helper()
	timer := time.NewTimer(waitLimit)
	defer timer.Stop()
	for {
		select {
		case f := <-s.frames:
			for _, k := range kinds {
				if f.Kind == k {
					return f
				}
			}
		case <-s.done:
			t.Fatalf("the port ended (%v) while waiting for %v", s.err, kinds)
		case <-timer.C:
			t.Fatalf("no %v came", kinds)
		}
	}
}

func (s *sink) end(t testing.TB) error {
	t.Helper()
	wait(t, s.done, "the end of Run")
	return s.err
}

func wait(t testing.TB, c <-chan struct{}, what string) {
	t.Helper()
	timer := time.NewTimer(waitLimit)
	defer timer.Stop()
	select {
	case <-c:
	case <-timer.C:
		t.Fatalf("waited in vain for %s", what)
	}
}

// waitFor waits until cond holds; it is woken by the hub's own signal.
func waitFor(t testing.TB, h *Hub, what string, cond func() bool) {
	t.Helper()
	timer := time.NewTimer(waitLimit)
	defer timer.Stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !cond() {
		select {
		case <-h.Changed():
		case <-tick.C:
		case <-timer.C:
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

func hello(name string) codec.Hello {
	var token [codec.TokenSize]byte
	copy(token[:], name)
	return codec.Hello{Name: name, Instance: instanceOf(name), Token: token[:], WantsRoster: true}
}

func instanceOf(name string) (n uint64) {
	for _, c := range name {
		n = n*131 + uint64(c)
	}
	return n + 1
}

// hubOn makes a hub that serves a loopback listener until the test ends.
func hubOn(t testing.TB, cfg HubConfig) (*Hub, string) {
	t.Helper()
	if cfg.Mesh == "" {
		cfg.Mesh = "lab"
	}
	if cfg.Own.Name == "" {
		cfg.Own = hello("relay")
	}
	h := NewHub(cfg)
	addr := serveOn(t, h)
	t.Cleanup(func() { h.Close() })
	return h, addr
}

func serveOn(t testing.TB, h *Hub) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan struct{})
	go func() {
		defer close(served)
		h.Serve(l)
	}()
	t.Cleanup(func() {
		h.Close()
		<-served
	})
	return l.Addr().String()
}

// reignOn is hubOn with a reign, and a sink for the own node.
func reignOn(t testing.TB, cfg HubConfig) (*Hub, string, *Attachment, *sink) {
	t.Helper()
	h, addr := hubOn(t, cfg)
	a := h.Reign(Reign{Term: 1})
	return h, addr, a, runPort(t, a)
}

// runPort runs a port until the test ends.
func runPort(t testing.TB, p Port) *sink {
	t.Helper()
	s := newSink()
	var once sync.WaitGroup
	once.Go(func() {
		s.err = p.Run(s)
		close(s.done)
	})
	t.Cleanup(func() {
		p.Close()
		once.Wait()
	})
	return s
}

func dialTo(t testing.TB, addr string, cfg DialConfig) (*Link, *sink) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), waitLimit)
	defer cancel()
	l, err := Dial(ctx, addr, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return l, runPort(t, l)
}

func join(t testing.TB, addr, name string) (*Link, *sink) {
	t.Helper()
	return dialTo(t, addr, DialConfig{Hello: hello(name)})
}

func data(from, to string, stream, seq uint32, payload string) []byte {
	f := codec.Frame{Kind: codec.KindData, To: to, From: from, Stream: stream, Seq: seq, Payload: []byte(payload)}
	return f.Append(nil)
}

func TestRoute(t *testing.T) {
	for _, secret := range [][]byte{nil, make([]byte, 32)} {
		t.Run(fmt.Sprint("secret=", secret != nil), func(t *testing.T) {
			h, addr, att, own := reignOn(t, HubConfig{Secret: secret})
			a, as := dialTo(t, addr, DialConfig{Hello: hello("a"), Secret: secret})
			b, bs := dialTo(t, addr, DialConfig{Hello: hello("b"), Secret: secret})
			if h.Links() != 2 {
				t.Fatalf("%d links", h.Links())
			}
			if w := a.Welcome(); w.Relay != "relay" || w.Term != 1 || w.Mesh != "lab" || w.Outbox != defaultOutbox {
				t.Fatalf("welcome %+v", w)
			}
			a.Write(data("a", "b", 7, 1, "one"), false)
			if f := bs.next(t, codec.KindData); string(f.Payload) != "one" || f.From != "a" || f.Stream != 7 {
				t.Fatalf("got %+v", f)
			}
			b.Write(data("b", "relay", 8, 1, "two"), false)
			if f := own.next(t, codec.KindData); string(f.Payload) != "two" {
				t.Fatalf("got %+v", f)
			}
			att.Write(data("relay", "a", 9, 1, "three"), false)
			if f := as.next(t, codec.KindData); string(f.Payload) != "three" {
				t.Fatalf("got %+v", f)
			}
			long := strings.Repeat("long", codec.MaxPayload/4)
			for _, send := range []struct {
				port     Port
				from, to string
				sink     *sink
			}{{a, "a", "b", bs}, {b, "b", "relay", own}, {att, "relay", "a", as}} {
				send.port.Write(data(send.from, send.to, 11, 7, long), false)
				if f := send.sink.next(t, codec.KindData); string(f.Payload) != long || f.From != send.from || f.Seq != 7 {
					t.Fatalf("from %s: %d bytes from %s", send.from, len(f.Payload), f.From)
				}
			}
			a.Write(data("a", "nobody", 10, 5, "x"), false)
			f := as.next(t, codec.KindUnreachable)
			if u, err := codec.ParseUnreachable(f.Payload); err != nil || u.Reason != codec.Absent || f.Stream != 10 || f.Seq != 5 || f.From != "nobody" {
				t.Fatalf("got %+v %v", f, err)
			}
		})
	}
}
