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

// Each handler waits for the one before it: were they not started in order, all that may run at a time would soon wait
// for one that may not.
func TestAskKeepsOrder(t *testing.T) {
	const asks = 300 // several times what is handled at a time
	ctx := within(t, 10*time.Second)
	m := meshtest.New(t, "a", "b")
	var turns [asks + 1]chan struct{}
	for i := range turns {
		turns[i] = make(chan struct{})
	}
	close(turns[0])
	m.Node("b").Handle(func(ctx context.Context, r mesh.Message) (any, error) {
		i := r.Value().(int64)
		select {
		case <-turns[i]:
			close(turns[i+1])
			return -i, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	})
	var answers []*mesh.Answer
	for i := range asks {
		a, err := m.Node("a").Ask(ctx, "b", i)
		if err != nil {
			t.Fatal(err)
		}
		answers = append(answers, a)
	}
	for i, a := range answers {
		if r, err := a.Wait(ctx); err != nil || r.Value() != int64(-i) {
			t.Fatal(i, r.Value(), err)
		}
	}
}

func TestAskErrors(t *testing.T) {
	ctx := within(t, 10*time.Second)
	m := meshtest.New(t, "a", "b")
	m.Node("b").Handle(func(_ context.Context, r mesh.Message) (any, error) {
		return nil, fmt.Errorf("not %v: %w", r.Value(), mesh.ErrNoHandler)
	})
	if _, err := m.Node("a").Ask(ctx, "nobody", 1); !errors.Is(err, mesh.ErrNoPeer) {
		t.Error(err)
	}
	if _, err := m.Node("a").Ask(ctx, "b", func() {}); !errors.Is(err, mesh.ErrValue) {
		t.Error(err)
	}
	if _, err := m.Node("a").Request(ctx, "b", 1); !errors.Is(err, mesh.ErrNoHandler) {
		t.Error(err)
	}
	a, err := m.Node("a").Ask(ctx, "b", 1)
	if err != nil {
		t.Fatal(err)
	}
	ended, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := a.Wait(ended); !errors.Is(err, context.Canceled) && !errors.Is(err, mesh.ErrNoHandler) {
		t.Error(err)
	}
}
