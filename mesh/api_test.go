package mesh_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"ultrasockets/mesh"
	"ultrasockets/mesh/meshtest"
)

// within gives a context for one step of a test.
func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

// star is the original's scenario: a server and its clients.
func star(t *testing.T, server mesh.Config, clients ...string) (s *mesh.Node, c []*mesh.Node) {
	t.Helper()
	ctx := within(t, 10*time.Second)
	s, err := mesh.Listen(ctx, "tcp://127.0.0.1:0", server)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	for _, name := range clients {
		n, err := mesh.Dial(ctx, "tcp://"+s.Addr().String(), mesh.Config{Name: name})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { n.Close() })
		c = append(c, n)
	}
	for _, n := range append(c, s) {
		if err := n.WaitFor(ctx, append(clients, server.Name)...); err != nil {
			t.Fatal(err)
		}
	}
	return s, c
}

func texts(ms []mesh.Message) (out []string) {
	for _, m := range ms {
		out = append(out, m.Text())
	}
	return out
}

func TestOriginalScenario(t *testing.T) {
	ctx := within(t, 20*time.Second)
	s, c := star(t, mesh.Config{Name: "server", Connections: 2}, "pc1", "pc2")
	if err := s.Ready(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := mesh.Dial(ctx, s.Addr().String(), mesh.Config{Name: "pc3"}); !errors.Is(err, mesh.ErrMeshFull) {
		t.Fatalf("a third client: %v", err)
	}
	pc1, pc2 := c[0], c[1]
	for _, n := range []*mesh.Node{s, pc1} {
		peers := n.Peers()
		if len(peers) != 3 || peers[2].Name != "server" || !peers[2].Relay || peers[2].Addr != s.Addr().String() || peers[0].Addr == "" {
			t.Fatalf("peers of %s: %+v", n.Name(), peers)
		}
	}
	for _, hop := range []struct{ from, to *mesh.Node }{{pc1, pc2}, {pc1, s}, {s, pc1}, {pc2, pc1}} {
		for i := range 3 {
			if err := hop.from.Deliver(ctx, hop.to.Name(), fmt.Sprint(hop.from.Name(), i)); err != nil {
				t.Fatal(err)
			}
		}
		got := hop.to.Get(mesh.All)
		if want := fmt.Sprintf("[%[1]s2 %[1]s1 %[1]s0]", hop.from.Name()); fmt.Sprint(texts(got)) != want {
			t.Fatalf("%s got %v, want newest first %s", hop.to.Name(), texts(got), want)
		}
		if got[0].From != hop.from.Name() || got[0].To != hop.to.Name() || got[0].Serial < got[2].Serial {
			t.Fatalf("message %+v", got[0])
		}
		if again := hop.to.Get(mesh.All); again != nil {
			t.Fatalf("an empty inbox gives %v, not nil", again)
		}
	}
}

func TestPauseHoldsResumeDelivers(t *testing.T) {
	ctx := within(t, 20*time.Second)
	s, c := star(t, mesh.Config{Name: "s"}, "a")
	a := c[0]
	if err := a.Deliver(ctx, "s", "before"); err != nil {
		t.Fatal(err)
	}
	events := a.Events(ctx)
	if err := s.Pause(); err != nil {
		t.Fatal(err)
	}
	for e := range events {
		if e.Kind == mesh.EventPaused && e.Name == "s" {
			break
		}
	}
	for i := range 50 {
		if err := a.Send(ctx, "s", i); err != nil {
			t.Fatal(err)
		}
	}
	short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	if err := a.Deliver(short, "s", "held"); err != nil && !errors.Is(err, mesh.ErrPaused) {
		t.Fatalf("deliver to a paused node: %v", err)
	}
	if got := texts(s.Get(mesh.All)); fmt.Sprint(got) != "[before]" {
		t.Fatalf("a paused node gave %v", got)
	}
	if err := s.Resume(); err != nil {
		t.Fatal(err)
	}
	for i := range 51 {
		m, err := s.Receive(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if want := fmt.Sprint(i); i < 50 && m.Text() != want || i == 50 && m.Text() != "held" {
			t.Fatalf("got %s at place %d", m.Text(), i)
		}
	}
}

func TestInboxIsOne(t *testing.T) {
	ctx := within(t, 10*time.Second)
	s, _ := star(t, mesh.Config{Name: "s"})
	for i := range 6 {
		if err := s.Deliver(ctx, "s", i); err != nil { // to oneself
			t.Fatal(err)
		}
	}
	if got := fmt.Sprint(texts(s.Get(2)), s.Get(0)); got != "[5 4] []" {
		t.Fatal(got)
	}
	if m, _ := s.Receive(ctx); m.Text() != "0" || m.Serial != 1 {
		t.Fatalf("%v %d", m.Text(), m.Serial)
	}
	for m := range s.Messages(ctx) {
		if m.Text() != "1" {
			t.Fatal(m.Text())
		}
		break
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if m, err := s.Receive(ctx); err != nil || m.Text() != "2" {
		t.Fatal(m, err)
	}
	if got := fmt.Sprint(texts(s.Get(mesh.All))); got != "[3]" {
		t.Fatal(got)
	}
	if _, err := s.Receive(ctx); !errors.Is(err, mesh.ErrClosed) {
		t.Fatal(err)
	}
	if err := s.Send(ctx, "s", 1); !errors.Is(err, mesh.ErrClosed) {
		t.Fatal(err)
	}
	if !errors.Is(s.Err(), mesh.ErrClosed) || s.Close() != nil {
		t.Fatal(s.Err())
	}
}

func TestValuesTravel(t *testing.T) {
	ctx := within(t, 20*time.Second)
	_, c := star(t, mesh.Config{Name: "s"}, "a", "b")
	type reading struct {
		Sensor string    `cbor:"sensor"`
		At     time.Time `json:"at"`
		Values []float64
	}
	when := time.Date(2026, 1, 2, 3, 4, 5, 600700800, time.UTC)
	for _, v := range []struct{ in, out any }{
		{nil, nil}, {true, true}, {-5, int64(-5)}, {uint8(7), int64(7)}, {uint64(1<<64 - 1), uint64(1<<64 - 1)},
		{1.5, 1.5}, {"héllo", "héllo"}, {[]byte{0, 255}, []byte{0, 255}}, {when, when},
		{[]any{1, "x"}, []any{int64(1), "x"}}, {map[string]any{"a": []int{1}}, map[string]any{"a": []any{int64(1)}}},
	} {
		if err := c[0].Send(ctx, "b", v.in); err != nil {
			t.Fatal(err)
		}
		m, err := c[1].Receive(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if got := m.Value(); fmt.Sprintf("%T %v", got, got) != fmt.Sprintf("%T %v", v.out, v.out) {
			t.Errorf("%T %v became %T %v", v.in, v.in, got, got)
		}
	}
	in := reading{"t1", when, []float64{1, 2.5}}
	if err := c[0].Send(ctx, "b", in); err != nil {
		t.Fatal(err)
	}
	var out reading
	m, _ := c[1].Receive(ctx)
	if err := m.Decode(&out); err != nil || fmt.Sprint(out) != fmt.Sprint(in) {
		t.Fatal(out, err)
	}
	if err := m.Decode(new(chan int)); !errors.Is(err, mesh.ErrValue) {
		t.Fatal(err)
	}
}

func TestBadInput(t *testing.T) {
	parallel(t)
	ctx := within(t, time.Minute)
	m := meshtest.NewWith(t, func(c *mesh.Config) { c.MaxMessage = 1 << 16 }, "a", "b")
	a := m.Node("a")
	port := a.Addr().String()
	join := func(change func(*mesh.Config)) error {
		c := m.Config("x")
		change(&c)
		n, err := mesh.Join(ctx, c)
		if err == nil {
			n.Close()
		}
		return err
	}
	for _, c := range []struct {
		what string
		err  error
		want error
	}{
		{"empty name", join(func(c *mesh.Config) { c.Name = "" }), mesh.ErrBadName},
		{"long name", join(func(c *mesh.Config) { c.Name = strings.Repeat("x", 65) }), mesh.ErrBadName},
		{"reserved name", join(func(c *mesh.Config) { c.Name = "all" }), mesh.ErrBadName},
		{"control character", join(func(c *mesh.Config) { c.Name = "a\x00b" }), mesh.ErrBadName},
		{"long mesh", join(func(c *mesh.Config) { c.Mesh = strings.Repeat("m", 300) }), mesh.ErrBadName},
		{"many tags", join(func(c *mesh.Config) { c.Tags = map[string]string{"k": strings.Repeat("v", 5000)} }), mesh.ErrBadConfig},
		{"empty secret", join(func(c *mesh.Config) { c.Secret = []byte{} }), mesh.ErrBadConfig},
		{"fast heartbeat", join(func(c *mesh.Config) { c.Heartbeat = time.Millisecond }), mesh.ErrBadConfig},
		{"bad bind", join(func(c *mesh.Config) { c.Bind = "localhost" }), mesh.ErrBadConfig},
		{"port in use", join(func(c *mesh.Config) { c.Listen = port }), mesh.ErrBadConfig},
		{"seed without port", join(func(c *mesh.Config) { c.Seeds = []string{"127.0.0.1"} }), mesh.ErrBadConfig},
		{"long retention", join(func(c *mesh.Config) { c.Retention = time.Hour }), mesh.ErrBadConfig},
		{"name taken", join(func(c *mesh.Config) { c.Name = "b" }), mesh.ErrNameTaken},
		{"wrong secret", join(func(c *mesh.Config) { c.Secret = mesh.NewSecret() }), mesh.ErrWrongSecret},
		{"channel", a.Send(ctx, "b", make(chan int)), mesh.ErrValue},
		{"func", a.Send(ctx, "b", func() {}), mesh.ErrValue},
		{"send too much to a group of nobody", a.Send(ctx, mesh.ToGroup("nobody"), make([]byte, 1<<17)), mesh.ErrTooLarge},
		{"too large", a.Send(ctx, "b", make([]byte, 1<<16)), mesh.ErrTooLarge},
		{"bad name to send to", a.Send(ctx, "-x", 1), mesh.ErrBadName},
		{"bad group to send to", a.Send(ctx, "@-x", 1), mesh.ErrBadName},
		{"best effort too large", a.Send(ctx, "b", make([]byte, 20000), mesh.BestEffort()), mesh.ErrTooLarge},
	} {
		if !errors.Is(c.err, c.want) {
			t.Errorf("%s: got %v, want %v", c.what, c.err, c.want)
		}
	}
	_, err := mesh.Dial(ctx, "127.0.0.1", mesh.Config{Name: "x"})
	if !errors.Is(err, mesh.ErrBadConfig) {
		t.Errorf("hostname without port: %v", err)
	}
	_, err = mesh.Dial(ctx, port, mesh.Config{Name: "x", Mesh: "other"})
	if !errors.Is(err, mesh.ErrWrongMesh) {
		t.Errorf("other mesh: %v", err)
	}
	_, err = mesh.Dial(within(t, 200*time.Millisecond), "127.0.0.1:1", mesh.Config{Name: "x"})
	if !errors.Is(err, mesh.ErrNoRelay) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("nobody there: %v", err)
	}
	err = a.Deliver(within(t, 100*time.Millisecond), "nobody", 1)
	if !errors.Is(err, mesh.ErrNoPeer) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("deliver to nobody: %v", err)
	}
	if err := a.Deliver(ctx, "b", "still well"); err != nil {
		t.Error(err)
	}
}

func TestUndeliveredIsReported(t *testing.T) {
	ctx := within(t, 10*time.Second)
	m := meshtest.NewWith(t, func(c *mesh.Config) { c.Retention = 100 * time.Millisecond }, "a", "b")
	a := m.Node("a")
	events := a.Events(ctx)
	for range 3 {
		if err := a.Send(ctx, "nobody", "x"); err != nil {
			t.Fatal(err)
		}
	}
	err := a.Flush(ctx)
	var u *mesh.UndeliveredError
	if !errors.As(err, &u) || u.To != "nobody" || u.Count != 3 || !errors.Is(err, mesh.ErrExpired) {
		t.Fatalf("flush: %v", err)
	}
	count := 0
	for e := range events {
		if e.Kind == mesh.EventUndelivered && e.Name == "nobody" {
			if count += e.Count; count == 3 {
				break
			}
		}
	}
	if err := a.Flush(ctx); err != nil {
		t.Fatalf("a second flush reports again: %v", err)
	}
	if err := a.Deliver(ctx, "nobody", "x"); !errors.Is(err, mesh.ErrExpired) {
		t.Fatal(err)
	}
}

func TestLateReceiverGetsWhatWasQueued(t *testing.T) {
	ctx := within(t, 10*time.Second)
	m := meshtest.New(t, "a", "b")
	for i := range 100 {
		if err := m.Node("a").Send(ctx, "late", i); err != nil {
			t.Fatal(err)
		}
	}
	late := m.Start("late")
	for i := range 100 {
		msg, err := late.Receive(ctx)
		if err != nil || msg.Value() != int64(i) {
			t.Fatal(i, msg.Value(), err)
		}
	}
}

func TestGroups(t *testing.T) {
	ctx := within(t, 10*time.Second)
	m := meshtest.New(t, "a", "b", "c")
	events := m.Node("a").Events(ctx)
	if err := m.Node("b").Subscribe("lab"); err != nil {
		t.Fatal(err)
	}
	for e := range events {
		if e.Kind == mesh.EventChanged && e.Name == "b" {
			break
		}
	}
	if err := m.Node("a").Deliver(ctx, mesh.ToGroup("lab"), "for the lab"); err != nil {
		t.Fatal(err)
	}
	if err := m.Node("a").Deliver(ctx, mesh.ToAll, "for all"); err != nil {
		t.Fatal(err)
	}
	b, c := m.Node("b").Get(mesh.All), m.Node("c").Get(mesh.All)
	if fmt.Sprint(texts(b), texts(c)) != "[for all for the lab] [for all]" || b[1].To != mesh.ToGroup("lab") || b[0].To != mesh.ToAll {
		t.Fatal(texts(b), texts(c), b[1].To)
	}
	if err := m.Node("a").Send(ctx, mesh.ToGroup("lab"), "quick", mesh.BestEffort()); err != nil {
		t.Fatal(err)
	}
	if msg, err := m.Node("b").Receive(ctx); err != nil || msg.Text() != "quick" || msg.To != mesh.ToGroup("lab") {
		t.Fatal(msg, err)
	}
}

func TestRequests(t *testing.T) {
	ctx := within(t, 10*time.Second)
	m := meshtest.New(t, "a", "b")
	a, b := m.Node("a"), m.Node("b")
	if _, err := a.Request(ctx, "b", 1); !errors.Is(err, mesh.ErrNoHandler) {
		t.Fatal(err)
	}
	b.Handle(func(_ context.Context, r mesh.Message) (any, error) {
		if r.Value() == int64(0) {
			return nil, errors.New("zero is not allowed")
		}
		return r.Value().(int64) * 2, nil
	})
	for i := 1; i < 200; i++ {
		r, err := a.Request(ctx, "b", i)
		if err != nil || r.Value() != int64(2*i) || r.From != "b" {
			t.Fatal(i, r.Value(), err)
		}
	}
	var remote *mesh.RemoteError
	if _, err := a.Request(ctx, "b", 0); !errors.As(err, &remote) || remote.Text != "zero is not allowed" {
		t.Fatal(err)
	}
	if _, err := a.Request(ctx, "b", "a panic"); !errors.As(err, &remote) {
		t.Fatal(err)
	}
	if _, err := a.Request(ctx, "nobody", 0); !errors.Is(err, mesh.ErrNoPeer) {
		t.Fatal(err)
	}
	if got := b.Get(mesh.All); got != nil {
		t.Fatal("requests reached the inbox:", texts(got))
	}
	if rtt, err := a.Ping(ctx, "b"); err != nil || rtt <= 0 {
		t.Fatal(rtt, err)
	}
}

func TestUntilTaken(t *testing.T) {
	ctx := within(t, 10*time.Second)
	m := meshtest.New(t, "a", "b")
	for _, to := range []string{"b", "a"} {
		done := make(chan error, 1)
		go func() { done <- m.Node("a").Deliver(ctx, to, "take me", mesh.UntilTaken()) }()
		for m.Node(to).Get(1) == nil {
			select {
			case err := <-done:
				t.Fatalf("to %s: returned before it was taken: %v", to, err)
			case <-time.After(time.Millisecond):
			}
		}
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
}

func TestSecretMesh(t *testing.T) {
	ctx := within(t, 20*time.Second)
	secret := mesh.NewSecret()
	m := meshtest.NewWith(t, func(c *mesh.Config) { c.Secret = secret }, "a", "b", "c")
	if err := m.Node("a").Deliver(ctx, "b", make([]byte, 1<<20)); err != nil {
		t.Fatal(err)
	}
	if err := m.Node("c").Deliver(ctx, "b", "x"); err != nil {
		t.Fatal(err)
	}
	for _, wrong := range [][]byte{nil, mesh.NewSecret()} {
		if _, err := mesh.Dial(ctx, m.Node("a").Addr().String(), mesh.Config{Name: "x", Secret: wrong}); !errors.Is(err, mesh.ErrWrongSecret) {
			t.Fatal(err)
		}
	}
	n, err := mesh.Dial(ctx, m.Node("a").Addr().String(), mesh.Config{Name: "x", Secret: secret})
	if err != nil {
		t.Fatal(err)
	}
	n.Close()
}

func TestIPv6(t *testing.T) {
	ctx := within(t, 10*time.Second)
	s, err := mesh.Listen(ctx, "[::1]:0", mesh.Config{Name: "s"})
	if err != nil {
		t.Skip("no IPv6 here: ", err)
	}
	defer s.Close()
	a, err := mesh.Dial(ctx, "tcp://"+s.Addr().String(), mesh.Config{Name: "a"})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	if err := a.Deliver(ctx, "s", 1); err != nil {
		t.Fatal(err)
	}
	j, err := mesh.Join(ctx, mesh.Config{Name: "j", Bind: "::1", NoMDNS: true, Seeds: []string{s.Addr().String()}})
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	if err := j.Deliver(ctx, "a", 1); err != nil {
		t.Fatal(err)
	}
}

func TestEventsLagged(t *testing.T) {
	ctx := within(t, 20*time.Second)
	s, c := star(t, mesh.Config{Name: "s"}, "a")
	events := s.Events(ctx)
	for range 200 {
		if err := c[0].Pause(); err != nil {
			t.Fatal(err)
		}
		if err := c[0].Resume(); err != nil {
			t.Fatal(err)
		}
	}
	if err := c[0].Deliver(ctx, "s", "done"); err != nil {
		t.Fatal(err)
	}
	seen := 0
	for e := range events {
		if seen++; e.Kind == mesh.EventLagged {
			if e.Count < 1 || seen-1+e.Count < 400 {
				t.Fatalf("%d events seen, %d missed", seen, e.Count)
			}
			return
		}
	}
	t.Fatal("nothing was missed, or nobody said so")
}

// TestFullInbox: a message larger than the inbox arrives although another waits there; what finds no room then waits, and who
// gives up hears why; and it arrives when the application takes what is there.
func TestFullInbox(t *testing.T) {
	_, a, b := trio(t, func(cfg *mesh.Config) { cfg.InboxBytes = 64 << 10 })
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for _, size := range []int{10, 1 << 20} {
		if err := a.Deliver(ctx, "b", make([]byte, size)); err != nil {
			t.Fatal(err)
		}
	}
	short, stop := context.WithTimeout(ctx, 50*time.Millisecond)
	defer stop()
	if err := a.Deliver(short, "b", make([]byte, 10)); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "inbox is full") {
		t.Errorf("%v", err)
	}
	for _, size := range []int{10, 1 << 20, 10} {
		if m, err := b.Receive(ctx); err != nil || len(m.Bytes()) != size {
			t.Fatalf("%d bytes, want %d: %v", len(m.Bytes()), size, err)
		}
	}
	if err := a.Flush(ctx); err != nil {
		t.Error(err)
	}
}
