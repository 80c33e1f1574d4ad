package relay

import (
	"log/slog"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"ultrasockets/codec"
)

// turner is a Handler that writes at each turn as long as it has something.
type turner struct {
	a     *Attachment
	left  atomic.Int32
	turns atomic.Int32
	now   atomic.Int32 // calls that have not returned
}

func (*turner) HandleFrame(codec.Raw, *Memory)      {}
func (*turner) HandleBatchEnd() (woken, others int) { return 0, 0 }

func (h *turner) HandleWritable() {
	if h.now.Add(1) > 1 {
		panic("two turns at a time")
	}
	defer h.now.Add(-1)
	h.turns.Add(1)
	if h.left.Add(-1) >= 0 {
		h.a.Write(data("s", "nobody", 0, 1, "x"), false)
		h.a.Busy()
	}
}

// TestAttachmentTakesTurns: who has just written through an attachment lets more gather until its next turn, which comes at once,
// and again as long as somebody asks for one; a lone message waits for nobody, nor does one after an acknowledgement.
func TestAttachmentTakesTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := loneAttachment()
		w := &turner{a: a}
		if a.Busy() {
			t.Error("an attachment is busy before it runs")
		}
		ended := make(chan error)
		go func() { ended <- a.Run(w) }()
		time.Sleep(2 * rest)

		if a.Busy() {
			t.Error("an attachment that has rested is busy")
		}
		a.Write(data("s", "nobody", 0, 1, "x"), true)
		if a.Busy() {
			t.Error("an attachment is busy after an acknowledgement")
		}
		a.Write(data("s", "nobody", 0, 1, "x"), false)
		w.left.Store(3)
		if !a.Busy() {
			t.Error("an attachment that has just written is not busy")
		}
		synctest.Wait()
		if got := w.turns.Load(); got != 4 {
			t.Errorf("%d turns, want one for who asked first and three for who wrote and asked again", got)
		}
		time.Sleep(2 * rest)
		if a.Busy() {
			t.Error("an attachment is busy when nobody takes turns any more")
		}
		a.Write(data("s", "nobody", 0, 1, "x"), false)
		a.Busy()
		a.end(ErrClosed)
		if err := <-ended; err != ErrClosed {
			t.Error(err)
		}
		had := w.turns.Load()
		if a.Busy() {
			t.Error("an attachment is busy after its end")
		}
		if synctest.Wait(); w.turns.Load() != had {
			t.Error("a turn was given after Run returned")
		}
	})
}

// loneAttachment is an attachment whose hub has nobody else; it has just written.
func loneAttachment() *Attachment {
	a := &Attachment{hub: &Hub{log: slog.New(slog.DiscardHandler)}, wake: make(chan struct{}, 1), done: make(chan struct{})}
	a.seat = seat{name: "s", out: &a.out}
	a.out = outbox{limit: defaultOutbox, clock: new(coarse), drain: a.notify}
	a.batch = batch{router: &router{count: new(counters), seats: map[string]*seat{"s": &a.seat}}, from: &a.seat, own: func(codec.Raw) error { return nil }}
	a.wrote.Store(int64(monotonic()))
	return a
}

// stumbler is a Handler that panics while a turn waits for it.
type stumbler struct {
	turner
	free chan struct{}
}

func (*stumbler) HandleFrame(codec.Raw, *Memory) { panic("stumbled") }
func (h *stumbler) HandleWritable()              { <-h.free }

// TestAttachmentPanics: a panic of its handler gets out of Run, also while a turn waits for what the handler holds.
func TestAttachmentPanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, h := loneAttachment(), &stumbler{free: make(chan struct{})}
		out := make(chan any)
		go func() {
			defer func() { out <- recover() }()
			a.Run(h)
		}()
		synctest.Wait()
		a.Write(data("s", "nobody", 0, 1, "x"), false)
		if !a.Busy() {
			t.Error("an attachment that has just written is not busy")
		}
		a.Write(data("s", "s", 0, 1, "x"), true)
		if got := <-out; got != "stumbled" {
			t.Error(got)
		}
		close(h.free)
	})
}

// TestSlowWritesGather: writes that take longer than a rest do not count as rests.
func TestSlowWritesGather(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := loneAttachment()
		a.batch.own = func(codec.Raw) error { time.Sleep(2 * rest); return nil }
		ended := make(chan error)
		go func() { ended <- a.Run(&turner{a: a}) }()
		time.Sleep(2 * rest)
		ping := codec.Frame{Kind: codec.KindPing}
		a.Write(ping.Append(nil), false)
		if !a.Busy() {
			t.Error("an attachment that has just written for long is not busy")
		}
		a.end(ErrClosed)
		<-ended
	})
}
