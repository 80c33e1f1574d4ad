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
	turnFor = 250 * time.Millisecond // a Hello that is not answered gives way to another after this
	stagger = 100 * time.Millisecond // between the addresses of one target
)

// turn lets one Hello at a time wait for its answer. Who waits for too long for that makes the other give way.
type turn struct {
	mu     sync.Mutex
	holder *turnHolder
}

type turnHolder struct {
	cancel context.CancelFunc
	done   chan struct{}
}

// take waits for the turn. The function it returns gives it back; cancel is called if another takes it away.
func (t *turn) take(ctx context.Context, cancel context.CancelFunc) (leave func(), err error) {
	me := &turnHolder{cancel, make(chan struct{})}
	patience := time.NewTimer(turnFor)
	defer patience.Stop()
	for {
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
		select {
		case <-other.done:
		case <-patience.C:
			other.cancel()
		case <-ctx.Done():
			return func() {}, ctx.Err()
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
