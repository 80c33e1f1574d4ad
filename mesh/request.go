package mesh

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"

	"ultrasockets/codec"
	"ultrasockets/relay"
)

// Requests: a message with 8 bytes before the item, by which its reply is known. They travel on the ordinary streams,
// so their order and guarantees are the same.

const (
	maxHandlers   = 64 // requests handled at a time; more wait, and count as in the inbox
	requestPrefix = 8  // bytes before the item of a request: the requester's number …
	replyPrefix   = 9  // … and of its reply: the same, and one of:
	replyResult   = 0
	replyError    = 1
	replyUnserved = 2
	smallBody     = 64 // memory for a request or a reply, until it needs more
)

// Handler answers a request; what it returns, any value that Send takes, is the reply. Its error reaches the requester as
// a *RemoteError, or, if it wraps ErrNoHandler, as that: this request is none of its own. ctx ends with the node.
type Handler func(ctx context.Context, request Message) (any, error)

// requests are those of others that wait for the handler or are being handled, and the own ones that wait for replies.
// Safe for concurrent use.
type requests struct {
	n      *Node
	ctx    context.Context
	cancel context.CancelFunc

	mu      sync.Mutex
	handler Handler
	kinds   map[string]Handler // see HandleKind
	running int                // handlers
	guest   guest
	queue   []request
	serial  uint64 // begins anywhere, lest a reply to a former life is taken for one to this
	waiting map[uint64]*asked
	closed  error
}

// guest is who has handled a request, and now reads the link for the next.
type guest struct {
	reads bool
	has   bool
	next  request       // if has: it is here …
	more  chan struct{} // cap 1: … and this tells
}

// asked is a request of this node without a reply so far.
type asked struct {
	to       string
	instance uint64        // whom it was sent to; 0: not known
	done     chan struct{} // gets a value with the reply, or why there is none, and one when the request itself is given up

	// guarded by requests.mu
	settled bool
	reply   reply
	err     error
}

func newRequests(n *Node) *requests {
	ctx, cancel := context.WithCancel(context.Background())
	return &requests{n: n, ctx: ctx, cancel: cancel, waiting: make(map[uint64]*asked), guest: guest{more: make(chan struct{}, 1)}, serial: rand.Uint64()}
}

// Handle registers the handler of requests to this node, in place of an earlier one; nil: none, requests then fail with
// ErrNoHandler. HandleKind takes requests of one kind from it. Up to 64 run at a time, each in a goroutine of its own. Requests never reach the inbox.
func (n *Node) Handle(h Handler) {
	n.asks.mu.Lock()
	defer n.asks.mu.Unlock()
	n.asks.handler = h
}

// Request sends a value to a node and waits for the reply of its handler. A receiver that lives handles it once, also when
// the relay changes meanwhile. Errors: ErrNoPeer at once if the name is neither here nor expected back, ErrNoHandler, a *RemoteError
// from the handler, ErrOutcomeUnknown if the receiver restarts or is lost meanwhile, ctx's error (the request may still be
// handled), and those of Send.
func (n *Node) Request(ctx context.Context, to string, value any) (Message, error) {
	m, err := n.asks.request(ctx, to, value)
	if err != nil {
		return Message{}, fmt.Errorf("request to %q: %w", to, err)
	}
	return m, nil
}

func (q *requests) request(ctx context.Context, to string, value any) (Message, error) {
	a, err := q.begin(ctx, to, value)
	if err != nil {
		return Message{}, err
	}
	return a.wait(ctx)
}

// begin queues a request.
func (q *requests) begin(ctx context.Context, to string, value any) (_ *Answer, err error) {
	n := q.n
	if err := codec.CheckName(to); err != nil {
		return nil, err
	}
	if err := n.out.accepting(); err != nil {
		return nil, err
	}
	if !n.view.expected(to) {
		return nil, n.noPeer(to)
	}
	a := &asked{to: to, done: make(chan struct{}, 2)}
	if e, here := n.view.lookup(to); here {
		a.instance = e.Instance
	}
	q.mu.Lock()
	if q.closed != nil {
		q.mu.Unlock()
		return nil, q.closed
	}
	q.serial++
	id := q.serial
	q.waiting[id] = a
	q.mu.Unlock()
	defer func() {
		if err != nil {
			q.forget(id)
		}
	}()
	data, err := codec.AppendValue(binary.BigEndian.AppendUint64(make([]byte, 0, smallBody), id), value)
	if err != nil {
		return nil, err
	}
	if len(data) > n.set.MaxMessage {
		return nil, fmt.Errorf("%w (%d bytes, MaxMessage is %d)", ErrTooLarge, len(data), n.set.MaxMessage)
	}
	d := draft{body: data, kept: true, flags: codec.FlagRequest}
	if to == n.set.Name {
		r := request{Message: Message{From: to, To: to, data: data[8:]}}
		copy(r.id[:], data)
		q.serve(r)
	} else {
		d.receipt = &receipt{lossOnly: true, done: a.done}
		if err := n.out.send(ctx, to, &d); err != nil {
			return nil, err
		}
	}
	return &Answer{q, a, id, d.receipt}, nil
}

// await waits for the reply; lost tells if the request itself is given up.
func (q *requests) await(ctx context.Context, a *asked, lost *receipt) (Message, error) {
	wait := q.n.await
	if lost == nil {
		wait = relay.Wait // nothing comes over the link
	}
	if wait(ctx, a.done) != nil {
		if lost != nil {
			lost.abandon()
		}
		return Message{}, q.n.out.whyNot(ctx, a.to)
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if replied := a.settled && a.err == nil; !replied && lost != nil && !lost.abandon() && lost.err != nil {
		return Message{}, lost.err // also if its receiver has gone since
	}
	return a.outcome()
}

func (a *asked) outcome() (Message, error) {
	if a.err != nil {
		return Message{}, a.err
	}
	m := Message{From: a.to, data: a.reply.body}
	switch a.reply.status {
	case replyResult:
		return m, nil
	case replyUnserved:
		return Message{}, ErrNoHandler
	}
	return Message{}, &RemoteError{From: a.to, Text: m.Text()}
}

// serve takes a request, for the guest if there is one that has none yet, or for a goroutine of its own.
func (q *requests) serve(r request) {
	q.mu.Lock()
	defer q.mu.Unlock()
	g := &q.guest
	switch {
	case q.closed != nil:
	case q.running >= maxHandlers:
		q.queue = append(q.queue, r) // bounded by InboxBytes: it counts until it is handled
	case g.reads && !g.has && r.From != q.n.set.Name: // one of this node itself it would not notice soon
		q.running++
		g.next, g.has = r, true
		g.more <- struct{}{}
	default:
		q.running++
		first := r // else each request would need memory of its own, whoever takes it
		q.n.task(func() { q.work(first) })
	}
}

// work handles requests until there is none.
func (q *requests) work(r request) {
	for ok := true; ok; r, ok = q.next() {
		q.handle(r)
	}
}

// next gives who has handled a request another: one that waits, or one that comes while it may read the link. False: there is none.
func (q *requests) next() (r request, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.running--
	if g := &q.guest; len(q.queue) == 0 && !g.reads && q.closed == nil {
		g.reads = true
		q.mu.Unlock()
		q.n.visit(q.ctx, g.more)
		q.mu.Lock()
		select {
		case <-g.more:
		default:
		}
		r, ok = g.next, g.has
		g.reads, g.next, g.has = false, request{}, false
	}
	if !ok && len(q.queue) > 0 && q.running < maxHandlers {
		q.running++
		r, ok = q.queue[0], true
		q.queue[0] = request{}
		q.queue = q.queue[1:]
	}
	return r, ok && q.closed == nil
}

func (q *requests) handle(r request) {
	n := q.n
	n.in.handled(r)
	h, asked := q.pick(r.Message)
	status, value, err := byte(replyResult), any(nil), error(ErrNoHandler)
	if h != nil {
		value, err = callHandler(q.ctx, h, asked)
	}
	switch {
	case errors.Is(err, ErrNoHandler):
		status, value = replyUnserved, err.Error()
	case err != nil:
		status, value = replyError, err.Error()
	}
	head := append(append(make([]byte, 0, smallBody), r.id[:]...), status)
	data, err := codec.AppendValue(head, value)
	if err == nil && len(data) > n.set.MaxMessage {
		err = ErrTooLarge
	}
	if err != nil {
		head[8] = replyError
		data, _ = codec.AppendValue(head, fmt.Sprintf("the handler's result cannot be sent: %v", err))
	}
	if r.From == n.set.Name {
		q.replied(reply{from: r.From, id: r.id, status: data[8], body: data[9:]})
		return
	}
	// A requester that takes nothing must not keep handlers from others: its reply is dropped when no more can be queued. So it
	// acknowledges each at once: those before must leave room; and once it has its reply it may end without a word.
	if err := n.out.send(expired, r.From, &draft{body: data, kept: true, flags: codec.FlagReply, ackNow: true}); err != nil {
		n.set.log.Warn("reply dropped", "peer", r.From, "err", err)
	}
}

// expired is a context that has ended: who sends with it does not wait.
var expired = func() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}()

// callHandler turns a panic into an error: one bad request must not end the program.
func callHandler(ctx context.Context, h Handler, m Message) (result any, err error) {
	defer func() {
		if p := recover(); p != nil {
			result, err = nil, fmt.Errorf("the handler panicked: %v", p)
		}
	}()
	return h(ctx, m)
}

// replied takes the reply to a request of this node.
func (q *requests) replied(r reply) {
	q.mu.Lock()
	defer q.mu.Unlock()
	id := binary.BigEndian.Uint64(r.id[:])
	a := q.waiting[id]
	if a == nil || a.to != r.from {
		return
	}
	a.reply = r
	q.settle(id, a, nil)
}

func (q *requests) settle(id uint64, a *asked, err error) {
	a.settled, a.err = true, err
	delete(q.waiting, id)
	a.done <- struct{}{}
}

// gone tells that an instance of that name is gone: who has not replied by now never will.
func (q *requests) gone(name string, instance uint64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for id, a := range q.waiting {
		if a.to == name && (a.instance == instance || a.instance == 0) {
			q.settle(id, a, ErrOutcomeUnknown)
		}
	}
}

// close ends all requests. Handlers are told by their ctx; the node waits for them.
func (q *requests) close(reason error) {
	q.cancel()
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = reason
	q.queue = nil
	for id, a := range q.waiting {
		q.settle(id, a, reason)
	}
}
