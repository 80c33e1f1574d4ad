package meshtest

import (
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// pipeBytes is how much one direction of a connection holds; then its writer waits.
const pipeBytes = 128 << 10

// A connection is two pipes. What is written waits in a pipe until, as the conditions of the network are then, it has
// arrived. So faults begin and end at once, also for what is on its way.

// pipe is one direction of a connection. Safe for concurrent use. No call waits with mu held.
type pipe struct {
	// static
	net      *network
	from, to *host // nil: outside the mesh
	kind     *kind
	back     *pipe

	mu     sync.Mutex
	cond   sync.Cond // anything has changed
	buf    []byte    // buf[r:] is on its way
	r      int
	marks  []mark // what that consists of
	end    *stamp // the writer has closed, when
	closed bool   // the reader has
	err    error  // the connection was reset

	readBy, writeBy deadline
	alarm           *time.Timer // wakes the reader
	seen            *conditions // that w was found by
	seenKind        Traffic
	w               way
}

// mark is n bytes that were sent together.
type mark struct {
	n int
	stamp
}

// kind is what a connection is for. Its first byte shows that: until it is written nothing depends on it.
type kind struct{ atomic.Uint32 }

func (k *kind) get() Traffic { return Traffic(k.Load()) }

func (k *kind) note(first byte) {
	if k.Load() == uint32(Everything) {
		t := Gossip
		if first == 'U' { // of the preamble, see codec/WIRE.md
			t = Links
		}
		k.CompareAndSwap(uint32(Everything), uint32(t))
	}
}

// newPipes makes both directions of a connection from a dialler.
func newPipes(n *network, dialler, listener *host) (out, in *pipe) {
	k := new(kind)
	out = &pipe{net: n, from: dialler, to: listener, kind: k}
	in = &pipe{net: n, from: listener, to: dialler, kind: k, back: out}
	out.back = in
	out.cond.L, in.cond.L = &out.mu, &in.mu
	n.watch(out)
	n.watch(in)
	return out, in
}

// wake lets those who wait look again.
func (p *pipe) wake() {
	p.mu.Lock()
	p.cond.Broadcast()
	p.mu.Unlock()
}

// way is how traffic fares at the moment. mu is held.
func (p *pipe) way() *way {
	if c, k := p.net.conditions.Load(), p.kind.get(); c != p.seen || k != p.seenKind {
		p.seen, p.seenKind, p.w = c, k, c.way(p.from, p.to, k)
	}
	return &p.w
}

// read reads what has arrived, and waits for it.
func (p *pipe) read(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for {
		now := time.Now()
		switch {
		case p.closed:
			return 0, net.ErrClosed
		case p.readBy.passed(now):
			return 0, os.ErrDeadlineExceeded
		case p.err != nil:
			return 0, p.err
		case len(b) == 0:
			return 0, nil
		}
		n, end, at := p.take(now, b)
		switch {
		case n > 0:
			p.cond.Broadcast() // there is room
			return n, nil
		case end:
			return 0, io.EOF
		case !at.IsZero():
			p.wakeAt(at)
		}
		p.cond.Wait()
	}
}

// take takes what has arrived. If nothing has: whether the end has, or when something will, as far as that is known.
func (p *pipe) take(now time.Time, b []byte) (n int, end bool, at time.Time) {
	w := p.way()
	if !w.open() {
		return 0, false, at
	}
	if len(p.marks) == 0 {
		if p.end == nil {
			return 0, false, at
		}
		at = w.arrival(*p.end)
		return 0, !at.After(now), at
	}
	arrived := 0
	for _, m := range p.marks {
		if t := w.arrival(m.stamp); t.After(now) {
			at = t
			break
		}
		if arrived += m.n; arrived >= len(b) {
			break
		}
	}
	if arrived == 0 {
		return 0, false, at
	}
	n, at = w.share(now, min(len(b), arrived))
	if n == 0 {
		return 0, false, at
	}
	w.used(now, n)
	p.drop(copy(b[:n], p.buf[p.r:]))
	return n, false, at
}

// drop forgets n bytes that were read.
func (p *pipe) drop(n int) {
	if p.r += n; p.r == len(p.buf) {
		p.r, p.buf = 0, p.buf[:0]
		if cap(p.buf) > pipeBytes/4 {
			p.buf = nil // an idle connection costs little
		}
	}
	i := 0
	for ; n > 0 && n >= p.marks[i].n; i++ {
		n -= p.marks[i].n
	}
	p.marks = p.marks[:copy(p.marks, p.marks[i:])]
	if n > 0 {
		p.marks[0].n -= n
	}
}

// wakeAt wakes the reader then, at the latest.
func (p *pipe) wakeAt(at time.Time) {
	d := max(time.Until(at), 0)
	if p.alarm == nil {
		p.alarm = time.AfterFunc(d, p.wake)
	} else {
		p.alarm.Reset(d)
	}
}

// write sends b, and waits for room.
func (p *pipe) write(b []byte) (n int, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for {
		now := time.Now()
		switch {
		case p.end != nil:
			return n, net.ErrClosed
		case p.writeBy.passed(now):
			return n, os.ErrDeadlineExceeded
		case p.err != nil:
			return n, p.err
		case p.closed && p.heard():
			return n, syscall.EPIPE
		case len(b) == 0:
			return n, nil
		}
		if k := min(len(b), pipeBytes-(len(p.buf)-p.r)); k > 0 {
			p.put(b[:k], now)
			n, b = n+k, b[k:]
			p.cond.Broadcast()
			continue
		}
		p.cond.Wait()
	}
}

// heard tells whether the writer can have heard that the reader has closed. mu is held.
func (p *pipe) heard() bool {
	w := p.net.conditions.Load().way(p.to, p.from, p.kind.get())
	return w.open()
}

func (p *pipe) put(b []byte, now time.Time) {
	if p.r > 0 && len(p.buf)+len(b) > cap(p.buf) {
		p.buf = p.buf[:copy(p.buf, p.buf[p.r:])]
		p.r = 0
	}
	p.buf = append(p.buf, b...)
	if last := len(p.marks) - 1; last >= 0 && (p.marks[last].at.Equal(now) || len(p.marks) >= maxMarks) {
		p.marks[last].n += len(b)
		return
	}
	p.marks = append(p.marks, mark{len(b), stampNow(now)})
}

const maxMarks = 4096 // writes told apart in one pipe

// finish ends the pipe at its writer's end: all that was written still arrives.
func (p *pipe) finish() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.end == nil {
		s := stampNow(time.Now())
		p.end = &s
	}
	p.writeBy.set(time.Time{}, nil)
	p.settle()
}

// settle tells those who wait, and the network when both ends have closed. mu is held.
func (p *pipe) settle() {
	p.cond.Broadcast()
	if p.closed && p.end != nil {
		p.net.forget(p)
	}
}

// abandon ends it at its reader's end.
func (p *pipe) abandon() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	p.buf, p.r, p.marks = nil, 0, nil
	p.readBy.set(time.Time{}, nil)
	if p.alarm != nil {
		p.alarm.Stop()
	}
	p.settle()
}

// reset ends it at both ends, now.
func (p *pipe) reset() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err == nil {
		p.err = syscall.ECONNRESET
	}
	p.buf, p.r, p.marks = nil, 0, nil
	p.cond.Broadcast()
}

// deadline wakes a pipe when it has passed. The pipe's lock guards it.
type deadline struct {
	at    time.Time
	timer *time.Timer
}

func (d *deadline) passed(now time.Time) bool { return !d.at.IsZero() && !now.Before(d.at) }

func (d *deadline) set(at time.Time, wake func()) {
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
	d.at = at
	if wait := time.Until(at); !at.IsZero() && wait > 0 {
		d.timer = time.AfterFunc(wait, wake)
	}
}

// conn is one end of a connection.
type conn struct {
	in, out       *pipe
	local, remote net.Addr
	dialled       bool // it is the dialler's
}

var _ net.Conn = (*conn)(nil)

// Read implements net.Conn.
func (c *conn) Read(b []byte) (int, error) {
	n, err := c.in.read(b)
	return n, c.wrap("read", err)
}

// Write implements net.Conn.
func (c *conn) Write(b []byte) (int, error) {
	if c.dialled && len(b) > 0 {
		c.out.kind.note(b[0])
	}
	n, err := c.out.write(b)
	return n, c.wrap("write", err)
}

func (c *conn) wrap(op string, err error) error {
	if err == nil || err == io.EOF {
		return err
	}
	return &net.OpError{Op: op, Net: "tcp", Source: c.local, Addr: c.remote, Err: err}
}

// Close implements net.Conn.
func (c *conn) Close() error {
	c.out.finish()
	c.in.abandon()
	return nil
}

// CloseWrite ends what is sent, as that of net.TCPConn does.
func (c *conn) CloseWrite() error {
	c.out.finish()
	return nil
}

func (c *conn) reset() {
	c.out.reset()
	c.in.reset()
}

// LocalAddr implements net.Conn.
func (c *conn) LocalAddr() net.Addr { return c.local }

// RemoteAddr implements net.Conn.
func (c *conn) RemoteAddr() net.Addr { return c.remote }

// SetDeadline implements net.Conn.
func (c *conn) SetDeadline(t time.Time) error {
	_ = c.SetReadDeadline(t)
	return c.SetWriteDeadline(t)
}

// SetReadDeadline implements net.Conn.
func (c *conn) SetReadDeadline(t time.Time) error {
	c.in.mu.Lock()
	defer c.in.mu.Unlock()
	if c.in.closed {
		return net.ErrClosed
	}
	c.in.readBy.set(t, c.in.wake)
	c.in.cond.Broadcast()
	return nil
}

// SetWriteDeadline implements net.Conn.
func (c *conn) SetWriteDeadline(t time.Time) error {
	c.out.mu.Lock()
	defer c.out.mu.Unlock()
	if c.out.end != nil {
		return net.ErrClosed
	}
	c.out.writeBy.set(t, c.out.wake)
	c.out.cond.Broadcast()
	return nil
}
