package meshtest

import (
	"net"
	"sync"
)

// backlog is how many connections wait to be accepted in memory; one more is refused.
const backlog = 1024

// listener is where a node takes connections, as it can only while it is not suspended. Safe for concurrent use.
type listener struct {
	// static
	net  *network
	host *host
	addr net.Addr
	key  string
	real net.Listener // nil: in memory

	mu     sync.Mutex
	cond   sync.Cond
	queue  []*conn
	closed bool
}

// offer gives it a connection in memory.
func (l *listener) offer(c *conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed || len(l.queue) >= backlog {
		return false
	}
	l.queue = append(l.queue, c)
	l.cond.Broadcast()
	return true
}

// Accept implements net.Listener.
func (l *listener) Accept() (net.Conn, error) {
	if l.real != nil {
		c, err := l.real.Accept()
		if err == nil && !l.awake() {
			c.Close()
			err = net.ErrClosed
		}
		return c, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for {
		if l.closed {
			return nil, &net.OpError{Op: "accept", Net: "tcp", Addr: l.addr, Err: net.ErrClosed}
		}
		if len(l.queue) > 0 && !l.suspended() {
			c := l.queue[0]
			l.queue = l.queue[1:]
			return c, nil
		}
		l.cond.Wait()
	}
}

// awake waits until the node is not suspended. False: the listener was closed.
func (l *listener) awake() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for !l.closed && l.suspended() {
		l.cond.Wait()
	}
	return !l.closed
}

func (l *listener) suspended() bool { return l.net.conditions.Load().suspended[l.host.name] }

func (l *listener) wake() {
	l.mu.Lock()
	l.cond.Broadcast()
	l.mu.Unlock()
}

// Close implements net.Listener. Connections that were not accepted are reset.
func (l *listener) Close() error {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return net.ErrClosed
	}
	l.closed = true
	queue := l.queue
	l.queue = nil
	l.cond.Broadcast()
	l.mu.Unlock()
	for _, c := range queue {
		c.reset()
		c.Close()
	}
	n := l.net
	n.mu.Lock()
	if n.listeners[l.key] == l {
		delete(n.listeners, l.key)
	}
	delete(n.watchers, l)
	n.mu.Unlock()
	if l.real != nil {
		return l.real.Close()
	}
	return nil
}

// Addr implements net.Listener.
func (l *listener) Addr() net.Addr { return l.addr }
