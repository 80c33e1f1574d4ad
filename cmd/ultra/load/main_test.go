package load

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// be tells this test binary to be another program: one of those below.
const be = "BE_LOAD"

func TestMain(m *testing.M) {
	var err error
	switch os.Getenv(be) {
	case "peer":
		err = BePeer(os.Stdin, os.Stdout, func(c PeerConfig) (string, func(), error) {
			if c.Secret != nil {
				return "", nil, errors.New("no secrets here")
			}
			return "here", func() {}, nil
		})
	case "side":
		err = Serve(context.Background(), os.Stdin, os.Stdout, NewSide(openMemory(faults{})))
	default:
		goleak.VerifyTestMain(m)
	}
	if err != nil {
		os.Exit(1)
	}
	os.Exit(0)
}

func other(t *testing.T, what string) *exec.Cmd {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), be+"="+what)
	return cmd
}

// faults are what a way in memory does wrong, once.
type faults struct {
	drop   bool
	repeat bool
	swap   bool
	damage bool
}

// memory is an outlet and an inlet with a channel between them. For one sender and one receiver.
type memory struct {
	ch     chan []byte
	faults faults
	sent   int
	held   []byte
}

const faultAt = 3 // the message with which something goes wrong

func (o *memory) Send(ctx context.Context, m []byte) error {
	m = append([]byte(nil), m...)
	o.sent++
	list := [][]byte{m}
	if o.held != nil {
		list = append(list, o.held)
		o.held = nil
	}
	if o.sent == faultAt {
		switch f := o.faults; {
		case f.drop:
			list = nil
		case f.repeat:
			list = append(list, m)
		case f.swap:
			o.held, list = m, nil
		case f.damage:
			list[0] = m[1:]
		}
	}
	for _, m := range list {
		select {
		case o.ch <- m:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	time.Sleep(10 * time.Microsecond) // in a bubble nothing else lets time go on
	return nil
}

func (o *memory) Flush() error { return nil }

func (o *memory) Take(ctx context.Context, f func(m []byte) bool) error {
	for {
		select {
		case m := <-o.ch:
			if !f(m) {
				return nil
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// memoryCallers are callers whose messages go to a memory, and who are answered at once.
type memoryCallers struct{ to *memory }

func (c memoryCallers) Ask(ctx context.Context, a *Asks) error {
	done := make([]bool, a.Callers())
	for left := len(done); left > 0; {
		for i := range done {
			if done[i] {
				continue
			}
			began := a.Began()
			m, last := a.Source(i).Next(0)
			if err := c.to.Send(ctx, m); err != nil {
				return err
			}
			if a.Check(m[:HeaderSize]) != i {
				return errors.New("an answer is somebody else's")
			}
			a.Answered(began)
			if done[i] = last; last {
				left--
			}
		}
	}
	return nil
}

type nothing struct{}

func (nothing) Close() error { return nil }

// openMemory opens ways in memory, with faults in all of them.
func openMemory(f faults) func(context.Context, Work) (*Way, error) {
	return func(_ context.Context, w Work) (*Way, error) {
		if w.Secret {
			return nil, ErrSkip
		}
		way := &Way{Close: func() {}}
		sources := make([]int, w.Receivers)
		var ins []*memory
		for range w.Receivers {
			ins = append(ins, &memory{ch: make(chan []byte, 8)})
		}
		for _, s := range w.Streams() {
			var outs []Outlet
			for _, target := range w.Targets(s) {
				outs = append(outs, &memory{ch: ins[target].ch, faults: f})
				sources[target]++
			}
			way.Outs = append(way.Outs, outs)
		}
		if w.Asks > 0 {
			callers, _ := w.Callers()
			way.Asker = memoryCallers{&memory{ch: ins[0].ch, faults: f}}
			sources[0] += callers
		}
		for i, in := range ins {
			way.Ins = append(way.Ins, In{in, sources[i]})
		}
		return way, nil
	}
}
