package relay

import (
	"bytes"
	"math/rand/v2"
	"testing"
	"time"

	"ultrasockets/codec"
)

// TestLentStays: what was read and is lent stays as it is while reading goes on, and what follows it loses nothing.
func TestLentStays(t *testing.T) {
	src := &scripted{in: make([]byte, 20*inbufMax), step: inbufMax}
	for i := range src.in {
		src.in[i] = byte(rand.Uint32())
	}
	want := bytes.Clone(src.in)
	type loan struct {
		memory *Memory
		b      []byte
		at     int
	}
	var b inbuf
	var loans []loan
	at := 0
	for {
		if _, err := b.fill(src); err != nil {
			break
		}
		n := len(b.data()) - rand.N(codec.MaxFrame)%len(b.data()) // a part of a frame is left
		if m := b.lend(); m != nil && rand.N(3) > 0 {
			m.Retain()
			loans = append(loans, loan{m, b.data()[:n], at})
		}
		if !bytes.Equal(b.data()[:n], want[at:at+n]) {
			t.Fatalf("bytes from %d on changed", at)
		}
		at += n
		b.consume(n)
	}
	if len(loans) < 5 {
		t.Fatalf("%d reads were lent", len(loans))
	}
	for _, l := range loans {
		if !bytes.Equal(l.b, want[l.at:l.at+len(l.b)]) {
			t.Fatalf("what was lent at %d was read over", l.at)
		}
		l.memory.Release()
	}
	last := b.lent
	b.free()
	if last.Holders() != 0 || len(b.data()) != 0 {
		t.Errorf("%d hold the memory of a buffer that was given back", last.Holders())
	}
}

// TestLittleIsNotLent: a buffer with little in it is not kept from being used again.
func TestLittleIsNotLent(t *testing.T) {
	b := inbuf{}
	b.resize(inbufMax)
	b.w = lendFrom - 1
	if b.lend() != nil {
		t.Error("less than half is lent")
	}
	b.w++
	if b.lend() == nil {
		t.Error("half is not lent")
	}
}

// TestRunsAreKept: of what is routed to a busy outbox, a long run stays where it was read until it is written, and a short one is copied.
func TestRunsAreKept(t *testing.T) {
	x := newRouterBench(1000)
	out := &x.to
	out.state = busy // somebody writes
	frame := wholeFrame(x.data)
	m := NewMemory(inbufMax)
	data := m.Bytes()
	for len(data)+frame <= inbufMax {
		data = append(data, x.data[:frame]...)
	}
	short := lendFrom - lendFrom%frame
	for _, c := range []struct{ n, holders int }{{short, 1}, {short + frame, 2}, {len(data), 3}} {
		if n, err := x.batch.route(data[:c.n], m); n != c.n || err != nil {
			t.Fatal(n, err)
		}
		if got := m.Holders(); got != c.holders {
			t.Errorf("%d hold the memory after %d bytes, want %d", got, c.n, c.holders)
		}
	}
	if _, err := x.batch.route(data, nil); err != nil {
		t.Fatal(err)
	}
	if got := m.Holders(); got != 3 {
		t.Errorf("%d hold memory that is not lent", got)
	}
	var want, got []byte
	for _, n := range []int{short, short + frame, len(data), len(data)} {
		want = append(want, data[:n]...)
	}
	for out.next() {
		for i := range out.turn {
			got = append(got, out.turn[i].bytes()...)
		}
		out.done()
	}
	if !bytes.Equal(got, want) {
		t.Error("what leaves is not what came")
	}
	if got := m.Holders(); got != 1 {
		t.Errorf("%d hold the memory when all is written", got)
	}
}

// lendee is a Handler that reads only when it may, and counts what it is lent.
type lendee struct {
	begin  chan struct{}
	want   int // frames
	lent   int
	frames int
	done   chan struct{} // closed when it has them
}

func (h *lendee) HandleFrame(f codec.Raw, lent *Memory) {
	<-h.begin
	if lent != nil {
		h.lent++
	}
	if h.frames++; h.frames == h.want {
		close(h.done)
	}
}

func (*lendee) HandleBatchEnd() (woken, others int) { return 0, 0 }
func (*lendee) HandleWritable()                     {}

// TestLinkLends: a link that has much to read lends it to its handler.
func TestLinkLends(t *testing.T) {
	_, addr, _, _ := reignOn(t, HubConfig{})
	a, _ := dialTo(t, addr, DialConfig{Hello: hello("a"), OutboxBytes: 2 << 20})
	b, err := Dial(t.Context(), addr, DialConfig{Hello: hello("b")})
	if err != nil {
		t.Fatal(err)
	}
	h := &lendee{begin: make(chan struct{}), want: 60, done: make(chan struct{})}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		b.Run(h)
	}()
	for i := range h.want - 1 {
		if !a.Write(data("a", "b", 1, uint32(i), string(make([]byte, codec.MaxPayload))), false) {
			t.Fatal("the outbox is full")
		}
	}
	select { // the roster is a frame, too
	case h.begin <- struct{}{}:
	case <-time.After(waitLimit):
		t.Fatal("nothing came")
	}
	close(h.begin)
	select {
	case <-h.done:
	case <-time.After(waitLimit):
		t.Fatal("not everything came")
	}
	b.Close()
	<-ended
	if h.lent == 0 {
		t.Errorf("of %d frames of %d bytes at once none is lent", h.want, codec.MaxPayload)
	}
}

// TestHubLends: what a hub has read for a link that is busy waits where it was read.
func TestHubLends(t *testing.T) {
	hub, addr, _, _ := reignOn(t, HubConfig{})
	begin, ended := make(chan struct{}), make(chan struct{})
	var links []*Link
	for _, name := range []string{"a", "b"} {
		l, err := Dial(t.Context(), addr, DialConfig{Hello: hello(name)})
		if err != nil {
			t.Fatal(err)
		}
		links = append(links, l)
		go func() {
			defer func() { ended <- struct{}{} }()
			l.Run(&lendee{begin: begin, want: -1})
		}()
	}
	defer func() {
		close(begin) // until now neither has read anything
		for _, l := range links {
			l.Close()
			<-ended
		}
	}()
	hub.mu.Lock()
	out := &hub.names["b"].out
	hub.mu.Unlock()
	waits := func() (lent bool) {
		out.mu.Lock()
		defer out.mu.Unlock()
		for i := range out.queue {
			lent = lent || out.queue[i].memory != nil
		}
		return lent
	}
	frame := data("a", "b", 1, 1, string(make([]byte, codec.MaxPayload)))
	for end := time.Now().Add(waitLimit); !waits(); {
		if time.Now().After(end) {
			t.Fatal("all that waits was copied")
		}
		if !links[0].Write(frame, false) {
			time.Sleep(time.Millisecond)
		}
	}
}
