package relay

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"ultrasockets/codec"
)

// Attachment is the port of the relay's own node: an outbox like that of a
// link, emptied into a Handler instead of a socket. Write routes at once, on
// the caller's goroutine. Its frames reach slow nodes by the same rules as all
// others: what is dropped is answered by an Unreachable, so Write
// always returns true. Whoever writes much and asks Busy is told to take turns,
// so that frames gather as they do while a link writes. Safe for concurrent use.
type Attachment struct {
	// static
	hub     *Hub
	seat    seat
	out     outbox
	welcome codec.Welcome
	wake    chan struct{} // cap 1: the outbox has something for Run
	done    chan struct{} // closed at the end

	opener *codec.Opener // owned by Run; nil: in an open mesh nothing is sealed

	// guarded by mu, which comes before Hub.mu
	mu    sync.Mutex
	batch batch

	wrote atomic.Int64   // when data was last written, by monotonic
	turns sync.WaitGroup // the goroutine that takes turns, for Run to wait for

	// guarded by turnMu
	turnMu  sync.Mutex
	handler Handler // nil: Run does not run
	turning bool    // that goroutine runs
	asked   bool    // somebody waits for its next turn

	// guarded by endMu
	endMu   sync.Mutex
	started bool
	cause   error // set when done is closed

	// guarded by Hub.mu
	listing
}

// Run hands what is sent to the relay's own node to h, until the hub resigns
// ([ErrResigned]), finds that it stood still ([ErrStalled]), or either is
// closed ([ErrClosed]).
func (a *Attachment) Run(h Handler) error {
	a.endMu.Lock()
	again := a.started
	a.started = true
	a.endMu.Unlock()
	if again {
		return ErrRunning
	}
	defer a.abandon()
	a.handles(h)
	err := a.read(h)
	a.handles(nil)
	a.turns.Wait()
	return err
}

// read hands over what comes until the end.
func (a *Attachment) read(h Handler) error {
	var split []byte // a frame that a piece's end has cut
	for {
		select {
		case <-a.done:
			return a.cause
		case <-a.wake:
		}
		for a.out.next() {
			for i := range a.out.turn {
				split = a.hand(h, a.out.turn[i].bytes(), split)
			}
			a.out.done()
			h.HandleBatchEnd()
			if a.ended() {
				return a.cause
			}
		}
	}
}

// hand gives the frames of one piece to the handler. split is the part of a
// frame that the piece before ended with; the result is that of this one.
func (a *Attachment) hand(h Handler, data, split []byte) []byte {
	for len(split) > 0 {
		need := codec.HeaderSize
		if len(split) >= codec.HeaderSize {
			need = wholeFrame(split)
		}
		n := min(need-len(split), len(data))
		split, data = append(split, data[:n]...), data[n:]
		if f, _, _ := codec.Next(split); f != nil {
			a.handFrame(h, f)
			split = split[:0]
		} else if len(data) == 0 {
			return split
		}
	}
	for {
		f, rest, _ := codec.Next(data)
		if f == nil {
			return append(split, rest...)
		}
		a.handFrame(h, f)
		data = rest
	}
}

func (a *Attachment) handFrame(h Handler, f codec.Raw) {
	if !a.ended() && !linkOnly(f) {
		h.HandleFrame(openWith(a.opener, f), nil)
	}
}

// linkOnly tells which frames a port keeps for itself.
func linkOnly(f codec.Raw) bool {
	if len(f.To()) > 0 || len(f.From()) > 0 {
		return false
	}
	switch f.Kind() {
	case codec.KindPing, codec.KindPong, codec.KindBye, codec.KindHello, codec.KindWelcome, codec.KindRefusal:
		return true
	}
	return false
}

func (a *Attachment) ended() bool {
	select {
	case <-a.done:
		return true
	default:
		return false
	}
}

// notify is the drain of the outbox: Run is the drainer.
func (a *Attachment) notify() {
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

// Write implements [Port]. It always returns true.
func (a *Attachment) Write(frames []byte, control bool) bool {
	a.route(frames, nil, control)
	return true
}

// WriteAll implements [Port]. It always returns true.
func (a *Attachment) WriteAll(w *Writing, control bool) bool {
	if len(w.refs) == 0 {
		a.route(w.flat, nil, control)
	} else {
		m := NewMemory(w.size)
		a.route(w.appendTo(m.Bytes()), m, control)
		m.Release()
	}
	w.Reset()
	return true
}

// route routes frames, which are in lent or, if that is nil, the caller's.
func (a *Attachment) route(frames []byte, lent *Memory, control bool) {
	if !control { // now, and when it is done, which may take long
		a.wrote.Store(int64(monotonic()))
		defer func() { a.wrote.Store(int64(monotonic())) }()
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.ended() {
		return
	}
	if _, err := a.batch.route(frames, lent); err != nil {
		a.hub.log.Error("the relay's own node wrote a bad frame", "err", err)
	}
}

func (a *Attachment) own(f codec.Raw) error {
	return a.hub.own(&a.batch, f, func(e codec.Entry) { a.hub.updateOwn(a, e) })
}

// Await implements [Port]. It only waits.
func (a *Attachment) Await(ctx context.Context, ready <-chan struct{}) error {
	return Wait(ctx, ready)
}

// Visit implements [Port]. What comes here reads nobody.
func (a *Attachment) Visit(context.Context, <-chan struct{}) bool { return false }

// Welcome implements [Port]: what the hub would tell a link.
func (a *Attachment) Welcome() codec.Welcome { return a.welcome }

// Busy implements [Port]. What is written here is routed at once; but each time costs something, so who has just written is to
// let some gather.
func (a *Attachment) Busy() bool {
	rested := int64(monotonic())-a.wrote.Load() > int64(rest)
	a.turnMu.Lock()
	defer a.turnMu.Unlock()
	if a.handler == nil || rested && !a.turning {
		return false
	}
	a.asked = true
	if !a.turning {
		a.turning = true
		a.turns.Go(a.turn)
	}
	return true
}

// turn lets those go on who wait for their turn, until nobody does.
func (a *Attachment) turn() {
	for {
		a.turnMu.Lock()
		h := a.handler
		if h == nil || !a.asked {
			a.turning = false
			a.turnMu.Unlock()
			return
		}
		a.asked = false
		a.turnMu.Unlock()
		h.HandleWritable()
	}
}

// handles sets who is told of turns.
func (a *Attachment) handles(h Handler) {
	a.turnMu.Lock()
	defer a.turnMu.Unlock()
	a.handler = h
}

// RTT is 0: nothing lies between.
func (a *Attachment) RTT() time.Duration { return 0 }

// Addr is nil: there is no other end.
func (a *Attachment) Addr() net.Addr { return nil }

// Leave is Close: what was written is at the router already.
func (a *Attachment) Leave(context.Context) error { return a.Close() }

// Close takes the own node off the router and the roster; the hub goes on.
func (a *Attachment) Close() error {
	a.hub.detach(a)
	a.end(ErrClosed)
	return nil
}

// end makes Run return err.
func (a *Attachment) end(err error) {
	a.endMu.Lock()
	defer a.endMu.Unlock()
	if a.cause != nil {
		return
	}
	a.cause = err
	close(a.done)
	if !a.started {
		a.abandon()
	}
}

// abandon throws away what was not handed over, in the drainer's place.
func (a *Attachment) abandon() {
	a.out.close()
	a.out.next()
}
