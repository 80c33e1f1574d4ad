package mesh

import (
	"context"
	"testing"

	"ultrasockets/codec"
	"ultrasockets/relay"
)

// newTestNode is a node without a link, which knows b.
func newTestNode(t *testing.T) *Node {
	cfg := Config{Name: "a"}
	set, err := cfg.check()
	if err != nil {
		t.Fatal(err)
	}
	n := newNode(set)
	n.view.setRelay("r")
	roster, _, err := codec.Next(codec.AppendRosterFrames(nil, []codec.Entry{{Name: "b", Instance: 2, MaxMessage: 1 << 20}}, nil))
	if err != nil {
		t.Fatal(err)
	}
	session{n, nil}.HandleFrame(roster, nil)
	return n
}

// moody is a port that has something else to do for the first so many questions, and takes nothing for the first so many writes;
// it never says when that is over: it was over before it was asked again.
type moody struct {
	relay.Port
	busy, full int
	frames     int
}

func (m *moody) Busy() bool {
	m.busy--
	return m.busy >= 0
}

func (m *moody) WriteAll(w *relay.Writing, _ bool) bool {
	if m.full--; m.full >= 0 {
		return false
	}
	m.frames++
	w.Reset()
	return true
}

// TestTurnInBetween: a stream that the link turned away, and that is noted too late to be told when its turn comes, has it all the same.
func TestTurnInBetween(t *testing.T) {
	for name, port := range map[string]*moody{"busy": {busy: 1}, "full": {full: 1}} {
		n := newTestNode(t)
		n.out.port.Store(&portRef{port})
		if err := n.out.send(context.Background(), "b", &draft{body: []byte{1}}); err != nil {
			t.Fatal(err)
		}
		if s := n.out.existing("b"); port.frames != 1 || s.isBlocked {
			t.Errorf("%s: %d frames were written, waiting: %v", name, port.frames, s.isBlocked)
		}
	}
}

// TestForgottenStream: a stream that was forgotten because it held nothing takes no message any more: another does.
func TestForgottenStream(t *testing.T) {
	n := newTestNode(t)
	for range 2 { // the second time it is at hand
		if _, err := n.out.stream("b"); err != nil {
			t.Fatal(err)
		}
	}
	old := n.out.existing("b")
	n.out.mu.Lock()
	n.out.dropIdle()
	n.out.mu.Unlock()
	if err := n.out.send(context.Background(), "b", &draft{body: []byte{1}}); err != nil {
		t.Fatal(err)
	}
	if s := n.out.existing("b"); s == nil || s == old || s.held() != 1 || old.held() != 0 {
		t.Errorf("the message is not in the stream that there is")
	}
	n.out.mu.Lock()
	n.out.dropIdle()
	n.out.mu.Unlock()
	if n.out.existing("b") == nil {
		t.Error("a stream that holds a message was forgotten")
	}
}
