package relay

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"runtime"
	"testing"
	"time"

	"ultrasockets/codec"
)

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
	last := codec.Frame{
		Kind: codec.KindData, Flags: 0xff &^ codec.FlagGroup, Packing: 0xff, To: "to", From: "a",
		Stream: 1<<32 - 1, Seq: 1<<32 - 1, Payload: make([]byte, codec.MaxPayload),
	}
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
	kinds := []codec.Kind{codec.KindData, codec.KindAck, codec.KindReset, codec.KindUnreachable, codec.KindPing, codec.KindPong, 0x80}
	var speeches [][]byte
	for _, from := range []string{"victim", "relay", "", "Victim", "victim\x00", "witness", "Impostor", "impostor2"} {
		for _, to := range []string{"witness", "victim", "relay", "impostor"} {
			for _, k := range kinds {
				speeches = append(speeches, frame(k, 0, from, to))
			}
		}
		speeches = append(speeches, frame(codec.KindData, codec.FlagGroup, from, "g"))
	}
	almost := hello("victim").Token
	almost[codec.TokenSize-1] ^= 1
	var hellos []codec.Hello
	for _, name := range []string{"victim", "relay"} {
		for _, wrong := range [][]byte{nil, make([]byte, codec.TokenSize), almost, hello("impostor").Token} {
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
		f = ws.next(t, kinds...)
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
			cfg := DialConfig{Hello: hello("recorded"), Secret: secret}
			cfg.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
				c, err := new(net.Dialer).DialContext(ctx, network, addr)
				return recorder{c, &session}, err
			}
			l, err := Dial(context.Background(), s.addr, cfg)
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
			for _, text := range []string{"known text", "recorded", "witness"} {
				if found := bytes.Contains(session.Bytes(), []byte(text)); found != (secret == nil) {
					t.Errorf("%q can be read on the wire: %v", text, found)
				}
			}
			// After its first ping the witness says nothing for a minute.
			waitFor(t, s.hub, "the end of the recorded session", func() bool { return s.hub.Links() == 1 && witness.RTT() > 0 })
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
			want := uint64(n)
			if secret != nil {
				want = 0
			}
			if admitted != want || routed != want*frames || want == 0 && st.FramesIn != before.FramesIn {
				t.Errorf("%d of %d admitted, %d frames routed: %+v, before %+v", admitted, n, routed, st, before)
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
