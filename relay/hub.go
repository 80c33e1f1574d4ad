package relay

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"ultrasockets/codec"
)

// Defaults and fixed times of a hub.
const (
	defaultHeartbeat = time.Second
	linksPerBeat     = 500 // beyond that many, heartbeats grow in proportion
	deadBeats        = 3   // heartbeats without a byte: dead
	keepPlace        = 5 * time.Second
	expectFor        = 5 * time.Second
	probeTime        = 2 * time.Second
)

// HubConfig is what a hub needs to know. Only Mesh and Own.Name and Own.Instance must be set.
type HubConfig struct {
	// Mesh is the name of the mesh. A Hello may ask for it or for none.
	Mesh string
	// Secret is nil for an open mesh, else 32 bytes. Any other length makes
	// Serve fail with ErrBadSecret.
	Secret []byte
	// OldSecrets are accepted as well, at most MaxOldSecrets: the mesh is
	// changing keys (see DialConfig.OldSecrets). Without Secret they are an error.
	OldSecrets [][]byte
	// Own is the relay's own node. Its name is taken from the start of a reign;
	// it always gets the roster.
	Own codec.Hello
	// Connections bounds the listed nodes other than the own one; 0: no limit.
	// Visitors, pending handshakes and a node that replaces its own link do
	// not count. A link that ended without a Bye keeps its place for 5 s, for its
	// own name; so does a name that is expected at the start of a reign.
	Connections int
	// OutboxBytes is what is held for one link before frames are dropped: at
	// least 64 KiB and at most 1 GiB; 0: 1 MiB. Control frames have 64 KiB more.
	OutboxBytes int
	// TotalOutboxBytes bounds all outboxes together, control frames apart; 0: 256 MiB.
	TotalOutboxBytes int64
	// Heartbeat is told to each link at its Welcome, and when it has grown; a link is dead after three
	// without a byte. 0: one second. Beyond 500 links it grows in proportion.
	Heartbeat time.Duration
	// Rate slows down links that send more; the zero value limits nothing.
	Rate Rate
	// Admit, if set, may refuse a Hello; its error's text is told to the
	// dialler (code RefuseRule). Called concurrently, without a lock.
	Admit func(codec.Hello) error
	// Foreign, if set, gets each connection whose first byte is not 0x55
	// ('U'); what was read of it comes again. If it returns true the connection
	// is its own from then on; otherwise it must not have touched it. It must
	// return soon: until then the connection counts as a handshake, and Close waits for it.
	Foreign func(net.Conn) bool
	// Logger gets what an operator should know; nil: nothing is logged.
	Logger *slog.Logger
	// Clock tells the time since a fixed moment, sleep of the machine included;
	// nil: the system's. For tests.
	Clock func() time.Duration
}

// mood is what a hub does with a good Hello.
type mood uint8

const (
	holding   mood = iota // keep it for up to 3 s: a vote
	referring             // refuse it, and say who is the relay
	reigning              // admit it
	resigning             // refuse it as referring does; the links that stand still work
)

// Hub is the middle of a star: it admits links by name and routes their
// frames. A new hub holds Hellos; [Hub.Reign] makes it the relay. Safe for
// concurrent use.
type Hub struct {
	// static
	cfg     HubConfig
	log     *slog.Logger
	loglim  *limiter
	psks    [][]byte // the own one first; none: the mesh is open
	badCfg  error
	now     clock
	changed chan struct{} // cap 1
	done    chan struct{} // closed by Close
	router  router
	budget  budget
	count   counters

	clock     coarse       // published by the wheel
	beat      atomic.Int64 // the heartbeat for as many links as there are; published by the wheel
	lingering atomic.Int32 // connections that wait for their last words to be read

	wg sync.WaitGroup // every goroutine and every Serve; added to under mu

	// guarded by mu
	mu        sync.Mutex
	closed    bool
	wheeling  bool
	mood      mood
	refer     codec.Refusal // of the moods referring and resigning
	term      uint32
	att       *Attachment // of the reign
	names     map[string]*peer
	peers     map[*peer]struct{} // every link whose goroutine runs, also those that have lost their name
	listed    int                // of names: not visitors
	kept      map[string]time.Duration
	expected  map[string]codec.Entry
	expectEnd time.Duration
	listeners map[net.Listener]struct{}
	shakes    map[*shake]struct{} // handshakes and held votes
	lobby     []*shake            // of them, those whose preamble is to come, oldest first
	places    []*shake            // of them, those that have a place, oldest first
	perAddr   map[addrKey]int     // places
	votes     []*shake
	news      news
	idle      chan struct{} // not nil: to be closed when no link is left
	looked    time.Duration // when the wheel last looked at every link
	doubts    int           // how many links may be doubted
}

// NewHub makes a hub that holds Hellos. Close it when done.
func NewHub(cfg HubConfig) *Hub {
	if cfg.OutboxBytes == 0 {
		cfg.OutboxBytes = defaultOutbox
	}
	cfg.OutboxBytes = min(max(cfg.OutboxBytes, minOutbox), maxOutbox)
	if cfg.TotalOutboxBytes <= 0 {
		cfg.TotalOutboxBytes = defaultBudget
	}
	if cfg.Heartbeat <= 0 {
		cfg.Heartbeat = defaultHeartbeat
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Clock == nil {
		cfg.Clock = SystemClock
	}
	h := &Hub{
		cfg: cfg, now: cfg.Clock,
		log:       cfg.Logger.With("relay", cfg.Own.Name, "mesh", cfg.Mesh),
		changed:   make(chan struct{}, 1),
		done:      make(chan struct{}),
		names:     make(map[string]*peer),
		peers:     make(map[*peer]struct{}),
		kept:      make(map[string]time.Duration),
		listeners: make(map[net.Listener]struct{}),
		shakes:    make(map[*shake]struct{}),
		perAddr:   make(map[addrKey]int),
	}
	h.loglim = &limiter{now: h.now}
	h.psks, h.badCfg = linkKeys(cfg.Secret, cfg.OldSecrets)
	h.router = router{count: &h.count, seats: make(map[string]*seat)}
	h.news.first = 1
	h.news.pace = newBucket(newsRate, newsBurst, h.now())
	h.budget.max = cfg.TotalOutboxBytes
	h.clock.publish(h.now())
	return h
}

// Serve accepts connections until the listener fails or the hub is closed,
// and closes the listener. It may be called for several listeners. After Close the error is ErrClosed.
func (h *Hub) Serve(l net.Listener) error {
	defer l.Close()
	h.mu.Lock()
	if h.closed || h.badCfg != nil {
		err := h.badCfg
		h.mu.Unlock()
		if err == nil {
			err = ErrClosed
		}
		return err
	}
	h.wg.Add(1)
	defer h.wg.Done()
	h.listeners[l] = struct{}{}
	h.startWheel()
	h.mu.Unlock()
	defer func() {
		h.mu.Lock()
		delete(h.listeners, l)
		h.mu.Unlock()
	}()

	pause := 5 * time.Millisecond
	for {
		conn, err := l.Accept()
		if err == nil {
			pause = 5 * time.Millisecond
			h.receive(conn)
			continue
		}
		var temp interface{ Temporary() bool } // out of file descriptors, an aborted connection
		if !errors.As(err, &temp) || !temp.Temporary() {
			if h.isClosed() {
				return ErrClosed
			}
			return err
		}
		h.logf(slog.LevelWarn, "accepting failed, trying again", "err", err)
		timer := time.NewTimer(pause)
		pause = min(2*pause, time.Second)
		select {
		case <-timer.C:
		case <-h.done:
		}
		timer.Stop()
	}
}

func (h *Hub) isClosed() bool {
	select {
	case <-h.done:
		return true
	default:
		return false
	}
}

// Hold keeps good Hellos for up to 3 s, as votes for a relay to come. It is
// the mood of a new hub. It does not end a reign: that is Resign.
func (h *Hub) Hold() { h.setMood(holding, codec.Refusal{}) }

// Refer refuses every Hello, held ones too, and says who is the relay and at which addresses,
// if known. It does not end a reign: that is Resign.
func (h *Hub) Refer(relay string, addrs []string) {
	h.setMood(referring, notRelay(relay, addrs))
}

func notRelay(relay string, addrs []string) codec.Refusal {
	return codec.Refusal{Code: codec.RefuseNotRelay, Text: "this node is not the relay", Relay: relay, Addrs: addrs}
}

func (h *Hub) setMood(m mood, refer codec.Refusal) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.att != nil {
		return
	}
	h.mood, h.refer = m, refer
	h.wakeVotes()
}

// Reign is the beginning of a reign.
type Reign struct {
	// Term is told in Welcomes. See SetTerm.
	Term uint32
	// Expected are the nodes of the last roster: for ExpectFor each of their
	// names is admitted only to its own instance.
	Expected []codec.Entry
	// ExpectFor is 5 s if it is zero.
	ExpectFor time.Duration
}

// Reign makes the hub the relay: held Hellos are admitted, and new ones. The
// result is the port of the own node. During a reign it only changes the
// term and what is expected, and returns the same port. On a closed hub the port has ended.
func (h *Hub) Reign(r Reign) *Attachment {
	if r.ExpectFor <= 0 {
		r.ExpectFor = expectFor
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.term = r.Term
	h.expected = make(map[string]codec.Entry, len(r.Expected))
	for _, e := range r.Expected {
		if e.Name != h.cfg.Own.Name {
			h.expected[e.Name] = e
		}
	}
	h.expectEnd = h.now() + r.ExpectFor
	if h.att != nil {
		return h.att
	}
	a := h.newAttachment()
	if h.closed {
		a.end(ErrClosed)
		return a
	}
	h.startWheel()
	h.att, h.mood = a, reigning
	a.out.force(h.rosterFrames())
	h.router.set(&a.seat)
	h.wakeVotes()
	h.signal()
	return a
}

func (h *Hub) newAttachment() *Attachment {
	own := h.cfg.Own
	a := &Attachment{
		hub: h, wake: make(chan struct{}, 1), done: make(chan struct{}),
		listing: listingOf(&own, ""),
	}
	if len(h.psks) > 0 {
		a.opener = new(codec.Opener)
	}
	a.entry.Relay = true
	a.packed = a.entry.Append(nil)
	a.seat = seat{name: own.Name, listed: true, out: &a.out, groups: own.Groups}
	a.out = outbox{limit: h.cfg.OutboxBytes, reserve: controlReserve, budget: &h.budget, clock: &h.clock, drain: a.notify}
	a.out.onCaughtUp = func() { h.resendRoster(&a.out, nil) }
	a.batch = batch{router: &h.router, from: &a.seat, own: a.own}
	a.welcome = h.welcome()
	return a
}

// detach takes an attachment that its node closes off the reign.
func (h *Hub) detach(a *Attachment) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.att == a && !a.ended() {
		h.router.remove(&a.seat)
		h.push(codec.Change{Op: codec.Left, Entry: a.entry})
	}
}

// SetTerm changes the term that Welcomes state from now on.
func (h *Hub) SetTerm(term uint32) {
	h.mu.Lock()
	h.term = term
	h.mu.Unlock()
}

// Resign ends the reign in order: it tells all links who is the next relay (if
// known), refers new Hellos there, and goes on routing until all links have
// gone or ctx has ended. Then it closes the rest, Attachment.Run returns
// ErrResigned, and the hub holds. Without a reign it does nothing.
func (h *Hub) Resign(ctx context.Context, relay string, addrs []string) {
	h.abdicate(ctx, &codec.Bye{Reason: codec.ByeResigned, Text: "another node is the relay now", Relay: relay, Addrs: addrs}, ErrResigned)
}

// Shutdown ends the reign like Resign, with the reason that the relay shuts
// down: the Bye stands behind all that was queued. Then it closes the hub.
func (h *Hub) Shutdown(ctx context.Context, relay string, addrs []string) {
	h.abdicate(ctx, &codec.Bye{Reason: codec.ByeShutdown, Text: "the relay shuts down", Relay: relay, Addrs: addrs}, ErrClosed)
	_ = h.Close()
}

func (h *Hub) abdicate(ctx context.Context, bye *codec.Bye, cause error) {
	h.mu.Lock()
	att := h.att
	if att == nil || h.mood != reigning {
		h.mu.Unlock()
		return
	}
	h.mood, h.refer = resigning, notRelay(bye.Relay, bye.Addrs)
	h.wakeVotes()
	frame := byeFrame(bye)
	for p := range h.peers {
		p.out.force(frame)
	}
	idle := make(chan struct{})
	h.idle = idle
	h.checkIdle()
	h.mu.Unlock()

	select {
	case <-idle:
	case <-ctx.Done():
	case <-h.done:
	}
	h.endReign(att, cause)
}

// endReign closes all links and ends the attachment; the hub holds from then on.
func (h *Hub) endReign(att *Attachment, cause error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.att != att {
		return
	}
	h.att, h.mood, h.idle = nil, holding, nil
	for name, p := range h.names {
		h.router.remove(&p.seat)
		delete(h.names, name)
	}
	h.listed = 0
	for p := range h.peers {
		p.kill(cause)
	}
	h.router.remove(&att.seat)
	att.end(cause)
	clear(h.kept)
	h.news.clear()
	h.signal()
}

// Votes are the Hellos that are held now.
func (h *Hub) Votes() []codec.Hello {
	h.mu.Lock()
	defer h.mu.Unlock()
	hellos := make([]codec.Hello, 0, len(h.votes))
	for _, s := range h.votes {
		hellos = append(hellos, s.hello)
	}
	return hellos
}

// Changed gets a value, at most one at a time, after the votes or the links have changed.
func (h *Hub) Changed() <-chan struct{} { return h.changed }

func (h *Hub) signal() {
	select {
	case h.changed <- struct{}{}:
	default:
	}
}

// Links is the number of listed nodes that are linked, the own one not counted.
func (h *Hub) Links() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.listed
}

// Stats returns what the hub has counted, and holds.
func (h *Hub) Stats() Stats {
	s := h.count.stats()
	s.OutboxBytes = h.budget.used.Load()
	h.mu.Lock()
	defer h.mu.Unlock()
	s.Links, s.Visitors = len(h.names), len(h.names)-h.listed
	s.Votes = len(h.votes)
	s.Pending = len(h.shakes) - len(h.votes)
	return s
}

// Busy tells whether something for a link is still waiting or being written.
func (h *Hub) Busy() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	for p := range h.peers {
		if !p.out.isIdle() {
			return true
		}
	}
	return false
}

// Close ends everything at once, and waits for every goroutine of the hub and
// for every Serve. Attachment.Run returns ErrClosed soon after. Not to
// be called by Admit or Foreign; a Handler may.
func (h *Hub) Close() error {
	h.mu.Lock()
	if !h.closed {
		h.closed = true
		close(h.done)
		for l := range h.listeners {
			l.Close()
		}
		for s := range h.shakes {
			s.raw.Close()
		}
		for p := range h.peers {
			p.kill(ErrClosed)
		}
		if h.att != nil {
			h.router.remove(&h.att.seat)
			h.att.end(ErrClosed)
			h.att = nil
		}
		h.mood = holding
	}
	h.mu.Unlock()
	h.wg.Wait()
	return nil
}
