package load

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
)

// Help for those who make ways.

// Pushed is an Inlet for messages that come by themselves, in calls that may overlap.
type Pushed struct {
	mu   sync.Mutex
	set  sync.Cond           // f is there, or a waiting Push has lost its context
	f    func(m []byte) bool // of the Take that runs. Guarded by mu, like done.
	done chan struct{}
}

// NewPushed makes an inlet into which messages are pushed.
func NewPushed() *Pushed {
	p := &Pushed{}
	p.set.L = &p.mu
	return p
}

// Push hands over a message, which is the caller's again when it returns. It waits for Take to be called; the error is ctx's.
func (p *Pushed) Push(ctx context.Context, m []byte) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.f == nil {
		defer context.AfterFunc(ctx, p.set.Broadcast)()
		for p.f == nil && ctx.Err() == nil {
			p.set.Wait()
		}
		if p.f == nil {
			return ctx.Err()
		}
	}
	if !p.f(m) {
		p.f = nil
		close(p.done)
	}
	return nil
}

// Take is that of Inlet.
func (p *Pushed) Take(ctx context.Context, f func(m []byte) bool) error {
	done := make(chan struct{})
	p.mu.Lock()
	p.f, p.done = f, done
	p.set.Broadcast()
	p.mu.Unlock()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		p.mu.Lock()
		defer p.mu.Unlock()
		p.f = nil
		return ctx.Err()
	}
}

// Counter counts the bytes that connections carry, in both directions, for Way.Wire. Safe for concurrent use.
type Counter struct{ bytes atomic.Uint64 }

// Total is how many bytes it was until now.
func (c *Counter) Total() uint64 { return c.bytes.Load() }

// Dial dials a connection that is counted.
func (c *Counter) Dial(ctx context.Context, network, addr string) (net.Conn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	return countedConn{conn, &c.bytes}, nil
}

type countedConn struct {
	net.Conn
	bytes *atomic.Uint64
}

func (c countedConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.bytes.Add(uint64(n))
	return n, err
}

func (c countedConn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	c.bytes.Add(uint64(n))
	return n, err
}
