package mesh

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"
)

// How a seek connects: to the first of a target's addresses that answers, and with one Hello at a time.

const (
	turnFor = 250 * time.Millisecond // a Hello that is not answered gives way to another after this; four times as late the next time
	stagger = 100 * time.Millisecond // between the addresses of one target
)

// turn lets one Hello at a time wait for its answer. One that has waited for long gives way to another, but not to a stranger's:
// to one for which the answer is known already, most likely.
type turn struct {
	mu     sync.Mutex
	holder *turnHolder
}

// claim is how good a target's claim to the turn is.
type claim struct {
	hold     time.Duration // how long its Hello may wait for an answer while others wait for their turn
	stranger bool          // it said that it is of another mesh
}

type turnHolder struct {
	cancel context.CancelFunc
	until  time.Time // from then on another may take the turn away
	done   chan struct{}
}

// take waits for the turn. The function it returns gives it back; cancel is called if another takes it away, after the time
// that it may hold it.
func (t *turn) take(ctx context.Context, cancel context.CancelFunc, c claim) (leave func(), err error) {
	for {
		me := &turnHolder{cancel, time.Now().Add(c.hold), make(chan struct{})}
		t.mu.Lock()
		other := t.holder
		if other == nil {
			t.holder = me
		}
		t.mu.Unlock()
		if other == nil {
			return sync.OnceFunc(func() {
				t.mu.Lock()
				t.holder = nil
				t.mu.Unlock()
				close(me.done)
			}), nil
		}
		if err := other.wait(ctx, c.stranger); err != nil {
			return func() {}, err
		}
	}
}

// wait waits until h gives the turn back, and makes it do so once its time is over, unless it is a stranger who waits.
func (h *turnHolder) wait(ctx context.Context, stranger bool) error {
	late := time.NewTimer(time.Until(h.until))
	defer late.Stop()
	if stranger {
		late.Stop()
	}
	for {
		select {
		case <-h.done:
			return nil
		case <-late.C:
			h.cancel()
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// dialAny connects to the first of several addresses of one target that answers.
func (u *uplink) dialAny(ctx context.Context, network string, addrs []string) (net.Conn, error) {
	if len(addrs) == 1 {
		return u.dialOne(ctx, network, addrs[0])
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type outcome struct {
		conn net.Conn
		err  error
	}
	outcomes := make(chan outcome, len(addrs))
	for i, addr := range addrs {
		go func() { // the loop below waits for it
			select {
			case <-time.After(time.Duration(i) * stagger):
			case <-ctx.Done():
			}
			conn, err := u.dialOne(ctx, network, addr)
			outcomes <- outcome{conn, err}
		}()
	}
	var won net.Conn
	var errs []error
	for range addrs {
		o := <-outcomes
		switch {
		case o.err != nil:
			errs = append(errs, o.err)
		case won == nil:
			won = o.conn
			cancel()
		default:
			o.conn.Close()
		}
	}
	if won != nil {
		return won, nil
	}
	return nil, errors.Join(errs...)
}

func (u *uplink) dialOne(ctx context.Context, network, addr string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	return u.set.Network.DialContext(ctx, network, addr)
}
