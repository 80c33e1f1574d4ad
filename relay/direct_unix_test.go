//go:build unix

package relay

import (
	"slices"
	"testing"
)

// between is what happens while a reader writes to a link itself.
type between struct{ do func() }

func (b between) Control(func(uintptr)) error    { return nil }
func (b between) Read(func(uintptr) bool) error  { return nil }
func (b between) Write(func(uintptr) bool) error { b.do(); return nil }

// TestBusyIsTold: who heard that an outbox is busy is told when it comes round, whoever is at work.
func TestBusyIsTold(t *testing.T) {
	told := 0
	o := &outbox{limit: 1000, clock: new(coarse), roomy: true, onRoom: func() { told++ }}
	drained := 0
	o.drain = func() {
		for drained++; o.next(); {
			o.done()
		}
	}
	if o.isBusy() {
		t.Fatal("an idle outbox is busy")
	}
	if _, mark := o.put([]byte("frame"), false); !mark || !o.isBusy() {
		t.Fatal("an outbox that waits to be drained is not busy")
	}
	if o.wake(); told != 1 {
		t.Errorf("told %d times by the writer", told)
	}

	frame := []byte("frame")
	o.direct = &direct{}
	o.direct.rc = between{func() {
		if !o.isBusy() {
			t.Error("an outbox that a reader writes to is not busy")
		}
		o.direct.n = len(frame)
	}}
	if told = 0; !o.writeDirect(frame) || told != 1 {
		t.Errorf("told %d times after a reader's write", told)
	}
	if o.held != 0 || o.state != idle || drained != 2 {
		t.Errorf("%d bytes are left, state %d, drained %d times", o.held, o.state, drained)
	}
}

// TestNobodyWaitsBehindALongWrite: who was given a few frames is woken before a long run is written to somebody else.
func TestNobodyWaitsBehindALongWrite(t *testing.T) {
	x := newRouterBench(16)
	woken := false
	x.to.drain = func() { woken = true }
	written := 0
	other := &outbox{limit: defaultOutbox, clock: new(coarse), drain: func() {}}
	long := data("from", "other", 1, 1, string(make([]byte, directRun)))
	other.direct = &direct{}
	other.direct.rc = between{func() {
		if !woken {
			t.Error("it waits until the long run is written")
		}
		written++
		other.direct.n = len(long)
	}}
	x.batch.router.set(&seat{name: "other", out: other})
	x.data = slices.Concat(data("from", "to", 1, 1, "x"), long, data("from", "to", 1, 2, "y"))
	x.turn()
	if written != 1 {
		t.Errorf("the long run was written %d times", written)
	}
}
