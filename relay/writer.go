package relay

import (
	"errors"
	"net"
	"os"
	"slices"
	"time"
)

// Step 6 of the route: whoever drains an outbox takes all that is pending, turn by
// turn, until nothing is left. On a link that is writer, or a reader that
// finds the link idle (writeDirect); on an attachment it is Run.

// next gives the drainer its next turn. False: nothing is left, and the drainer
// must stop at once.
func (o *outbox) next() bool {
	for {
		o.mu.Lock()
		if o.closed {
			o.discard()
			o.settle()
			o.mu.Unlock()
			return false
		}
		var call func()
		switch {
		case o.rosterDue && o.held <= o.limit/2:
			o.rosterDue, call = false, o.onCaughtUp
		case o.refused && o.roomy && o.held <= o.limit/2:
			o.refused, call = false, o.onRoom
		case len(o.queue) == 0 && o.owed == 0:
			o.settle()
			o.mu.Unlock()
			return false
		default:
			n, size := 0, 0
			for n < min(len(o.queue), turnPieces) && size < turnBytes {
				size += len(o.queue[n].bytes())
				n++
			}
			o.turn = append(o.turn[:0], o.queue[:n]...)
			m := copy(o.queue, o.queue[n:])
			clear(o.queue[m:])
			o.queue = o.queue[:m]
			o.due, o.owed = o.owed, 0
			o.since.Store(int64(o.clock.now()) | 1)
			o.mu.Unlock()
			return true
		}
		o.mu.Unlock()
		if call != nil {
			call()
		}
	}
}

// done gives the turn's memory back.
func (o *outbox) done() {
	n := o.due
	for i := range o.turn {
		n += len(o.turn[i].bytes())
		o.turn[i].free()
	}
	o.turn, o.due = o.turn[:0], 0
	o.since.Store(0)
	o.mu.Lock()
	o.shrink(n)
	o.lastWrite = o.clock.now()
	o.mu.Unlock()
}

// discard throws away what is queued; mu is held.
func (o *outbox) discard() {
	n := o.owed
	for i := range o.queue {
		n += len(o.queue[i].bytes())
		o.queue[i].free()
	}
	o.queue, o.owed = nil, 0
	o.shrink(n)
}

// writer is the drainer of an outbox with a connection: it writes until
// nothing is left. A failed write closes the connection, which its reader finds.
func (o *outbox) writer() {
	defer o.writing.Done()
	for o.next() {
		err := o.writeTurn()
		o.done()
		if err != nil {
			o.close()
			o.conn.Close()
		}
	}
}

func (o *outbox) writeTurn() error {
	o.bufs = o.bufs[:0]
	for i := range o.turn {
		o.bufs = append(o.bufs, o.turn[i].bytes())
	}
	defer clear(o.bufs)
	if s, ok := o.conn.(*secureConn); ok {
		return s.writeBuffers(o.bufs, o)
	}
	o.left = o.bufs // writeFully consumes it
	return writeFully(o.conn, &o.left, o)
}

// writeFully writes all of bufs, and consumes it. A deadline that passes is the question how far it is: see outbox.stuck.
func writeFully(conn net.Conn, bufs *net.Buffers, o *outbox) error {
	for {
		n, err := writeSome(conn, bufs)
		if err == nil || o == nil || !errors.Is(err, os.ErrDeadlineExceeded) {
			return err
		}
		_ = conn.SetWriteDeadline(time.Time{})
		if n > 0 {
			o.progress()
		}
	}
}

// writeSome writes bufs, and leaves in it what could not be written. One buffer alone takes a shorter way than WriteTo's.
func writeSome(conn net.Conn, bufs *net.Buffers) (int64, error) {
	if len(*bufs) != 1 {
		return bufs.WriteTo(conn)
	}
	n, err := conn.Write((*bufs)[0])
	(*bufs)[0] = (*bufs)[0][n:]
	return int64(n), err
}

// writeDirect writes whole frames at once if the outbox is idle, and leaves to the writer
// what the kernel does not take, as put does. False: nothing was done.
func (o *outbox) writeDirect(b []byte, lent *Memory) bool {
	if o.direct == nil {
		return false
	}
	o.mu.Lock()
	if o.state != idle || o.fits(len(b), false) != taken {
		o.mu.Unlock()
		return false
	}
	o.state = busy
	o.grow(len(b))
	o.mu.Unlock()

	n, owed := o.direct.write(b)

	o.mu.Lock()
	o.lastWrite = o.clock.now()
	o.owed = owed
	o.shrink(n - owed)
	if rest := b[n:]; len(rest) > 0 {
		o.requeue(rest, lent)
	}
	if o.closed {
		o.discard()
	}
	if len(o.queue) == 0 && o.owed == 0 && !o.rosterDue && !o.refused {
		o.settle()
		o.mu.Unlock()
		return true
	}
	o.state = marked
	start := o.start()
	o.mu.Unlock()
	if start {
		o.drain()
	}
	return true
}

// requeue puts what writeDirect could not write before everything that came
// meanwhile; its bytes are counted already. mu is held.
func (o *outbox) requeue(rest []byte, lent *Memory) {
	later := slices.Clone(o.queue)
	o.queue = o.queue[:0]
	o.keep(rest, lent)
	o.queue = append(o.queue, later...)
}
