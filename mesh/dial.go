package mesh

import (
	"context"
	"errors"
	"net"
	"time"
)

// How a seek connects: to the first of a target's addresses that answers.

const stagger = 100 * time.Millisecond // between the addresses of one target

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
