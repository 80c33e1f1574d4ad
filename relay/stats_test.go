package relay

import (
	"errors"
	"reflect"
	"testing"
	"time"

	"ultrasockets/codec"
)

// TestEveryDropIsCounted has a frame dropped for each reason there is, and sees that reason counted.
func TestEveryDropIsCounted(t *testing.T) {
	h, addr, _, _ := reignOn(t, HubConfig{Heartbeat: time.Minute, OutboxBytes: minOutbox})
	tight, tightAddr, _, _ := reignOn(t, HubConfig{Heartbeat: time.Minute, TotalOutboxBytes: minOutbox})
	block := string(make([]byte, 8<<10))
	a, deaf := rawLink(t, addr, "a", nil), hello("deaf")
	deaf.WantsRoster = true
	deafLink, err := Dial(t.Context(), addr, DialConfig{Hello: deaf})
	if err != nil {
		t.Fatal(err)
	}
	defer deafLink.Close()
	b := rawLink(t, tightAddr, "a", nil)
	rawLink(t, tightAddr, "deaf", nil)
	frame := func(f codec.Frame) []byte { return f.Append(nil) }
	update := codec.Update{Changes: []codec.Change{{Op: codec.Changed, Entry: codec.Entry{Tags: map[string]string{"x": string(make([]byte, 3000))}}}}}
	bad := pingFrame(nil)
	bad[len(bad)-1]++
	seen := map[string]bool{}
	for _, c := range []struct {
		reason string
		hub    *Hub
		write  func() error
	}{
		{"Absent", h, func() error { _, err := a.Write(data("a", "nobody", 1, 1, "x")); return err }},
		{"Busy", h, func() error { _, err := a.Write(data("a", "deaf", 1, 1, block)); return err }},
		{"Budget", tight, func() error { _, err := b.Write(data("a", "deaf", 1, 1, block)); return err }},
		{"Group", h, func() error {
			_, err := a.Write(frame(codec.Frame{Kind: codec.KindData, Flags: codec.FlagGroup, From: "a", Payload: []byte(block)}))
			return err
		}},
		{"Checksum", h, func() error { _, err := a.Write(bad); return err }},
		{"Unknown", h, func() error { _, err := a.Write(frame(codec.Frame{Kind: 100, From: "a", To: "deaf"})); return err }},
		{"Malformed", h, func() error {
			_, err := a.Write(frame(codec.Frame{Kind: codec.KindUpdate, Payload: []byte{0xa1}}))
			return err
		}},
		{"Updates", h, func() error {
			_, err := a.Write(frame(codec.Frame{Kind: codec.KindUpdate, Payload: update.Append(nil)}))
			return err
		}},
		{"Own", h, func() error { // the relay's answers to one that does not read them
			_, err := a.Write(pingFrame(make([]byte, codec.MaxPing)))
			return err
		}},
	} {
		count := func() uint64 { return reflect.ValueOf(c.hub.Stats().Dropped).FieldByName(c.reason).Uint() }
		a.SetWriteDeadline(time.Now().Add(4 * waitLimit))
		for count() == 0 {
			if err := c.write(); err != nil {
				t.Fatalf("%s is not counted: %v, %+v", c.reason, err, c.hub.Stats().Dropped)
			}
		}
		seen[c.reason] = true
	}
	if n := reflect.TypeFor[Drops]().NumField(); n != int(dropReasons) || n != len(seen) {
		t.Errorf("%d reasons to drop, %d in Stats, %d tried here", dropReasons, n, len(seen))
	}
}

// TestAllowList is the application's own rule, as a list of names: who is not on it is refused, counted, and told why.
func TestAllowList(t *testing.T) {
	allowed := map[string]bool{"pump": true, "valve": true}
	h, addr, _, _ := reignOn(t, HubConfig{Admit: func(h codec.Hello) error {
		if !allowed[h.Name] {
			return errors.New("this mesh has a list of names, and yours is not on it")
		}
		return nil
	}})
	join(t, addr, "pump")
	for _, name := range []string{"stranger", "Pump", "pump2", "pum"} {
		if r := wantRefusal(t, tryDial(t, addr, DialConfig{Hello: hello(name)}), codec.RefuseRule); r.Text == "" {
			t.Fatalf("%+v", r)
		}
	}
	visitor := hello("stranger")
	visitor.Visitor = true
	wantRefusal(t, tryDial(t, addr, DialConfig{Hello: visitor}), codec.RefuseRule)
	if s := h.Stats(); s.Refused[codec.RefuseRule] != 5 || s.Links != 1 {
		t.Fatalf("%+v", s)
	}
	// The rule is asked before a Hello counts as a vote, and again for a node that comes back.
	h.Resign(t.Context(), "", nil)
	wantRefusal(t, tryDial(t, addr, DialConfig{Hello: hello("stranger")}), codec.RefuseRule)
	if v := h.Votes(); len(v) != 0 {
		t.Fatalf("%+v", v)
	}
}
