package mesh_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"ultrasockets/mesh"
	"ultrasockets/mesh/meshtest"
)

type reading struct {
	Sensor string    `cbor:"sensor"`
	Values []float64 `cbor:"values"`
	At     time.Time `cbor:"at"`
}

func TestReceiveAs(t *testing.T) {
	ctx := within(t, 10*time.Second)
	m := meshtest.New(t, "a", "b")
	a, b := m.Node("a"), m.Node("b")
	sent := reading{"t1", []float64{21.5, -3}, time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)}
	for _, v := range []any{sent, "no reading at all", map[string]any{"sensor": "t2", "unknown": true}} {
		if err := a.Send(ctx, "b", v); err != nil {
			t.Fatal(err)
		}
	}
	got, msg, err := mesh.ReceiveAs[reading](ctx, b)
	if err != nil || got.Sensor != "t1" || got.Values[1] != -3 || !got.At.Equal(sent.At) || msg.From != "a" || msg.Serial != 1 {
		t.Fatal(got, msg, err)
	}
	got, msg, err = mesh.ReceiveAs[reading](ctx, b)
	if !errors.Is(err, mesh.ErrValue) || msg.Text() != "no reading at all" || got.Sensor != "" {
		t.Fatal("what does not decode is given with the error:", got, msg.Text(), err)
	}
	if got, _, err = mesh.ReceiveAs[reading](ctx, b); err != nil || got.Sensor != "t2" {
		t.Fatal(got, err)
	}
	if _, msg, err := mesh.ReceiveAs[reading](within(t, 10*time.Millisecond), b); !errors.Is(err, context.DeadlineExceeded) || msg.From != "" {
		t.Fatal(msg, err)
	}
	b.Close()
	if _, _, err := mesh.ReceiveAs[reading](ctx, b); !errors.Is(err, mesh.ErrClosed) {
		t.Fatal(err)
	}
}

// A value that decodes in part gives none of it.
func TestAsGivesNoHalf(t *testing.T) {
	ctx := within(t, 10*time.Second)
	m := meshtest.New(t, "a")
	if err := m.Node("a").Send(ctx, "a", map[string]any{"sensor": "t1", "values": "many"}); err != nil {
		t.Fatal(err)
	}
	if got, msg, err := mesh.ReceiveAs[reading](ctx, m.Node("a")); !errors.Is(err, mesh.ErrValue) || got.Sensor != "" || msg.From != "a" {
		t.Fatal(got, msg, err)
	}
}

func TestRequestAs(t *testing.T) {
	ctx := within(t, 10*time.Second)
	m := meshtest.New(t, "a", "b")
	a, b := m.Node("a"), m.Node("b")
	b.Handle(mesh.HandlerOf(func(_ context.Context, from string, q reading) (string, error) {
		if len(q.Values) == 0 {
			return "", errors.New("no values")
		}
		return fmt.Sprintf("%s: %s has %v", from, q.Sensor, q.Values), nil
	}))
	if s, msg, err := mesh.RequestAs[string](ctx, a, "b", reading{Sensor: "t1", Values: []float64{1}}); err != nil || s != "a: t1 has [1]" || msg.From != "b" {
		t.Fatal(s, msg, err)
	}
	if n, msg, err := mesh.RequestAs[int](ctx, a, "b", reading{Sensor: "t1", Values: []float64{1}}); !errors.Is(err, mesh.ErrValue) || n != 0 || msg.Text() != "a: t1 has [1]" {
		t.Fatal(n, msg, err)
	}
	var remote *mesh.RemoteError
	if _, _, err := mesh.RequestAs[string](ctx, a, "b", reading{}); !errors.As(err, &remote) || remote.Text != "no values" {
		t.Fatal(err)
	}
	if _, _, err := mesh.RequestAs[string](ctx, a, "b", "no reading"); !errors.As(err, &remote) {
		t.Fatal(err)
	}
	if _, _, err := mesh.RequestAs[string](ctx, a, "nobody", 1); !errors.Is(err, mesh.ErrNoPeer) {
		t.Fatal(err)
	}
}

func TestHandleKind(t *testing.T) {
	ctx := within(t, 10*time.Second)
	m := meshtest.New(t, "a", "b")
	a, b := m.Node("a"), m.Node("b")
	answers := func(what string) mesh.Handler {
		return func(_ context.Context, m mesh.Message) (any, error) {
			return what + " " + m.From + " " + m.Text(), nil
		}
	}
	b.HandleKind("clock", answers("clock"))
	b.HandleKind("", answers("empty"))
	for _, to := range []*mesh.Node{a, b} { // also from itself
		ask := func(value any) string {
			t.Helper()
			reply, err := to.Request(ctx, "b", value)
			if err != nil {
				return err.Error()
			}
			return reply.Text()
		}
		b.Handle(nil)
		me := to.Name()
		if _, err := to.Request(ctx, "b", "plain"); !errors.Is(err, mesh.ErrNoHandler) {
			t.Error(err)
		}
		if _, err := to.Request(ctx, "b", mesh.OfKind("lamp", 1)); !errors.Is(err, mesh.ErrNoHandler) {
			t.Error(err)
		}
		b.Handle(answers("rest"))
		for _, c := range []struct {
			value any
			want  string
		}{
			{mesh.OfKind("clock", "now"), "clock " + me + " now"},
			{mesh.OfKind("clock", map[string]any{"zone": 1}), "clock " + me + ` {"zone": 1}`},
			{mesh.OfKind("clock", nil), "clock " + me + " null"},
			{mesh.OfKind("clock", []byte("bytes")), "clock " + me + " bytes"},
			{mesh.OfKind("", 1), "empty " + me + " 1"},
			{mesh.OfKind("lamp", 1), "rest " + me + ` {"kind": "lamp", "value": 1}`},
			{map[string]any{"kind": 7, "value": 1}, "rest " + me + ` {"kind": 7, "value": 1}`},
			{map[string]any{"kind": "clock"}, "rest " + me + ` {"kind": "clock"}`},
			{map[string]any{"kind": "clock", "value": 1, "more": 2}, "rest " + me + ` {"kind": "clock", "more": 2, "value": 1}`},
			{"plain", "rest " + me + " plain"},
			{struct {
				Kind  string  `cbor:"kind"`
				Value float64 `cbor:"value"`
			}{"clock", 1.5}, "clock " + me + " 1.5"},
		} {
			if got := ask(c.value); got != c.want {
				t.Errorf("%v: %q, want %q", c.value, got, c.want)
			}
		}
	}
	b.HandleKind("clock", nil)
	if reply, err := a.Request(ctx, "b", mesh.OfKind("clock", 1)); err != nil || reply.Text() != `rest a {"kind": "clock", "value": 1}` {
		t.Error(reply.Text(), err)
	}
}

// Seeds lead a light node to the mesh, too; a static star looks for nobody.
func TestSeedsOfLightNodes(t *testing.T) {
	ctx := within(t, 10*time.Second)
	m := meshtest.New(t, "a")
	cfg := m.Config("light")
	n, err := mesh.Dial(ctx, "127.0.0.1:1", cfg) // where nobody is
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	if err := n.Deliver(ctx, "a", "hello"); err != nil {
		t.Error(err)
	}
	for _, bad := range []mesh.Config{{Name: "x", Seeds: cfg.Seeds}, {Name: "x", Listen: "127.0.0.1:0"}} {
		if _, err := mesh.Listen(ctx, "127.0.0.1:0", bad); !errors.Is(err, mesh.ErrBadConfig) {
			t.Error(err)
		}
	}
}

// TestZeroMessage: what stands beside an error is no message, and prints nothing.
func TestZeroMessage(t *testing.T) {
	var m mesh.Message
	if m.Text() != "" || len(m.Bytes()) != 0 || m.Value() != nil {
		t.Errorf("%q %q %v", m.Text(), m.Bytes(), m.Value())
	}
}

// A pointer to bytes sends them, as they are when Send is called.
func TestSendPointerToBytes(t *testing.T) {
	ctx := within(t, 10*time.Second)
	m := meshtest.New(t, "a", "b")
	a, b := m.Node("a"), m.Node("b")
	var none []byte
	var null *[]byte
	for _, c := range []struct {
		sent *[]byte
		want string
	}{{&[]byte{1, 2}, "[1 2]"}, {&none, "[]"}, {null, "<nil>"}} {
		for _, to := range []string{"b", "a", mesh.ToAll} {
			if err := a.Send(ctx, to, c.sent); err != nil {
				t.Fatal(err)
			}
			if c.sent != nil && len(*c.sent) > 0 {
				(*c.sent)[0]++
			}
			at := b
			if to == "a" {
				at = a
			}
			got, err := at.Receive(ctx)
			if err != nil || fmt.Sprint(got.Value()) != c.want {
				t.Errorf("to %s: %v %v, want %s", to, got.Value(), err, c.want)
			}
			if c.sent != nil && len(*c.sent) > 0 {
				(*c.sent)[0]--
			}
		}
	}
}
