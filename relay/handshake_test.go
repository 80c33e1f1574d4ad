package relay

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"ultrasockets/codec"
)

func tryDial(t testing.TB, addr string, cfg DialConfig) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), waitLimit)
	defer cancel()
	l, err := Dial(ctx, addr, cfg)
	if err == nil {
		l.Close()
	}
	return err
}

func wantRefusal(t testing.TB, err error, code codec.RefusalCode) *codec.Refusal {
	t.Helper()
	var r *codec.Refusal
	if !errors.As(err, &r) || r.Code != code {
		t.Fatalf("got %v, want a refusal with code %d", err, code)
	}
	return r
}

func TestSecrets(t *testing.T) {
	one, two := bytes.Repeat([]byte{1}, 32), bytes.Repeat([]byte{2}, 32)
	for _, c := range []struct {
		name        string
		hub, dialer []byte
		want        error
	}{
		{"both open", nil, nil, nil},
		{"both secret", one, one, nil},
		{"hub secret, dialler open", one, nil, ErrSecretNeeded},
		{"hub open, dialler secret", nil, one, ErrNoSecret},
		{"two secrets", one, two, ErrWrongSecret},
		{"empty secret", one, []byte{}, ErrBadSecret},
		{"short secret", nil, one[:31], ErrBadSecret},
	} {
		t.Run(c.name, func(t *testing.T) {
			h, addr, _, _ := reignOn(t, HubConfig{Secret: c.hub})
			if err := tryDial(t, addr, DialConfig{Hello: hello("a"), Secret: c.dialer}); !errors.Is(err, c.want) {
				t.Fatalf("got %v, want %v", err, c.want)
			}
			if c.want != nil && h.Stats().Admitted != 0 {
				t.Fatal("admitted")
			}
		})
	}
	h := NewHub(HubConfig{Mesh: "lab", Own: hello("relay"), Secret: []byte{}})
	defer h.Close()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Serve(l); !errors.Is(err, ErrBadSecret) {
		t.Fatalf("Serve with an empty secret: %v", err)
	}
}

func TestRefusals(t *testing.T) {
	_, addr, _, _ := reignOn(t, HubConfig{Connections: 1, Admit: func(h codec.Hello) error {
		if h.Tags["bad"] != "" {
			return errors.New("no bad ones")
		}
		return nil
	}})
	h := hello("a")
	h.Mesh = "other"
	wantRefusal(t, tryDial(t, addr, DialConfig{Hello: h}), codec.RefuseMesh)
	h = hello("a")
	h.Tags = map[string]string{"bad": "yes"}
	if r := wantRefusal(t, tryDial(t, addr, DialConfig{Hello: h}), codec.RefuseRule); r.Text != "no bad ones" {
		t.Fatal(r.Text)
	}
	wantRefusal(t, tryDial(t, addr, DialConfig{Hello: hello("relay")}), codec.RefuseNameTaken)
	if err := tryDial(t, addr, DialConfig{Hello: codec.Hello{Name: "-x", Instance: 1}}); !errors.Is(err, codec.ErrBadName) {
		t.Fatal(err)
	}
	join(t, addr, "a")
	wantRefusal(t, tryDial(t, addr, DialConfig{Hello: hello("b")}), codec.RefuseMeshFull)
	other := hello("a")
	other.Token = []byte("0123456789abcdef")
	if r := wantRefusal(t, tryDial(t, addr, DialConfig{Hello: other}), codec.RefuseNameTaken); r.Text != `the other "a" is linked from 127.0.0.1` {
		t.Error(r.Text)
	}
	visitor := hello("v")
	visitor.Visitor = true
	dialTo(t, addr, DialConfig{Hello: visitor})
}

// talk writes to a fresh connection and returns all that comes back.
func talk(t testing.TB, addr string, out []byte) []byte {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(waitLimit))
	if _, err := c.Write(out); err != nil {
		t.Fatal(err)
	}
	in, err := io.ReadAll(c)
	if errors.Is(err, context.DeadlineExceeded) {
		t.Fatal(err)
	}
	return in
}

func preamble(version uint8, mode codec.Mode) []byte {
	return codec.Preamble{Version: version, Mode: mode}.Append(nil)
}

func TestBadInput(t *testing.T) {
	h, addr, _, _ := reignOn(t, HubConfig{})
	status := func(in []byte) codec.Status {
		t.Helper()
		a, err := codec.ParseAnswer(in)
		if err != nil {
			t.Fatalf("%v: %q", err, in)
		}
		return a.Status
	}
	if s := status(talk(t, addr, []byte("\x00\x01\x02junkjunkjunk"))); s != codec.StatusJunk {
		t.Fatal(s)
	}
	if s := status(talk(t, addr, []byte("ULTXxxxx"))); s != codec.StatusJunk {
		t.Fatal(s)
	}
	if s := status(talk(t, addr, preamble(2, codec.ModeOpen))); s != codec.StatusVersion {
		t.Fatal(s)
	}
	if s := status(talk(t, addr, preamble(1, 7))); s != codec.StatusVersion {
		t.Fatal(s)
	}
	for _, req := range []string{"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "POST /x HTTP/1.0\r\n\r\n", "PRI * HTTP/2.0\r\n\r\n"} {
		if in := talk(t, addr, []byte(req)); !strings.HasPrefix(string(in), "HTTP/1.1 400 Bad Request\r\n") {
			t.Fatalf("%q", in)
		}
	}
	// After a good preamble.
	goOn := preamble(1, codec.ModeOpen)
	huge := binary.BigEndian.AppendUint32(bytes.Clone(goOn), 1<<32-1)
	if in := talk(t, addr, huge); len(in) != codec.PreambleSize || status(in) != codec.StatusGoOn {
		t.Fatalf("%q", in)
	}
	first := func(frame codec.Frame) codec.RefusalCode {
		t.Helper()
		in := talk(t, addr, frame.Append(bytes.Clone(goOn)))
		f, _, err := codec.Next(in[codec.PreambleSize:])
		if err != nil || f == nil || f.Kind() != codec.KindRefusal {
			t.Fatalf("%q %v", in, err)
		}
		r, err := codec.ParseRefusal(f.Payload())
		if err != nil {
			t.Fatal(err)
		}
		return r.Code
	}
	for _, f := range []codec.Frame{
		{Kind: codec.KindHello, Payload: make([]byte, codec.MaxHello+1)},
		{Kind: codec.KindHello, Payload: []byte("not CBOR")},
		{Kind: codec.KindData, To: "a", From: "b"},
		{Kind: codec.KindHello, From: "a"},
	} {
		if code := first(f); code != codec.RefuseBadHello {
			t.Fatalf("%+v: %v", f, code)
		}
	}
	bad := codec.Hello{Name: "no good", Instance: 1}
	if code := first(codec.Frame{Kind: codec.KindHello, Payload: bad.Append(nil)}); code != codec.RefuseBadName {
		t.Fatal(code)
	}
	if s := h.Stats(); s.Links != 0 || s.TurnedAway.HTTP != 3 || s.TurnedAway.Junk != 2 || s.TurnedAway.Version != 2 {
		t.Fatalf("%+v", s)
	}
}

// TestCutHandshake ends a good handshake after every byte.
func TestCutHandshake(t *testing.T) {
	h, addr, _, _ := reignOn(t, HubConfig{})
	hi := hello("a")
	f := codec.Frame{Kind: codec.KindHello, Payload: hi.Append(nil)}
	whole := f.Append(preamble(1, codec.ModeOpen))
	for n := range len(whole) {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		c.Write(whole[:n])
		c.Close()
	}
	waitFor(t, h, "the end of the handshakes", func() bool { return h.Stats().Pending == 0 })
	if s := h.Stats(); s.Admitted != 0 {
		t.Fatalf("%+v", s)
	}
	join(t, addr, "a")
}

func TestNotARelay(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan struct{})
	go func() {
		defer close(served)
		for _, answer := range []string{"220 mail.example ESMTP\r\n", "HTTP", "ULTR\x01\x05\x00\x00", ""} {
			c, err := l.Accept()
			if err != nil {
				return
			}
			io.WriteString(c, answer)
			lingerClose(c)
		}
	}()
	for range 3 {
		if err := tryDial(t, l.Addr().String(), DialConfig{Hello: hello("a")}); !errors.Is(err, ErrNotARelay) {
			t.Fatal(err)
		}
	}
	if err := tryDial(t, l.Addr().String(), DialConfig{Hello: hello("a")}); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Fatal(err)
	}
	wait(t, served, "the server")
	l.Close()
	if err := tryDial(t, l.Addr().String(), DialConfig{Hello: hello("a")}); err == nil || errors.Is(err, ErrNotARelay) {
		t.Fatal(err)
	}
}

func placesOf(h *Hub) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.places)
}

// TestWait lets a dialler be told to wait first.
func TestWait(t *testing.T) {
	h, addr, _, _ := reignOn(t, HubConfig{})
	var idle []net.Conn
	for range maxPlaces {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := c.Write(preamble(1, codec.ModeOpen)); err != nil {
			t.Fatal(err)
		}
		idle = append(idle, c)
	}
	waitFor(t, h, "all places to be taken", func() bool { return placesOf(h) == maxPlaces })
	a, err := codec.ParseAnswer(talk(t, addr, preamble(1, codec.ModeOpen)))
	if err != nil || a.Status != codec.StatusWait || a.Wait != waitTime {
		t.Fatalf("%+v %v", a, err)
	}
	dialled := make(chan error, 1)
	go func() {
		dialled <- tryDial(t, addr, DialConfig{Hello: hello("a")})
	}()
	waitFor(t, h, "a second refusal", func() bool { return h.Stats().TurnedAway.Full >= 2 })
	for _, c := range idle {
		c.Close()
	}
	if err := <-dialled; err != nil {
		t.Fatal(err)
	}
}

func TestForeign(t *testing.T) {
	got := make(chan string, 2)
	_, addr, _, _ := reignOn(t, HubConfig{Foreign: func(c net.Conn) bool {
		head := make([]byte, 5)
		if _, err := io.ReadFull(c, head); err != nil {
			return false
		}
		got <- string(head)
		c.Close()
		return true
	}})
	talk(t, addr, []byte("\x0cswim"))
	if s := <-got; s != "\x0cswim" {
		t.Fatalf("%q", s)
	}
	join(t, addr, "a")
}

func TestDialCancelled(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		c, err := l.Accept()
		cancel() // the relay never answers
		if err == nil {
			defer c.Close()
			io.Copy(io.Discard, c)
		}
	}()
	if _, err := Dial(ctx, l.Addr().String(), DialConfig{Hello: hello("a")}); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
}

// scripted is a connection that reads from a slice, a few bytes at a time.
type scripted struct {
	net.Conn
	in   []byte
	step int
}

func (s *scripted) Read(b []byte) (int, error) {
	if len(s.in) == 0 {
		return 0, io.EOF
	}
	n := copy(b[:min(len(b), s.step)], s.in)
	s.in = s.in[n:]
	return n, nil
}
