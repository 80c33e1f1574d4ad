package relay

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/flynn/noise"

	"ultrasockets/codec"
)

// Every parser and state machine of this package has a fuzz target: go test ./relay -fuzz=FuzzHandshake -fuzztime 100000x

// strangerly are first words for the fuzzers to begin with: good ones, and what else comes to a port.
func strangerly() [][]byte {
	hi := hello("a")
	good := codec.Frame{Kind: codec.KindHello, Payload: hi.Append(nil)}
	whole := good.Append(preamble(1, codec.ModeOpen))
	return [][]byte{
		whole,
		append(bytes.Clone(whole), data("a", "relay", 1, 1, "x")...),
		append(bytes.Clone(whole), data("b", "relay", 1, 1, "x")...),
		append(bytes.Clone(whole), whole...),
		append(preamble(1, codec.ModeSecret), 0, 48, 1, 2, 3),
		[]byte("GET / HTTP/1.1\r\n\r\n"),
		binary.BigEndian.AppendUint32(preamble(1, codec.ModeOpen), 1<<32-1),
		append(preamble(1, codec.ModeOpen), data("a", "b", 1, 1, "x")...),
		append(preamble(1, codec.ModeOpen), pingFrame(nil)...),
	}
}

// FuzzHandshake is a stranger who says anything, in two pieces, to a hub in any mood.
func FuzzHandshake(f *testing.F) {
	for _, words := range strangerly() {
		for mood := range byte(8) { // the third bit: with secrets
			f.Add(words, len(words)/2, mood)
		}
	}
	f.Fuzz(func(t *testing.T, in []byte, cut int, mood byte) {
		cfg := HubConfig{Mesh: "lab", Own: hello("relay")}
		if mood&4 != 0 {
			cfg.Secret, cfg.OldSecrets = secretOf(1), [][]byte{secretOf(2)}
		}
		h := NewHub(cfg)
		switch mood & 3 {
		case 0:
			h.Refer("other", nil)
		case 1: // hold
		default:
			runIdle(t, h.Reign(Reign{}))
		}
		ours, theirs := net.Pipe()
		h.receive(theirs)
		go func() {
			cut := min(max(cut, 0), len(in))
			ours.Write(in[:cut])
			ours.Write(in[cut:])
			ours.SetReadDeadline(time.Now())
		}()
		io.Copy(io.Discard, ours)
		ours.Close()
		h.Close()
		if s := h.Stats(); s.Pending != 0 || mood&4 != 0 && s.Admitted != 0 {
			t.Fatalf("%+v", s)
		}
	})
}

// judge is the own node's handler while a stranger speaks: whatever comes must be a whole frame from that one name.
type judge struct {
	ignore
	t    *testing.T
	name string
}

func (j judge) HandleFrame(f codec.Raw, _ *Memory) {
	again, rest, err := codec.Next(f)
	if err != nil || len(again) != len(f) || len(rest) != 0 {
		j.t.Errorf("%x is no frame: %v", f, err)
	}
	switch k := f.Kind(); {
	case k == codec.KindRoster || k == codec.KindUpdate:
		if len(f.From()) != 0 || !f.Valid() {
			j.t.Errorf("%v from %q", k, f.From())
		}
	case string(f.From()) != j.name:
		j.t.Errorf("%v from %q on the link of %q", k, f.From(), j.name)
	}
}

// FuzzSession is a member who says anything, in two pieces, to a hub of either mode, with a limit or without.
func FuzzSession(f *testing.F) {
	update := codec.Update{Changes: []codec.Change{{Op: codec.Changed, Entry: codec.Entry{State: codec.StatePaused}}}}
	frame := codec.Frame{Kind: codec.KindUpdate, Payload: update.Append(nil)}
	group := codec.Frame{Kind: codec.KindData, Flags: codec.FlagGroup, To: "g", From: "a", Payload: []byte("x")}
	bye := byeFrame(&codec.Bye{})
	for _, words := range [][]byte{
		data("a", "relay", 1, 1, "x"), data("b", "relay", 1, 1, "x"), data("a", "nobody", 1, 1, "x"), data("a", "a", 1, 1, "x"),
		pingFrame([]byte("x")), frame.Append(nil), group.Append(data("a", "relay", 0, 0, "x")), bye,
		append(data("a", "relay", 1, 1, "x"), bye...), append(bye, data("a", "relay", 1, 1, "x")...), {0xff, 0xff, 0xff, 0xff},
	} {
		f.Add(words, len(words)-1, false, false)
		f.Add(words, 10, true, true)
	}
	f.Fuzz(func(t *testing.T, in []byte, cut int, secret, limited bool) {
		cfg := HubConfig{Mesh: "lab", Own: hello("relay")}
		if secret {
			cfg.Secret = secretOf(1)
		}
		if limited {
			cfg.Rate = Rate{Messages: 1 << 20, Bytes: 1 << 30}
		}
		h := NewHub(cfg)
		att := h.Reign(Reign{})
		ran := make(chan struct{})
		go func() {
			defer close(ran)
			att.Run(judge{t: t, name: "a"})
		}()
		dial := func(context.Context, string, string) (net.Conn, error) {
			ours, theirs := net.Pipe()
			h.receive(theirs)
			return ours, nil
		}
		l, err := Dial(context.Background(), "pipe", DialConfig{Hello: hello("a"), Secret: cfg.Secret, Dial: dial})
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			cut := min(max(cut, 0), len(in))
			l.conn.Write(in[:cut])
			l.conn.Write(in[cut:])
			l.conn.SetReadDeadline(time.Now())
		}()
		io.Copy(io.Discard, l.conn)
		l.Close()
		h.Close()
		<-ran
		if s := h.Stats(); s.OutboxBytes != 0 || len(h.peers) != 0 {
			t.Fatalf("%d links left, %+v", len(h.peers), s)
		}
	})
}

// FuzzDial is a relay that says anything to a dialler, and to the link if there is one.
func FuzzDial(f *testing.F) {
	answer := codec.Answer{Version: codec.Version, Status: codec.StatusGoOn}
	w := codec.Welcome{Mesh: "lab", Relay: "relay", Heartbeat: time.Second}
	welcome := codec.Frame{Kind: codec.KindWelcome, Payload: w.Append(nil)}
	r := codec.Refusal{Code: codec.RefuseNotNow, Text: "later"}
	refusal := codec.Frame{Kind: codec.KindRefusal, Payload: r.Append(nil)}
	whole := welcome.Append(answer.Append(nil))
	f.Add(whole, false)
	f.Add(append(bytes.Clone(whole), data("b", "a", 1, 1, "x")...), false)
	f.Add(append(append(bytes.Clone(whole), pingFrame([]byte("x"))...), byeFrame(&codec.Bye{})...), false)
	f.Add(refusal.Append(answer.Append(nil)), false)
	f.Add(append(answer.Append(nil), 0, 0), true)
	f.Add(append(answer.Append(nil), 0, 48, 1, 2, 3), true)
	f.Add([]byte("HTTP/1.1 400 Bad Request\r\n\r\n"), false)
	for status := range codec.Status(7) {
		a := codec.Answer{Version: codec.Version, Status: status, Wait: time.Second}
		f.Add(a.Append(nil), false)
	}
	f.Fuzz(func(t *testing.T, in []byte, secret bool) {
		ours, theirs := net.Pipe()
		said := make(chan struct{})
		go func() {
			defer close(said)
			go io.Copy(io.Discard, theirs)
			theirs.Write(in)
			theirs.Close()
		}()
		cfg := &DialConfig{Hello: hello("a")}
		g := greeting{cfg: cfg, raw: ours, conn: ours}
		if secret {
			g.psk = make([]byte, 32)
		}
		welcome, err := g.within(context.Background())
		if err != nil {
			ours.Close()
			<-said
			return
		}
		if secret || welcome.Heartbeat <= 0 {
			t.Fatalf("%+v", welcome)
		}
		l := newLink(g.conn, g.in, welcome, cfg)
		if err := l.Run(ignore{}); err == nil {
			t.Fatal("it ended without an error")
		}
		<-said
	})
}

// FuzzRecords gives the secure channel's reader anything.
func FuzzRecords(f *testing.F) {
	f.Add([]byte{0, 0}, 1)
	f.Add([]byte{0xff, 0xff, 1, 2, 3}, 2)
	f.Add(append([]byte{0, 16}, make([]byte, 16)...), 3)
	f.Fuzz(func(t *testing.T, in []byte, step int) {
		s := &secureConn{Conn: &scripted{in: in, step: max(1, step%4096)}}
		s.dec = newHalf(noise.UnsafeNewCipherState(cipherSuite, [32]byte{1}, 0))
		if n, err := io.Copy(io.Discard, s); n > 0 || err == nil && len(in) >= 2 && binary.BigEndian.Uint16(in) <= uint16(min(len(in)-2, 1<<16-1)) {
			t.Fatalf("%d bytes came through: %v", n, err)
		}
	})
}

// FuzzTamper changes what travels through the secure channel: nothing is read that was not written, and nothing out of order; and
// where records are changed, nothing after that.
func FuzzTamper(f *testing.F) {
	for op := range byte(6) {
		f.Add(uint16(20), uint16(sealFrom), uint16(3), uint32(25), op, 7)
		f.Add(uint16(sealFrom), uint16(codec.MaxPayload), uint16(1), uint32(300), op, 1000)
	}
	f.Fuzz(func(t *testing.T, one, two, three uint16, at uint32, op byte, step int) {
		var wire bytes.Buffer
		var frames []codec.Raw
		var heads []int // where what is sent of each frame begins
		w := packing(&wire, true)
		for i, size := range []uint16{one, two, three} {
			frames = append(frames, data("a", "b", 1, uint32(i), strings.Repeat(string('a'+rune(i)), int(size)%(codec.MaxPayload+1))))
			heads = append(heads, wire.Len())
			if _, err := w.Write(frames[i]); err != nil {
				t.Fatal(err)
			}
		}
		sent := bytes.Clone(wire.Bytes())
		got := bytes.Clone(sent)
		change := int(at) % len(sent)
		which := change % len(frames)
		part := sent[heads[which]:len(sent):len(sent)]
		if which+1 < len(heads) {
			part = part[:heads[which+1]-heads[which]]
		}
		switch op % 6 {
		case 0: // nothing
		case 1:
			got[change] ^= 1 << (step & 7)
		case 2:
			got = got[:change]
		case 3: // one twice
			got = slices.Concat(sent[:heads[which]], part, sent[heads[which]:])
		case 4: // one is missing
			got = slices.Concat(sent[:heads[which]], sent[heads[which]+len(part):])
		case 5: // an old one at the end
			got = append(got, part...)
		}
		read, err := io.ReadAll(unpacking(got, max(1, step%4096)))
		var o codec.Opener
		next, valid := 0, 0
		for {
			f, rest, _ := codec.Next(read)
			if f == nil {
				break
			}
			if f = o.Open(f); f.Valid() {
				if n := int(f.Seq()); n < next || n >= len(frames) || !bytes.Equal(f, frames[n]) {
					t.Fatalf("frame %d was read after %d, or was never written", n, next)
				}
				next, valid = int(f.Seq())+1, valid+1
			}
			read = rest
		}
		if whole := op%6 == 0; whole && (err != nil || valid != len(frames)) {
			t.Fatalf("%d of %d frames: %v", valid, len(frames), err)
		}
		if op%6 == 1 && valid == len(frames) {
			t.Fatal("a change makes no difference")
		}
		if (op%6 == 3 || op%6 == 5) && !errors.Is(err, ErrProtocol) {
			t.Fatalf("one twice: %v", err)
		}
	})
}

// writeOnly is a connection that only takes.
type writeOnly struct {
	net.Conn
	w io.Writer
}

func (c writeOnly) Write(b []byte) (int, error) { return c.w.Write(b) }

// FuzzRoute gives the router anything, cut anywhere.
func FuzzRoute(f *testing.F) {
	f.Add(data("from", "to", 1, 1, "x"), 3)
	f.Add(append(data("from", "to", 1, 1, "x"), data("from", "nobody", 2, 1, "y")...), 40)
	f.Add(append(data("from", "", 0, 0, "x"), data("from", "from", 2, 1, "y")...), 1)
	f.Add(append(pingFrame([]byte("x")), 0xff, 0xff, 0xff, 0xff), 100)
	f.Fuzz(func(t *testing.T, in []byte, cut int) {
		x := newRouterBench(16)
		x.batch.own = func(codec.Raw) error { return nil }
		x.batch.from.out = &outbox{limit: 1 << 20, clock: new(coarse), drain: func() {}}
		var out []byte
		cut = min(max(cut, 0), len(in))
		n, err := x.batch.route(in[:cut], nil)
		if err == nil {
			x.batch.route(in[n:], nil) // whatever it says of the rest, no frame may be made up
		}
		for x.to.next() {
			for i := range x.to.turn {
				b := x.to.turn[i].bytes()
				out = append(out, b...)
			}
			x.to.done()
		}
		for len(out) > 0 {
			frame, rest, err := codec.Next(out)
			if err != nil || frame == nil {
				t.Fatalf("a broken frame was forwarded: %v", err)
			}
			if string(frame.From()) != "from" {
				t.Fatalf("from %q", frame.From())
			}
			out = rest
		}
	})
}
