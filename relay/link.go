package relay

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"ultrasockets/codec"
)

// errTimeout is what an expired deadline makes of a read.
var errTimeout = os.ErrDeadlineExceeded

// pingSize is the payload of the pings that measure the round trip: their number.
const pingSize = 8

// measureBeats is after how many heartbeats a busy link is pinged all the same, to measure the round trip.
const measureBeats = 10

// maxBeat is the longest heartbeat, in milliseconds.
const maxBeat = 3_600_000

// rest is how long nothing was written on a link that has rested.
const rest = 20 * time.Microsecond

// loneMost is the most that who sends it writes, in one piece: up to there a copy costs less than a writer's start.
const loneMost = 32 << 10

// Link is the dialling end of a link. Safe for concurrent use.
type Link struct {
	// static
	conn    net.Conn
	log     *slog.Logger
	welcome codec.Welcome
	now     clock
	out     outbox
	quit    chan struct{} // closed when the link ends

	clock    coarse       // published by pulse, and at each read
	lastRead atomic.Int64 // of now
	rtt      atomic.Int64
	beat     atomic.Int64    // the heartbeat, as the relay told last
	used     [2]atomic.Int64 // when data, and control frames, were last written, by monotonic

	reading reading

	// owned by who reads
	in      inbuf
	frames  frameWatch
	opener  *codec.Opener // nil: in an open mesh nothing is sealed
	handler Handler

	// guarded by mu
	mu      sync.Mutex
	running bool
	cause   error // why the link ended; set when quit is closed
	leaving bool  // Bye is said: its end is no error
	pingSeq uint64
	pingAt  time.Duration
	over    chan struct{} // closed when Run has returned
}

func newLink(conn net.Conn, in inbuf, w codec.Welcome, cfg *DialConfig) *Link {
	l := &Link{
		conn: conn, in: in, welcome: w,
		now: cfg.Clock, log: cfg.Logger, quit: make(chan struct{}), over: make(chan struct{}),
		reading: reading{nudge: make(chan struct{}, 1)},
	}
	if _, ok := conn.(*secureConn); ok {
		l.opener = new(codec.Opener)
	}
	l.beat.Store(int64(w.Heartbeat))
	if l.now == nil {
		l.now = SystemClock
	}
	if l.log == nil {
		l.log = slog.New(slog.DiscardHandler)
	}
	l.log = l.log.With("node", cfg.Hello.Name, "relay", w.Relay, "mesh", w.Mesh)
	limit := cfg.OutboxBytes
	if limit == 0 {
		limit = defaultOutbox
	}
	l.clock.publish(l.now())
	l.lastRead.Store(int64(l.now()))
	l.out = outbox{
		limit: min(max(limit, minOutbox), maxOutbox), reserve: controlReserve, clock: &l.clock, conn: conn, direct: newDirect(conn),
	}
	writer := l.out.writer
	l.out.drain = func() { go writer() }
	tune(rawConn(conn), l.dead())
	return l
}

// Run reads, or lets those in [Link.Await] read, until the link ends and says why: *ByeError (the relay said Bye),
// ErrLinkDead, ErrStalled, ErrProtocol, ErrClosed (this side left or closed), or the network's error (io.EOF: the
// relay closed without a word). It should be called soon after Dial: only Run keeps the link alive.
func (l *Link) Run(h Handler) error {
	l.mu.Lock()
	if l.running || l.cause != nil {
		err := l.cause
		if l.running {
			err = ErrRunning
		}
		l.mu.Unlock()
		return err
	}
	l.running = true
	l.mu.Unlock()
	defer close(l.over)

	l.out.mu.Lock()
	l.out.onRoom = h.HandleWritable
	l.out.mu.Unlock()
	l.out.listen()
	var pulse sync.WaitGroup
	pulse.Go(l.pulse)
	err := l.end(l.read(h))
	l.in.free()
	pulse.Wait()
	l.out.writing.Wait()
	return err
}

// end closes everything, and returns why the link ended: the first that said so.
func (l *Link) end(err error) error {
	l.mu.Lock()
	if l.cause == nil {
		if l.leaving {
			err = ErrClosed
		}
		l.cause = err
		close(l.quit)
	}
	err = l.cause
	l.mu.Unlock()
	l.out.close()
	l.conn.Close()
	l.reading.end()
	return err
}

// read hands what comes to h until the link ends, and lets others do so meanwhile.
func (l *Link) read(h Handler) error {
	l.handler = h
	for {
		woken, others, err := l.handle()
		for err == nil && l.reading.mayStandBy(woken, others) {
			woken, others, err = l.standBy()
		}
		if err == nil {
			_, err = l.fill()
		}
		if err != nil {
			return err
		}
	}
}

// handle hands over what was read, and returns what HandleBatchEnd does.
func (l *Link) handle() (woken, others int, err error) {
	handled, whole := false, 0
	defer func() {
		if handled { // also when a handler panics: a guest may live on
			woken, others = l.handler.HandleBatchEnd()
		}
	}()
	lent := l.in.lend()
	for err == nil && len(l.in.data()) > 0 && !l.ended() {
		var f codec.Raw
		if f, _, err = codec.Next(l.in.data()); err != nil {
			err = fmt.Errorf("%w: %w", ErrProtocol, err)
			break
		}
		if f == nil {
			l.in.reserve(wholeFrame(l.in.data()))
			break
		}
		if len(f.To()) == 0 && len(f.From()) == 0 && linkOnly(f) {
			err = l.own(f)
		} else {
			handled = true
			l.handler.HandleFrame(openWith(l.opener, f), lent)
		}
		whole += len(f)
		l.in.consume(len(f))
	}
	if err == nil {
		err = l.frames.check(time.Duration(l.lastRead.Load()), whole, len(l.in.data()))
	}
	return 0, 0, err
}

// fill reads once; 0 bytes: it was interrupted, for whoever reads to look whether it still should. What comes after a silence
// longer than the dead time is not to be believed: the relay has given this node up, and it may have a new link.
func (l *Link) fill() (n int, err error) {
	last := time.Duration(l.lastRead.Load())
	l.in.rest(last)
	if s, ok := l.conn.(*secureConn); ok {
		s.rest(last)
	}
	n, err = l.in.fill(l.conn)
	if n == 0 {
		if errors.Is(err, os.ErrDeadlineExceeded) {
			err = rawConn(l.conn).SetReadDeadline(time.Time{})
		}
		return 0, err
	}
	now := l.now()
	if now-last > l.dead() {
		return 0, ErrStalled
	}
	l.lastRead.Store(int64(now))
	return n, nil
}

func (l *Link) ended() bool {
	select {
	case <-l.quit:
		return true
	default:
		return false
	}
}

// own serves the link's own frames.
func (l *Link) own(f codec.Raw) error {
	if !f.Valid() {
		l.log.Warn("a frame of the relay has a bad checksum")
		return nil
	}
	switch f.Kind() {
	case codec.KindPing:
		pong := codec.Frame{Kind: codec.KindPong, Payload: f.Payload()}
		if len(f.Payload()) <= codec.MaxPing {
			l.Write(pong.Append(nil), true)
		}
	case codec.KindPong:
		l.pong(f.Payload())
	case codec.KindBye:
		bye, err := codec.ParseBye(f.Payload())
		if err != nil {
			return fmt.Errorf("%w: %w", ErrProtocol, err)
		}
		return &ByeError{bye}
	}
	return nil
}

// pulse keeps the link alive, measures it, and notices its death.
//
// It pings at the start; when nothing was written, or nothing read, for one
// heartbeat; and every tenth heartbeat at least.
func (l *Link) pulse() {
	tick := min(max(l.heartbeat()/4, minTick), maxTick)
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	l.ping(l.now())
	last := l.now()
	for {
		select {
		case <-l.quit:
			return
		case <-ticker.C:
		}
		now := l.now()
		l.clock.publish(now)
		dead := l.dead()
		if now-last > dead {
			l.end(ErrStalled)
			return
		}
		last = now
		read := time.Duration(l.lastRead.Load())
		if l.out.stuck(now, dead) || now-read > dead {
			l.end(ErrLinkDead)
			return
		}
		l.out.mu.Lock()
		wrote := l.out.lastWrite
		l.out.mu.Unlock()
		l.mu.Lock()
		pinged := l.pingAt
		l.mu.Unlock()
		beat := l.heartbeat()
		due := beat - tick // the next tick would be late
		if now-wrote >= due || now-read >= due && now-pinged >= due || now-pinged >= measureBeats*beat {
			l.ping(now)
		}
	}
}

// ping sends a numbered ping; only the Pong of the newest counts.
func (l *Link) ping(now time.Duration) {
	l.mu.Lock()
	l.pingSeq++
	l.pingAt = now
	payload := binary.BigEndian.AppendUint64(nil, l.pingSeq)
	l.mu.Unlock()
	l.Write(pingFrame(payload), true)
}

func (l *Link) pong(payload []byte) {
	if len(payload) == pingSize+codec.PongBeat {
		l.beat.Store(int64(time.Duration(min(max(1, binary.BigEndian.Uint32(payload[pingSize:])), maxBeat)) * time.Millisecond))
		payload = payload[:pingSize]
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(payload) == pingSize && binary.BigEndian.Uint64(payload) == l.pingSeq {
		l.rtt.Store(int64(max(l.now()-l.pingAt, 1)))
	}
}

// heartbeat is how long the link may be silent.
func (l *Link) heartbeat() time.Duration { return time.Duration(l.beat.Load()) }

// dead is how long nothing may be read: three heartbeats.
func (l *Link) dead() time.Duration { return deadBeats * l.heartbeat() }

// Write implements [Port]. On a link that has rested it writes by itself, which saves a lone message a wake-up; else a
// goroutine writes while the next frames gather. An acknowledgement does not keep the message that answers it from being lone.
func (l *Link) Write(frames []byte, control bool) bool {
	if l.rested(control) && l.out.writeDirect(frames, nil) {
		return true
	}
	switch l.out.write(frames, control) {
	case full, spent:
		return false
	}
	return true
}

// rested tells whether nothing of its kind was written for a while, and notes that something is now.
func (l *Link) rested(control bool) bool {
	used := &l.used[0]
	if control {
		used = &l.used[1]
	}
	now := int64(monotonic())
	return now-used.Swap(now) > int64(rest)
}

// WriteAll implements [Port].
func (l *Link) WriteAll(w *Writing, control bool) bool {
	if l.rested(control) && w.Lone && w.size <= loneMost && l.out.direct != nil && l.out.isIdle() {
		frames, m := w.InOnePiece()
		written := l.out.writeDirect(frames, m)
		m.Release()
		if written {
			w.Reset()
			return true
		}
	}
	switch l.out.writeAll(w, control) {
	case full, spent:
		return false
	case gone:
		w.Reset()
	}
	return true
}

// Busy implements [Port].
func (l *Link) Busy() bool { return l.out.isBusy() }

// Welcome implements [Port].
func (l *Link) Welcome() codec.Welcome { return l.welcome }

// RTT implements [Port].
func (l *Link) RTT() time.Duration { return time.Duration(l.rtt.Load()) }

// Addr implements [Port].
func (l *Link) Addr() net.Addr { return l.conn.RemoteAddr() }

// Leave sends what is queued and a Bye, and waits until the relay has closed:
// at most one second after the Bye is written, and until ctx ends. Frames that come meanwhile still reach the Handler. Run returns ErrClosed.
func (l *Link) Leave(ctx context.Context) error {
	defer l.Close()
	l.mu.Lock()
	running := l.running
	l.leaving = true
	l.mu.Unlock()
	bye := codec.Bye{Reason: codec.ByeLeaving}
	select {
	case <-l.out.finish(byeFrame(&bye)):
	case <-l.quit:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if !running {
		lingerClose(l.conn)
		return nil
	}
	timer := time.NewTimer(farewell)
	defer timer.Stop()
	select {
	case <-l.over:
	case <-timer.C:
	case <-ctx.Done():
	}
	return nil
}

// Close ends the link at once. Without Run it waits for the link's goroutines;
// else Run does.
func (l *Link) Close() error {
	l.end(ErrClosed)
	l.mu.Lock()
	running := l.running
	l.mu.Unlock()
	if !running {
		l.out.writing.Wait()
	}
	return nil
}
