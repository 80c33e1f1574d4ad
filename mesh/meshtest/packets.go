package meshtest

import (
	"errors"
	"net"
	"os"
	"sync"
	"time"
)

const (
	mailboxPackets = 4096    // packets that wait to be read; more are lost, as in a kernel
	mailboxBytes   = 2 << 20 // likewise
)

// mailbox is a packet socket. What it gets waits there until it has arrived. Safe for concurrent use.
type mailbox struct {
	// static
	net  *network
	host *host
	addr net.Addr
	key  string
	real net.PacketConn // nil: in memory

	mu     sync.Mutex
	cond   sync.Cond
	queue  []packet
	bytes  int
	readBy deadline
	alarm  *time.Timer
	closed bool
}

type packet struct {
	data  []byte
	from  net.Addr
	owner *host // nil: somebody outside the mesh
	stamp
}

// put takes a packet that was sent to this socket. The mailbox owns data. It is lost if the way is bad.
func (b *mailbox) put(data []byte, from net.Addr, owner *host) {
	p := packet{data, from, owner, stampNow(time.Now())}
	c := b.net.conditions.Load()
	w := c.way(owner, b.host, Gossip)
	if w.cut || w.lost(p.stamp) || owner != nil && c.suspended[owner.name] {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed || len(b.queue) >= mailboxPackets || b.bytes+len(data) > mailboxBytes {
		return
	}
	b.queue = append(b.queue, p)
	b.bytes += len(data)
	b.cond.Broadcast()
}

// ReadFrom implements net.PacketConn.
func (b *mailbox) ReadFrom(dst []byte) (int, net.Addr, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for {
		now := time.Now()
		switch {
		case b.closed:
			return 0, nil, &net.OpError{Op: "read", Net: "udp", Addr: b.addr, Err: net.ErrClosed}
		case b.readBy.passed(now):
			return 0, nil, &net.OpError{Op: "read", Net: "udp", Addr: b.addr, Err: os.ErrDeadlineExceeded}
		}
		i, at := b.first()
		if i >= 0 && !at.After(now) {
			p := b.queue[i]
			b.queue = append(b.queue[:i], b.queue[i+1:]...)
			b.bytes -= len(p.data)
			return copy(dst, p.data), p.from, nil
		}
		if i >= 0 {
			b.wakeAt(at)
		}
		b.cond.Wait()
	}
}

// first finds the packet that arrives before all others, if one does. mu is held.
func (b *mailbox) first() (first int, at time.Time) {
	first = -1
	c := b.net.conditions.Load()
	if c.suspended[b.host.name] {
		return first, at
	}
	for i := range b.queue {
		p := &b.queue[i]
		w := c.way(p.owner, b.host, Gossip)
		w.loss = 0 // what is here was not lost
		if t := w.arrival(p.stamp); first < 0 || t.Before(at) {
			first, at = i, t
		}
	}
	return first, at
}

func (b *mailbox) wakeAt(at time.Time) {
	d := max(time.Until(at), 0)
	if b.alarm == nil {
		b.alarm = time.AfterFunc(d, b.wake)
	} else {
		b.alarm.Reset(d)
	}
}

func (b *mailbox) wake() {
	b.mu.Lock()
	b.cond.Broadcast()
	b.mu.Unlock()
}

// WriteTo implements net.PacketConn. What cannot be delivered is lost without a word.
func (b *mailbox) WriteTo(data []byte, to net.Addr) (int, error) {
	b.mu.Lock()
	closed := b.closed
	b.mu.Unlock()
	if closed {
		return 0, &net.OpError{Op: "write", Net: "udp", Addr: b.addr, Err: net.ErrClosed}
	}
	n := b.net
	if b.real == nil {
		n.mu.Lock()
		dst := n.mailboxes["udp"+to.String()]
		n.mu.Unlock()
		if dst != nil {
			dst.put(append([]byte(nil), data...), b.addr, b.host)
		}
		return len(data), nil
	}
	// To somebody in the mesh, the mailbox there applies the way; to others, nobody does but this.
	if n.owner("udp", to.String()) == nil {
		c := n.conditions.Load()
		if w := c.way(b.host, nil, Gossip); !w.open() || w.lost(stampNow(time.Time{})) {
			return len(data), nil
		}
	}
	return b.real.WriteTo(data, to)
}

// pump takes what the real socket gets.
func (b *mailbox) pump() {
	buf := make([]byte, 1<<16)
	for {
		n, from, err := b.real.ReadFrom(buf)
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil: // Windows: an earlier packet found no receiver
			select {
			case <-b.net.quit:
				return
			case <-time.After(10 * time.Millisecond):
			}
		default:
			b.put(append([]byte(nil), buf[:n]...), from, b.net.owner("udp", from.String()))
		}
	}
}

// Close implements net.PacketConn.
func (b *mailbox) Close() error {
	b.mu.Lock()
	if b.closed {
		b.mu.Unlock()
		return net.ErrClosed
	}
	b.closed = true
	b.queue, b.bytes = nil, 0
	b.readBy.set(time.Time{}, nil)
	if b.alarm != nil {
		b.alarm.Stop()
	}
	b.cond.Broadcast()
	b.mu.Unlock()
	n := b.net
	n.mu.Lock()
	if n.mailboxes[b.key] == b {
		delete(n.mailboxes, b.key)
	}
	delete(n.watchers, b)
	n.mu.Unlock()
	if b.real != nil {
		return b.real.Close()
	}
	return nil
}

// LocalAddr implements net.PacketConn.
func (b *mailbox) LocalAddr() net.Addr { return b.addr }

// SetDeadline implements net.PacketConn. Writing never waits.
func (b *mailbox) SetDeadline(t time.Time) error { return b.SetReadDeadline(t) }

// SetReadDeadline implements net.PacketConn.
func (b *mailbox) SetReadDeadline(t time.Time) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return net.ErrClosed
	}
	b.readBy.set(t, b.wake)
	b.cond.Broadcast()
	return nil
}

// SetWriteDeadline implements net.PacketConn.
func (b *mailbox) SetWriteDeadline(time.Time) error { return nil }
