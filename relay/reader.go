package relay

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"time"

	"ultrasockets/codec"
)

// How a link's reader ends, apart from errors of the network.
var (
	errBye      = errors.New("the node said bye")
	errReplaced = errors.New("replaced by a newer link of the same instance")
)

// farewell is how long last words may take before a link is cut.
const farewell = time.Second

// peer is the hub's end of a link. Its goroutine reads, and owns the writer.
type peer struct {
	// static
	hub         *Hub
	conn        net.Conn
	seat        seat
	out         outbox
	token       []byte
	instance    uint64
	wantsRoster bool
	gone        chan struct{} // closed when the reader has gone: no frame of it will be routed
	ended       chan struct{} // closed, under Hub.mu, when the link is to end

	lastRead atomic.Int64
	beat     atomic.Int64          // the heartbeat it was told
	doubted  atomic.Bool           // it was asked whether it lives, and nothing has been read since
	stopped  atomic.Bool           // the reader must route no more
	cause    atomic.Pointer[error] // why the link was killed

	// owned by the reader
	in        inbuf
	batch     batch
	limit     *limit        // nil: none
	updates   bucket        // what it may say of itself
	owed      time.Duration // for updates of the batch
	comforted time.Duration // when a node that is slowed down was last told that the relay lives

	// guarded by Hub.mu
	listing
	heard    uint64        // number of the first change that its last roster has not
	replaced bool          // whoever takes over sees to the name
	probed   time.Duration // when it was asked whether it lives
}

// run is the life of a link after its handshake.
func (p *peer) run() {
	defer p.hub.wg.Done()
	err := p.read()
	p.in.free()
	p.hub.unlink(p, err)
	close(p.gone)
	p.finish(err)
	p.hub.forget(p)
}

// read routes what comes until the link ends.
func (p *peer) read() error {
	clock := &p.hub.clock
	var frames frameWatch
	for {
		if len(p.in.data()) > 0 {
			if p.stopped.Load() {
				return errReplaced
			}
			n, err := p.batch.route(p.in.data(), p.in.lend())
			if err != nil {
				return err
			}
			// Whoever has what was routed may open it where it is: owes looks at lengths, which stay as they are.
			if wait := p.owes(p.in.data()[:n]); wait > 0 {
				p.pause(wait)
			}
			p.in.consume(n)
			p.in.reserve(wholeFrame(p.in.data()))
			if err := frames.check(clock.now(), n, len(p.in.data())); err != nil {
				return err
			}
		}
		now := clock.now()
		p.in.rest(now)
		if s, ok := p.conn.(*secureConn); ok {
			s.rest(now)
		}
		if n, err := p.in.fill(p.conn); n == 0 {
			return p.why(err)
		}
		p.lastRead.Store(int64(clock.now()))
		if p.doubted.Load() {
			p.doubted.Store(false)
		}
	}
}

// wholeFrame is the size of the frame that data begins with, 0 if that is not known yet. The length has been checked by codec.Next.
func wholeFrame(data []byte) int {
	if len(data) < 4 {
		return 0
	}
	return 4 + int(uint32(data[0])<<24|uint32(data[1])<<16|uint32(data[2])<<8|uint32(data[3]))
}

// why is what ended the link, given what the read said.
func (p *peer) why(err error) error {
	if cause := p.cause.Load(); cause != nil {
		return *cause
	}
	if p.stopped.Load() {
		return errReplaced
	}
	return err
}

// kill ends the link at once; Hub.mu is held.
func (p *peer) kill(err error) {
	p.cause.CompareAndSwap(nil, &err)
	p.end()
	p.conn.Close()
}

// stop makes the reader go, without cutting off what is still to be written; Hub.mu is held.
func (p *peer) stop() {
	p.stopped.Store(true)
	p.end()
	_ = p.conn.SetReadDeadline(time.Unix(1, 0))
}

func (p *peer) end() {
	if !isClosed(p.ended) {
		close(p.ended)
	}
}

// own takes the frames for the relay itself.
func (p *peer) own(f codec.Raw) error {
	if f.Kind() == codec.KindPing && len(f.Payload()) <= codec.MaxPing {
		p.pong(f.Payload())
		return nil
	}
	return p.hub.own(&p.batch, f, p.update)
}

// pong answers a ping, and tells the heartbeat from now on if it has grown.
func (p *peer) pong(payload []byte) {
	if beat := p.hub.beat.Load(); beat > p.beat.Load() {
		p.beat.Store(beat)
		var longer [codec.MaxPing + codec.PongBeat]byte
		payload = binary.BigEndian.AppendUint32(append(longer[:0], payload...), uint32(time.Duration(beat).Milliseconds()))
	}
	p.batch.reply(codec.Frame{Kind: codec.KindPong, Payload: payload})
}

// dead is how long nothing may be read from it: three of its heartbeats.
func (p *peer) dead() time.Duration { return deadBeats * time.Duration(p.beat.Load()) }

func (p *peer) update(e codec.Entry) {
	p.owed = p.updates.take(1, p.hub.clock.now())
	p.hub.update(p, e)
}

// finish says the last words that err asks for, closes the connection and
// waits for the writer.
func (p *peer) finish(err error) {
	var bye *codec.Bye
	switch {
	case errors.Is(err, errBye):
		p.drain(nil)
		p.conn.Close()
	case errors.Is(err, errReplaced):
		bye = &codec.Bye{Reason: codec.ByeReplaced, Text: errReplaced.Error()}
	case errors.Is(err, ErrProtocol):
		bye = &codec.Bye{Reason: codec.ByeProtocol, Text: err.Error()}
	default:
		p.conn.Close()
	}
	if bye != nil && p.drain(bye) {
		lingerClose(p.conn)
	} else {
		p.conn.Close()
	}
	p.out.close()
	p.out.writing.Wait()
}

// drain seals the outbox with last words and waits until it is empty. False: that took too long.
func (p *peer) drain(bye *codec.Bye) bool {
	var last []byte
	if bye != nil {
		last = byeFrame(bye)
	}
	timer := time.NewTimer(farewell)
	defer timer.Stop()
	select {
	case <-p.out.finish(last):
		return true
	case <-timer.C:
	case <-p.hub.done:
	}
	return false
}

func byeFrame(bye *codec.Bye) []byte {
	f := codec.Frame{Kind: codec.KindBye, Payload: bye.Append(nil)}
	return f.Append(nil)
}

// own serves the frames that a node addresses to the relay. Their checksum has been verified.
func (h *Hub) own(b *batch, f codec.Raw, update func(codec.Entry)) error {
	switch f.Kind() {
	case codec.KindPing:
		if len(f.Payload()) > codec.MaxPing {
			return fmt.Errorf("%w: a ping of %d bytes", ErrProtocol, len(f.Payload()))
		}
		b.reply(codec.Frame{Kind: codec.KindPong, Payload: f.Payload()})
	case codec.KindPong:
	case codec.KindBye:
		return errBye
	case codec.KindUpdate:
		if len(f.Payload()) > codec.MaxHello {
			return fmt.Errorf("%w: an update of %d bytes", ErrProtocol, len(f.Payload()))
		}
		u, err := codec.ParseUpdate(f.Payload())
		if err != nil {
			h.count.drop(dropMalformed, 1)
			return nil
		}
		for _, c := range u.Changes {
			if c.Op == codec.Changed {
				update(c.Entry)
			}
		}
	default:
		h.count.drop(dropUnknown, 1)
	}
	return nil
}
