package relay

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"testing"
	"time"

	"ultrasockets/codec"
)

func nextUpdate(t testing.TB, s *sink) codec.Change {
	t.Helper()
	f := s.next(t, codec.KindUpdate)
	u, err := codec.ParseUpdate(f.Payload)
	if err != nil || len(u.Changes) != 1 {
		t.Fatalf("%+v %v", u, err)
	}
	return u.Changes[0]
}

func nextRoster(t testing.TB, s *sink) []codec.Entry {
	t.Helper()
	r, err := codec.ParseRoster(s.next(t, codec.KindRoster).Payload)
	if err != nil {
		t.Fatal(err)
	}
	return r.Entries
}

func wantChange(t testing.TB, s *sink, op codec.ChangeOp, reason codec.LeftReason, name string) codec.Entry {
	t.Helper()
	c := nextUpdate(t, s)
	if c.Op != op || c.Reason != reason || c.Entry.Name != name {
		t.Fatalf("got %+v, want %v %v %s", c, op, reason, name)
	}
	return c.Entry
}

func TestRoster(t *testing.T) {
	_, addr, att, own := reignOn(t, HubConfig{})
	if r := nextRoster(t, own); len(r) != 1 || !r[0].Relay || r[0].Name != "relay" {
		t.Fatalf("%+v", r)
	}
	a, as := join(t, addr, "a")
	if r := nextRoster(t, as); len(r) != 2 {
		t.Fatalf("%+v", r)
	}
	if e := wantChange(t, own, codec.Joined, 0, "a"); e.Instance != instanceOf("a") || e.Addr == "" {
		t.Fatalf("%+v", e)
	}
	visitor := hello("v")
	visitor.Visitor = true
	v, vs := dialTo(t, addr, DialConfig{Hello: visitor})
	if r := nextRoster(t, vs); len(r) != 2 {
		t.Fatalf("%+v", r)
	}
	_ = v.Close()
	u := codec.Update{Changes: []codec.Change{{Op: codec.Changed, Entry: codec.Entry{
		State: codec.StatePaused, Groups: []string{"g"}, Tags: map[string]string{"k": "v"},
	}}}}
	f := codec.Frame{Kind: codec.KindUpdate, Payload: u.Append(nil)}
	a.Write(f.Append(nil), true)
	for _, s := range []*sink{own, as} {
		if e := wantChange(t, s, codec.Changed, 0, "a"); e.State != codec.StatePaused || e.Tags["k"] != "v" || !slices.Equal(e.Groups, []string{"g"}) {
			t.Fatalf("%+v", e)
		}
	}
	att.Write(f.Append(nil), true)
	wantChange(t, as, codec.Changed, 0, "relay")
	b, _ := join(t, addr, "b")
	wantChange(t, as, codec.Joined, 0, "b")
	c, _ := join(t, addr, "c")
	wantChange(t, as, codec.Joined, 0, "c")
	if err := b.Leave(context.Background()); err != nil {
		t.Fatal(err)
	}
	wantChange(t, as, codec.Left, codec.LeftBye, "b")
	c.Close()
	wantChange(t, as, codec.Left, codec.LeftLost, "c")
	att.Close()
	wantChange(t, as, codec.Left, codec.LeftBye, "relay")
	_, ds := join(t, addr, "d")
	if r := nextRoster(t, ds); len(r) != 2 || r[0].Relay || r[1].Relay {
		t.Fatalf("%+v", r)
	}
}

func TestLeave(t *testing.T) {
	for _, run := range []bool{true, false} {
		_, addr, _, own := reignOn(t, HubConfig{})
		l, err := Dial(context.Background(), addr, DialConfig{Hello: hello("a")})
		if err != nil {
			t.Fatal(err)
		}
		var s *sink
		if run {
			s = runPort(t, l)
		}
		l.Write(data("a", "relay", 1, 1, "last words"), false)
		if err := l.Leave(context.Background()); err != nil {
			t.Fatal(err)
		}
		if f := own.next(t, codec.KindData); string(f.Payload) != "last words" {
			t.Fatalf("%+v", f)
		}
		if run {
			if err := s.end(t); !errors.Is(err, ErrClosed) {
				t.Fatal(err)
			}
		}
		if !l.Write(data("a", "relay", 1, 2, "too late"), false) {
			t.Fatal("a write after the end was refused")
		}
		wantChange(t, own, codec.Left, codec.LeftBye, "a")
	}
}

func TestTakeover(t *testing.T) {
	h, addr, _, own := reignOn(t, HubConfig{Connections: 1})
	_, as := join(t, addr, "a")
	nextUpdate(t, own)
	a2, _ := join(t, addr, "a")
	var bye *ByeError
	if err := as.end(t); !errors.As(err, &bye) || bye.Reason != codec.ByeReplaced {
		t.Fatal(err)
	}
	wantChange(t, own, codec.Left, codec.LeftReplaced, "a")
	wantChange(t, own, codec.Joined, 0, "a")
	a2.Write(data("a", "relay", 1, 1, "x"), false)
	own.next(t, codec.KindData)
	if h.Links() != 1 {
		t.Fatal(h.Links())
	}
}

// TestTakeoverStorm lets many links of one instance fight for its name.
func TestTakeoverStorm(t *testing.T) {
	h, addr, _, _ := reignOn(t, HubConfig{})
	const n = 24
	done := make(chan error, n)
	for range n {
		go func() {
			l, err := Dial(context.Background(), addr, DialConfig{Hello: hello("a")})
			if err == nil {
				err = l.Run(ignore{})
				l.Close()
			}
			done <- err
		}()
	}
	for range n - 1 {
		select {
		case err := <-done:
			var bye *ByeError
			var refusal *codec.Refusal
			if !errors.As(err, &bye) && !errors.As(err, &refusal) && !errors.Is(err, io.EOF) {
				t.Error(err)
			}
		case <-time.After(waitLimit):
			t.Fatal("the losers do not end")
		}
	}
	if h.Links() != 1 {
		t.Fatalf("%d links", h.Links())
	}
	h.Close()
	<-done
}

func TestFalseSource(t *testing.T) {
	h, addr, _, own := reignOn(t, HubConfig{})
	for name, frame := range map[string][]byte{
		"false source":   data("b", "relay", 1, 1, "I am b"),
		"no source":      data("", "relay", 1, 1, "I am nobody"),
		"huge length":    {0xff, 0xff, 0xff, 0xff},
		"tiny length":    {0, 0, 0, 1, 4},
		"names too long": {0, 0, 1, 0, 4, 0, 0, 200, 1},
	} {
		t.Run(name, func(t *testing.T) {
			a, as := join(t, addr, "a")
			a.Write(append(data("a", "relay", 1, 1, "good"), frame...), false)
			var bye *ByeError
			if err := as.end(t); !errors.As(err, &bye) || bye.Reason != codec.ByeProtocol || bye.Text == "" {
				t.Fatal(err)
			}
			if f := own.next(t, codec.KindData); string(f.Payload) != "good" {
				t.Fatalf("%+v", f)
			}
			waitFor(t, h, "the link's end", func() bool { return h.Links() == 0 })
		})
	}
	if s := h.Stats(); s.Protocol != 5 {
		t.Fatalf("%+v", s)
	}
}

func TestForwardKinds(t *testing.T) {
	h, addr, _, _ := reignOn(t, HubConfig{})
	a, as := join(t, addr, "a")
	_, bs := join(t, addr, "b")
	frame := func(k codec.Kind) []byte {
		f := codec.Frame{Kind: k, To: "b", From: "a", Payload: []byte("x")}
		return f.Append(nil)
	}
	for _, k := range []codec.Kind{codec.KindRoster, codec.KindUpdate, codec.KindBye, codec.KindWelcome, codec.KindHello, 0, 20, 0x7f} {
		a.Write(frame(k), false)
	}
	for _, k := range []codec.Kind{codec.KindAck, codec.KindReset, codec.KindUnreachable, codec.KindPing, codec.KindPong, 0x80, 0xff} {
		a.Write(frame(k), false)
		if f := bs.next(t, k); f.From != "a" {
			t.Fatalf("%+v", f)
		}
	}
	if s := h.Stats(); s.Dropped.Unknown != 8 {
		t.Fatalf("%+v", s.Dropped)
	}
	bad := pingFrame([]byte("x"))
	bad[len(bad)-1]++
	a.Write(bad, true)
	a.Write(data("a", "a", 1, 1, "to itself"), false)
	as.next(t, codec.KindData)
	if s := h.Stats(); s.Dropped.Checksum != 1 {
		t.Fatalf("%+v", s.Dropped)
	}
}

func TestGroupBestEffort(t *testing.T) {
	_, addr, att, own := reignOn(t, HubConfig{})
	in := func(name string, visitor bool, groups ...string) (*Link, *sink) {
		h := hello(name)
		h.Groups, h.Visitor = groups, visitor
		return dialTo(t, addr, DialConfig{Hello: h})
	}
	a, as := in("a", false, "g")
	_, bs := in("b", false, "g")
	_, cs := in("c", false)
	_, vs := in("v", true, "g")
	send := func(w Port, from, group, text string) {
		f := codec.Frame{Kind: codec.KindData, Flags: codec.FlagGroup, To: group, From: from, Payload: []byte(text)}
		w.Write(f.Append(nil), false)
	}
	want := func(s *sink, text string) {
		t.Helper()
		if f := s.next(t, codec.KindData); string(f.Payload) != text {
			t.Fatalf("got %q, want %q", f.Payload, text)
		}
	}
	send(a, "a", "g", "to g")
	send(a, "a", "", "to all")
	want(bs, "to g")
	want(bs, "to all")
	want(cs, "to all")
	want(own, "to all")
	send(att, "relay", "g", "from the relay")
	want(as, "from the relay")
	want(bs, "from the relay")
	att.Write(data("relay", "v", 0, 0, "direct"), false)
	want(vs, "direct")
}

func TestHoldAndRefer(t *testing.T) {
	h, addr := hubOn(t, HubConfig{})
	ask := func(name string) <-chan error {
		c := make(chan error, 1)
		go func() {
			l, err := Dial(context.Background(), addr, DialConfig{Hello: hello(name)})
			if err == nil {
				l.Close()
			}
			c <- err
		}()
		return c
	}
	a, b := ask("a"), ask("b")
	waitFor(t, h, "two votes", func() bool { return len(h.Votes()) == 2 })
	h.Refer("other", []string{"127.0.0.1:1"})
	for _, c := range []<-chan error{a, b} {
		if r := wantRefusal(t, <-c, codec.RefuseNotRelay); r.Relay != "other" || !slices.Equal(r.Addrs, []string{"127.0.0.1:1"}) {
			t.Fatalf("%+v", r)
		}
	}
	wantRefusal(t, <-ask("a"), codec.RefuseNotRelay)

	// A vote that goes away, a vote that is renewed, and a reign that admits.
	h.Hold()
	ctx, cancel := context.WithCancel(context.Background())
	gone := make(chan error, 1)
	go func() {
		_, err := Dial(ctx, addr, DialConfig{Hello: hello("gone")})
		gone <- err
	}()
	waitFor(t, h, "a vote", func() bool { return len(h.Votes()) == 1 })
	cancel()
	if err := <-gone; !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	waitFor(t, h, "no vote", func() bool { return len(h.Votes()) == 0 })
	first := ask("a")
	waitFor(t, h, "a vote", func() bool { return len(h.Votes()) == 1 })
	second := ask("a")
	wantRefusal(t, <-first, codec.RefuseNotNow)
	waitFor(t, h, "one vote", func() bool { return len(h.Votes()) == 1 })
	if v := h.Votes(); v[0].Name != "a" {
		t.Fatalf("%+v", v)
	}
	runPort(t, h.Reign(Reign{}))
	if err := <-second; err != nil {
		t.Fatal(err)
	}
}

func TestResign(t *testing.T) {
	h, addr, att, own := reignOn(t, HubConfig{})
	_, as := join(t, addr, "a")
	b, bs := join(t, addr, "b")
	if again := h.Reign(Reign{Term: 2}); again != att {
		t.Fatal("a second attachment in one reign")
	}
	resigned := make(chan struct{})
	go func() {
		defer close(resigned)
		h.Resign(context.Background(), "next", []string{"127.0.0.1:2"})
	}()
	for _, s := range []*sink{as, bs} {
		var bye *ByeError
		if err := s.end(t); !errors.As(err, &bye) || bye.Reason != codec.ByeResigned || bye.Relay != "next" {
			t.Fatal(err)
		}
	}
	_ = b
	wait(t, resigned, "Resign")
	if err := own.end(t); !errors.Is(err, ErrResigned) {
		t.Fatal(err)
	}
	h.Resign(context.Background(), "", nil) // no reign: nothing happens
	h.Refer("next", nil)
	wantRefusal(t, tryDial(t, addr, DialConfig{Hello: hello("a")}), codec.RefuseNotRelay)
	own = runPort(t, h.Reign(Reign{Term: 3}))
	a, as := join(t, addr, "a")
	if a.Welcome().Term != 3 {
		t.Fatal(a.Welcome())
	}
	// A link that does not go is closed when the context ends.
	stubborn := rawLink(t, addr, "stubborn", nil)
	ctx, cancel := context.WithCancel(context.Background())
	resigned = make(chan struct{})
	go func() {
		defer close(resigned)
		h.Resign(ctx, "", nil)
	}()
	as.end(t)
	cancel()
	wait(t, resigned, "Resign")
	if _, err := io.Copy(io.Discard, stubborn); err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		var op *net.OpError
		if !errors.As(err, &op) {
			t.Fatal(err)
		}
	}
	own.end(t)
}

func TestShutdown(t *testing.T) {
	h, addr, att, own := reignOn(t, HubConfig{})
	_, as := join(t, addr, "a")
	for i := range 100 {
		att.Write(data("relay", "a", 1, uint32(i), string(make([]byte, 1000))), false)
	}
	h.Shutdown(context.Background(), "", nil)
	for i := range 100 {
		if f := <-as.frames; f.Kind != codec.KindRoster && f.Seq != uint32(i-1) && f.Seq != uint32(i) {
			t.Fatalf("%d: %+v", i, f)
		}
	}
	var bye *ByeError
	if err := as.end(t); !errors.As(err, &bye) || bye.Reason != codec.ByeShutdown {
		t.Fatal(err)
	}
	if err := own.end(t); !errors.Is(err, ErrClosed) {
		t.Fatal(err)
	}
	if a := h.Reign(Reign{}); !errors.Is(a.Run(ignore{}), ErrClosed) {
		t.Fatal("a reign on a closed hub")
	}
}

// TestBusy fills the outbox of a node that does not read.
func TestBusy(t *testing.T) {
	h, addr, _, _ := reignOn(t, HubConfig{OutboxBytes: minOutbox})
	rawLink(t, addr, "slow", nil)
	a, as := join(t, addr, "a")
	b, bs := join(t, addr, "b")
	block := data("a", "slow", 3, 1, string(make([]byte, 8<<10)))
	for h.Stats().Dropped.Busy == 0 {
		if !a.Write(block, false) {
			wait(t, as.writable, "room")
		}
	}
	f := as.next(t, codec.KindUnreachable)
	if u, err := codec.ParseUnreachable(f.Payload); err != nil || u.Reason != codec.Busy || f.From != "slow" || f.Stream != 3 {
		t.Fatalf("%+v %v", u, err)
	}
	// The others go on.
	b.Write(data("b", "a", 1, 1, "x"), false)
	as.next(t, codec.KindData)
	a.Write(data("a", "b", 1, 1, "y"), false)
	bs.next(t, codec.KindData)
}

// TestCrossfire lets nodes send to each other as fast as they can, while some come and go.
func TestCrossfire(t *testing.T) {
	h, addr, att, _ := reignOn(t, HubConfig{OutboxBytes: minOutbox})
	const nodes, rounds = 6, 300
	names := []string{"n0", "n1", "n2", "n3", "n4", "n5", "relay"}
	finished := make(chan error, nodes+1)
	for i := range nodes {
		go func() {
			finished <- func() error {
				for range 3 {
					l, err := Dial(context.Background(), addr, DialConfig{Hello: hello(names[i])})
					if err != nil {
						return err
					}
					ran := make(chan struct{})
					go func() {
						defer close(ran)
						l.Run(ignore{})
					}()
					for k := range rounds {
						l.Write(data(names[i], names[k%len(names)], uint32(i+1), uint32(k), string(make([]byte, 3000))), false)
					}
					if i%2 == 0 {
						err = l.Leave(context.Background())
					}
					l.Close()
					<-ran
					if err != nil {
						return err
					}
				}
				return nil
			}()
		}()
	}
	go func() {
		for k := range 3 * rounds {
			att.Write(data("relay", names[k%nodes], 9, uint32(k), string(make([]byte, 3000))), false)
		}
		finished <- nil
	}()
	for range nodes + 1 {
		select {
		case err := <-finished:
			var r *codec.Refusal
			if err != nil && !errors.As(err, &r) {
				t.Fatal(err)
			}
		case <-time.After(waitLimit):
			t.Fatal("stuck")
		}
	}
	waitFor(t, h, "the links' end", func() bool { return h.Links() == 0 })
	waitFor(t, h, "empty outboxes", func() bool { return h.Stats().OutboxBytes == 0 })
}

// TestExpectedAreCandidates: who links first to a new relay is told of those who are still on their way.
func TestExpectedAreCandidates(t *testing.T) {
	h, addr := hubOn(t, HubConfig{Own: hello("r")})
	runPort(t, h.Reign(Reign{Expected: []codec.Entry{
		{Name: "b", Instance: 2, Addrs: []string{"127.0.0.1:2"}},
		{Name: "s", Instance: 3, Addrs: []string{"127.0.0.1:3"}, Role: codec.RoleServer},
		{Name: "p", Instance: 4, Addrs: []string{"127.0.0.1:4"}, Role: codec.RolePeer},
	}}))
	l, _ := join(t, addr, "a")
	if got := fmt.Sprint(l.Welcome().Candidates); got != "[[127.0.0.1:3] [127.0.0.1:2]]" {
		t.Fatal(got)
	}
}
