package mesh

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"ultrasockets/codec"
	"ultrasockets/discovery"
	"ultrasockets/relay"
)

const (
	leaveGossip  = 500 * time.Millisecond // how long Shutdown lets gossip say goodbye
	leaveTimeout = time.Second            // how long Shutdown tries to say Bye, also when its ctx has ended
	lingerMax    = 500 * time.Millisecond // how long it lingers
	lingerStep   = 10 * time.Millisecond  // linger looks so often whether others still wait for answers …
	lingerFor    = 5                      // … and so often in a row finds that nobody does
	drainMax     = 50 * time.Millisecond  // how long Close waits until what was written has left …
	drainStep    = time.Millisecond       // … looking so often
)

// Node is one participant of a mesh. It is safe for concurrent use.
type Node struct {
	// static
	set      *settings
	time     *clock
	instance uint64
	hub      *relay.Hub           // nil: it never is the relay
	disc     *discovery.Discovery // nil: no discovery
	listener net.Listener         // nil: it does not listen
	view     *view
	in       *inbound
	out      *outbound
	asks     *requests
	events   events
	work     *clockwork
	cancel   context.CancelFunc
	tasks    sync.WaitGroup // every goroutine of the node
	done     chan struct{}

	port    atomic.Pointer[portRef] // nil: not linked
	term    atomic.Uint32           // of the own reign; 0: none yet
	leaving atomic.Bool             // Shutdown has begun

	badFrames atomic.Uint64 // dropped for their checksum

	// owned by who reads the port; since the last end of a batch
	woken     int // so many were woken in await …
	requested int // … and so many got requests for the handler

	stateMu  sync.Mutex // held while state or groups change and the relay is told
	rosterMu sync.Mutex // held while the view changes and what follows from that is done

	mu         sync.Mutex
	closing    bool
	err        error // why done is closed
	paused     bool
	groups     []string
	rtts       map[string]time.Duration // of other nodes, by Ping
	pings      map[uint64]*pingWait     // under way
	pingSerial uint64
}

// newNode makes a node that does nothing yet.
func newNode(set *settings) *Node {
	n := &Node{
		set: set, time: newClock(set.Clock), instance: set.hello.Instance,
		view: newView(set.Name), done: make(chan struct{}),
		groups: append([]string(nil), set.Groups...),
		rtts:   make(map[string]time.Duration),
		pings:  make(map[uint64]*pingWait),
	}
	n.work = newClockwork(n.clock)
	n.events.now = set.Now
	n.in = newInbound(set, n.clock, n.work.wake, n.await, &n.events)
	n.out = newOutbound(set, n.clock, n.work.wake, &n.events, n.view.lookup)
	n.asks = newRequests(n)
	return n
}

// clock is the time since the node was made.
func (n *Node) clock() time.Duration { return n.time.now() }

// tick does what time demands.
func (n *Node) tick(now time.Duration) {
	n.out.tick(now)
	n.in.tick(now)
	n.rosterMu.Lock()
	defer n.rosterMu.Unlock()
	n.apply(n.view.expire(now))
	n.work.wake(n.view.due())
}

// apply does what follows from changes of the roster. The caller holds rosterMu.
func (n *Node) apply(changes []change) {
	for _, c := range changes {
		switch c.kind {
		case EventLeft:
			n.mu.Lock()
			delete(n.rtts, c.entry.Name)
			n.mu.Unlock()
			n.out.peerGone(c.entry.Name)
			n.in.peerGone(c.entry.Name)
			n.asks.gone(c.entry.Name, c.entry.Instance)
		default:
			n.out.peerHere(c.entry)
		}
		if c.kind == "" || c.entry.Instance == n.instance || n.leaving.Load() {
			continue
		}
		n.set.log.Debug("roster", "peer", c.entry.Name, "what", string(c.kind), "reason", c.reason)
		n.events.publish(Event{Kind: c.kind, Name: c.entry.Name, Reason: c.reason})
	}
}

// relayLeft takes a relay that said goodbye off the list.
func (n *Node) relayLeft(name string, instance uint64) {
	n.rosterMu.Lock()
	defer n.rosterMu.Unlock()
	n.apply(n.view.update(codec.Update{Changes: []codec.Change{{Op: codec.Left, Reason: codec.LeftBye, Entry: codec.Entry{Name: name, Instance: instance}}}}))
}

// Name is the node's own name.
func (n *Node) Name() string { return n.set.Name }

// Mesh is the name of the mesh; of a node that dialled without saying which, the one that answered.
func (n *Node) Mesh() string {
	if ref := n.port.Load(); ref != nil {
		return ref.Welcome().Mesh
	}
	return n.set.Mesh
}

// Relay is the name of the node that is the relay now, perhaps this one; "" while there is none.
func (n *Node) Relay() string { return n.view.relayName() }

// Addr is the address of the port on which the node listens, as relay or to become it; nil if it does not.
func (n *Node) Addr() net.Addr {
	if n.listener == nil {
		return nil
	}
	return n.listener.Addr()
}

// Done is closed when the node has ended: closed, or put out of the mesh.
func (n *Node) Done() <-chan struct{} { return n.done }

// Err is nil while the node runs; then ErrClosed, or why the mesh put it out for good.
func (n *Node) Err() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.err
}

// Close leaves the mesh at once. What was not acknowledged is given up, and reported by events; what arrived can still be
// taken, and is acknowledged as far as the link takes that within 50 ms: Shutdown makes sure. It waits until everything the node started
// has ended. Closing again does nothing.
// A handler of requests must call neither Close nor Shutdown: they wait for it.
func (n *Node) Close() error {
	n.in.acknowledge() // lest somebody waits for an answer that nobody gives any more
	n.drain()
	n.finish(ErrClosed, 0)
	<-n.done
	return nil
}

// Shutdown leaves the mesh with care: it refuses what is sent from now on, waits until everything sent so far is acknowledged
// (or given up), says goodbye, and closes. If this node is the relay, it tells the others first. If ctx ends before
// everything is acknowledged, it still says goodbye; the error then tells what was not.
func (n *Node) Shutdown(ctx context.Context) error {
	select {
	case <-n.done:
		return wrapClosed("shutdown", n.Err())
	default:
	}
	n.out.stopAccepting()
	n.in.acknowledge() // lest somebody waits for an answer that nobody gives any more
	before := n.port.Load()
	err := n.out.flush(ctx, n.await)
	if ctx.Err() == nil {
		patience, cancel := context.WithTimeout(ctx, lingerMax)
		n.linger(patience, before)
		cancel()
	}
	bye, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaveTimeout)
	defer cancel()
	n.leaving.Store(true)
	if ref := n.port.Load(); ref != nil {
		if ref.Addr() == nil {
			n.hub.Shutdown(bye, "", nil)
		} else {
			ref.Leave(bye)
		}
	}
	n.finish(ErrClosed, leaveGossip)
	<-n.done
	if err != nil {
		return fmt.Errorf("shutdown of %q: %w", n.set.Name, err)
	}
	return nil
}

// linger waits for others to get the answers that they wait for, in case they leave together with this node. The relay
// waits until it has nothing more to pass on. A node whose link has changed since before may have lost answers with the
// old one: on the new one it is asked again, at once.
func (n *Node) linger(ctx context.Context, before *portRef) {
	now := n.port.Load()
	relaying := now != nil && now.Addr() == nil
	if now == before && !relaying {
		return
	}
	passed := uint64(0)
	for quiet := 0; quiet < lingerFor; quiet++ {
		select {
		case <-time.After(lingerStep):
		case <-ctx.Done():
			return
		case <-n.done:
			return
		}
		if ref := n.port.Load(); ref == nil || ref != now {
			now, quiet = ref, 0
		}
		if relaying {
			if frames := n.hub.Stats().FramesIn; frames != passed {
				passed, quiet = frames, 0
			}
		}
	}
}

func wrapClosed(what string, err error) error {
	if errors.Is(err, ErrClosed) {
		return nil
	}
	return fmt.Errorf("%s: %w", what, err)
}

// drain waits until what was written has left this program, but not for long.
func (n *Node) drain() {
	for range drainMax / drainStep {
		ref := n.port.Load()
		if (ref == nil || !ref.Busy()) && (n.hub == nil || !n.hub.Busy()) {
			return
		}
		time.Sleep(drainStep)
	}
}

// finish ends the node with that reason, once, in a goroutine of its own when called by one that it waits for.
func (n *Node) finish(reason error, leave time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closing {
		return
	}
	n.closing = true
	go n.end(reason, leave) // closes done, for which Close waits
}

func (n *Node) end(reason error, leave time.Duration) {
	n.cancel()
	if ref := n.port.Load(); ref != nil {
		ref.Close()
	}
	n.out.close(reason)
	if n.hub != nil {
		n.hub.Close()
	}
	if n.listener != nil {
		n.listener.Close()
	}
	if n.disc != nil {
		n.disc.Close(leave)
	}
	n.work.stop()
	n.asks.close(reason)
	n.in.close(reason)
	n.tasks.Wait()
	n.events.close()
	n.mu.Lock()
	n.err = reason
	n.mu.Unlock()
	close(n.done)
}

// task runs f in a goroutine that end waits for.
func (n *Node) task(f func()) {
	n.tasks.Add(1)
	go func() {
		defer n.tasks.Done()
		f()
	}()
}

// await waits until ready tells, as relay.Port.Await does: it may read meanwhile.
func (n *Node) await(ctx context.Context, ready <-chan struct{}) error {
	if ref := n.port.Load(); ref != nil {
		return ref.Await(ctx, ready)
	}
	return relay.Wait(ctx, ready)
}

// visit is await only if it can read meanwhile.
func (n *Node) visit(ctx context.Context, ready <-chan struct{}) {
	if ref := n.port.Load(); ref != nil {
		ref.Visit(ctx, ready)
	}
}

// Ready waits until the node is linked; on a server with Connections, until that many others are. The error is ctx's, or
// why the node ended.
func (n *Node) Ready(ctx context.Context) error {
	return n.awaitRoster(ctx, "ready", func(nodes map[string]listed, linked bool) bool {
		if !linked || n.set.Connections == 0 {
			return linked
		}
		others := 0
		for _, l := range nodes {
			if l.Name != n.set.Name && !l.expected {
				others++
			}
		}
		return others >= n.set.Connections
	})
}

// WaitFor waits until all of these nodes are linked. If ctx ends before, the error wraps ErrNoPeer and says who is missing.
func (n *Node) WaitFor(ctx context.Context, names ...string) error {
	var missing []string
	err := n.awaitRoster(ctx, "wait", func(nodes map[string]listed, linked bool) bool {
		missing = missing[:0]
		for _, name := range names {
			if l, ok := nodes[name]; !ok || l.expected {
				missing = append(missing, name)
			}
		}
		return linked && len(missing) == 0
	})
	if err != nil && ctx.Err() != nil {
		return fmt.Errorf("wait for %q: %w: %w; here: %s", missing, ErrNoPeer, ctx.Err(), n.whoIsHere())
	}
	return err
}

func (n *Node) awaitRoster(ctx context.Context, what string, ok func(map[string]listed, bool) bool) error {
	for {
		changed, now := n.view.wait(ok)
		if now {
			return nil
		}
		select {
		case <-changed:
		case <-n.done:
			return fmt.Errorf("%s: %w", what, n.Err())
		case <-ctx.Done():
			return fmt.Errorf("%s: %w", what, ctx.Err())
		}
	}
}

// Peers lists the nodes of the mesh as the relay does, this one included, in the order of their names. Visitors are not
// among them.
func (n *Node) Peers() []Peer {
	entries, relay := n.view.entries(), n.view.relayName()
	n.mu.Lock()
	defer n.mu.Unlock()
	out := make([]Peer, 0, len(entries))
	for _, e := range entries {
		p := Peer{
			Name: e.Name, Role: e.Role, State: e.State, Addr: e.Addr, RTT: n.rtts[e.Name],
			Tags: e.Tags, Groups: e.Groups, Relay: e.Name == relay, Self: e.Instance == n.instance,
		}
		if len(e.Addrs) > 0 {
			p.Addr = e.Addrs[0]
		}
		switch ref := n.port.Load(); {
		case !p.Relay || ref == nil:
		case p.Self && p.Addr != "": // where others find it: it may listen everywhere
		case p.Self:
			p.Addr = n.listener.Addr().String()
		case ref.Addr() != nil:
			p.Addr, p.RTT = ref.Addr().String(), ref.RTT()
		}
		out = append(out, p)
	}
	return out
}

// Pause stops receiving: what has arrived can be taken, everything that comes from now on is held by its sender, or
// here (as much as its sender had been allowed already), until Resume. Requests that come are handled. The others see that the node is paused. Pausing again does nothing.
func (n *Node) Pause() error { return n.setPaused("pause", true) }

// Resume starts receiving again, with what was held first.
func (n *Node) Resume() error { return n.setPaused("resume", false) }

func (n *Node) setPaused(what string, paused bool) error {
	if err := n.Err(); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	n.stateMu.Lock()
	defer n.stateMu.Unlock()
	n.mu.Lock()
	n.paused = paused
	n.mu.Unlock()
	n.in.setPaused(paused)
	n.tellState()
	return nil
}

// Subscribe adds the node to groups: what others send to ToGroup of one of them reaches it, from when they have heard of it.
func (n *Node) Subscribe(groups ...string) error {
	for _, g := range groups {
		if err := codec.CheckName(g); err != nil {
			return fmt.Errorf("subscribe: %w", err)
		}
	}
	if err := n.out.accepting(); err != nil {
		return fmt.Errorf("subscribe: %w", err)
	}
	n.stateMu.Lock()
	defer n.stateMu.Unlock()
	next := append([]string(nil), n.groups...)
	for _, g := range groups {
		if !contains(next, g) {
			next = append(next, g)
		}
	}
	hello := n.set.hello
	hello.Groups, hello.Addrs = next, make([]string, codec.MaxAddrs) // as long as it may ever become
	for i := range hello.Addrs {
		hello.Addrs[i] = "[2001:db8:1111:2222:3333:4444:5555:6666]:65535"
	}
	if err := hello.Check(); err != nil {
		return fmt.Errorf("subscribe: %w: too many or too long groups and tags: %w", ErrBadConfig, err)
	}
	n.setGroups(next)
	return nil
}

// Unsubscribe takes the node out of groups.
func (n *Node) Unsubscribe(groups ...string) error {
	if err := n.out.accepting(); err != nil {
		return fmt.Errorf("unsubscribe: %w", err)
	}
	n.stateMu.Lock()
	defer n.stateMu.Unlock()
	var next []string
	for _, g := range n.groups {
		if !contains(groups, g) {
			next = append(next, g)
		}
	}
	n.setGroups(next)
	return nil
}

// setGroups changes the groups and tells the relay. The caller holds stateMu.
func (n *Node) setGroups(groups []string) {
	n.mu.Lock()
	n.groups = groups
	n.mu.Unlock()
	n.tellState()
}

// withState is a Hello with the state and groups of this moment.
func (n *Node) withState(h codec.Hello) codec.Hello {
	n.mu.Lock()
	defer n.mu.Unlock()
	h.Groups = n.groups
	if n.paused {
		h.State = codec.StatePaused
	}
	return h
}

// sendState tells a new relay what may have changed since the Hello to it.
func (n *Node) sendState() {
	n.stateMu.Lock()
	defer n.stateMu.Unlock()
	n.tellState()
}

// tellState tells the relay this node's state, tags and groups. The caller holds stateMu, so that what is told last is
// what is true.
func (n *Node) tellState() {
	ref := n.port.Load()
	if ref == nil {
		return
	}
	n.mu.Lock()
	e := codec.Entry{Tags: n.set.Tags, Groups: n.groups}
	if n.paused {
		e.State = codec.StatePaused
	}
	n.mu.Unlock()
	ref.Write(codec.AppendUpdateFrames(nil, []codec.Change{{Op: codec.Changed, Entry: e}}), true)
}
