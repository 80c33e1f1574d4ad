package meshtest

import (
	"context"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"ultrasockets/mesh"
)

// network is what the nodes of one mesh are connected by: in memory, or by real sockets on loopback. In both, the
// connections that a node dials are pipes (pipe.go), and the packets that it gets wait in a mailbox (packets.go): there
// the faults take place. Over real sockets, two goroutines pump between the pipes of a connection and its socket.
type network struct {
	// static
	inMemory bool
	start    time.Time
	quit     chan struct{}
	pumps    sync.WaitGroup // every goroutine of the network; added to under mu

	conditions atomic.Pointer[conditions]

	mu        sync.Mutex
	closed    bool
	changed   chan struct{} // closed at the next change of conditions
	hosts     map[string]*host
	owners    map[string]*host // by network and address: who listens there, or was the last to
	listeners map[string]*listener
	mailboxes map[string]*mailbox
	watchers  map[watcher]struct{} // those who wait for conditions to change
	faults    map[string]string    // by name: the last fault that was meant for it
}

// watcher is told when conditions have changed.
type watcher interface{ wake() }

func newNetwork(inMemory bool) *network {
	n := &network{
		inMemory: inMemory, start: time.Now(), quit: make(chan struct{}),
		changed: make(chan struct{}), hosts: make(map[string]*host), owners: make(map[string]*host),
		listeners: make(map[string]*listener), mailboxes: make(map[string]*mailbox), watchers: make(map[watcher]struct{}),
		faults: make(map[string]string),
	}
	n.conditions.Store(new(conditions).but(func(*conditions) {}))
	return n
}

// host is the machine on which the nodes of one name run: what they listen on and dial through, and their clock. Safe for
// concurrent use.
type host struct {
	net     *network
	name    string
	number  int    // from 1
	port    uint16 // the last one given out, in memory; guarded by network.mu
	out, in pace
	frozen  atomic.Pointer[time.Duration] // what its clock shows while it is suspended
}

var _ mesh.Network = (*host)(nil)

// host is that of a name, made at its first use.
func (n *network) host(name string) *host {
	n.mu.Lock()
	defer n.mu.Unlock()
	h := n.hosts[name]
	if h == nil {
		h = &host{net: n, name: name, number: len(n.hosts) + 1}
		n.hosts[name] = h
	}
	return h
}

func (h *host) pace(d Direction) *pace {
	if d == Out {
		return &h.out
	}
	return &h.in
}

// clock is for Config.Clock.
func (h *host) clock() time.Duration {
	if t := h.frozen.Load(); t != nil {
		return *t
	}
	return time.Since(h.net.start)
}

// change changes the conditions, and tells everybody.
func (n *network) change(f func(*conditions)) {
	n.mu.Lock()
	n.conditions.Store(n.conditions.Load().but(f))
	close(n.changed)
	n.changed = make(chan struct{})
	all := slices.Collect(maps.Keys(n.watchers))
	n.mu.Unlock()
	for _, w := range all {
		w.wake()
	}
}

func (n *network) watch(w watcher) {
	n.mu.Lock()
	n.watchers[w] = struct{}{}
	n.mu.Unlock()
}

func (n *network) forget(w watcher) {
	n.mu.Lock()
	delete(n.watchers, w)
	n.mu.Unlock()
}

// now gives the conditions, and a channel that is closed when they change.
func (n *network) now() (*conditions, <-chan struct{}) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.conditions.Load(), n.changed
}

// reset resets all connections of a host.
func (n *network) reset(of *host) {
	n.mu.Lock()
	var pipes []*pipe
	for w := range n.watchers {
		if p, ok := w.(*pipe); ok && (p.from == of || p.to == of) {
			pipes = append(pipes, p)
		}
	}
	n.mu.Unlock()
	for _, p := range pipes {
		p.reset()
		p.back.reset()
	}
}

// close ends everything, and waits for the network's goroutines.
func (n *network) close() {
	n.mu.Lock()
	if n.closed {
		n.mu.Unlock()
		return
	}
	n.closed = true
	close(n.quit)
	all := slices.Collect(maps.Keys(n.watchers))
	n.mu.Unlock()
	for _, w := range all {
		switch w := w.(type) {
		case *pipe:
			w.reset()
		case *listener:
			w.Close()
		case *mailbox:
			w.Close()
		}
	}
	n.pumps.Wait()
}

// pump runs f in a goroutine that close waits for. False: the network is closed.
func (n *network) pump(f func()) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return false
	}
	n.pumps.Go(f)
	return true
}

// listens tells whether a node of that name listens, so that it may be the relay.
func (n *network) listens(name string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, l := range n.listeners {
		if l.host.name == name {
			return true
		}
	}
	return false
}

// addrs are where the nodes of other names listen, at most 64, as many as may be seeds.
func (n *network) addrs(but string) []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	var list []string
	for _, l := range n.listeners {
		if l.host.name != but {
			list = append(list, l.addr.String())
		}
	}
	slices.Sort(list)
	return list[:min(len(list), 64)]
}

// owner is whose address that is; nil: nobody's in this mesh.
func (n *network) owner(network, addr string) *host {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.owners[network+addr]
}

// address is one in memory.
type address struct{ netip.AddrPort }

// Network implements net.Addr. It is not "udp": nobody shall take it for an address of this machine.
func (address) Network() string { return "memory" }

// bind is the IP address of a host: in memory each has its own, as machines on a LAN have.
func (h *host) bind() netip.Addr {
	if h.net.inMemory {
		return netip.AddrFrom4([4]byte{10, 0, byte(h.number >> 8), byte(h.number)})
	}
	return netip.AddrFrom4([4]byte{127, 0, 0, 1})
}

// choose gives an address of this host in memory, with a free port for port 0. network.mu is held.
func (h *host) choose(network, addr string) (a address, err error) {
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		return a, err
	}
	p, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return a, err
	}
	n := h.net
	taken := func(network string) bool {
		key := network + a.String()
		return n.listeners[key] != nil || n.mailboxes[key] != nil
	}
	if p != 0 {
		if a.AddrPort = netip.AddrPortFrom(h.bind(), uint16(p)); taken(network) {
			return a, syscall.EADDRINUSE
		}
		return a, nil
	}
	for range 1 << 16 {
		if a.AddrPort = h.nextPort(); !taken("tcp") && !taken("udp") {
			return a, nil
		}
	}
	return a, syscall.EADDRINUSE
}

// nextPort gives the next port of a host, as a system gives them out. network.mu is held.
func (h *host) nextPort() netip.AddrPort {
	if h.port++; h.port < firstPort {
		h.port = firstPort
	}
	return netip.AddrPortFrom(h.bind(), h.port)
}

const firstPort = 32768 // of those that a system gives out

// Listen implements mesh.Network.
func (h *host) Listen(ctx context.Context, network, addr string) (net.Listener, error) {
	l := &listener{net: h.net, host: h}
	l.cond.L = &l.mu
	if !h.net.inMemory {
		var err error
		if l.real, err = new(net.ListenConfig).Listen(ctx, network, addr); err != nil {
			return nil, err
		}
		l.addr = l.real.Addr()
	}
	n := h.net
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.inMemory {
		a, err := h.choose("tcp", addr)
		if err != nil {
			return nil, &net.OpError{Op: "listen", Net: network, Err: err}
		}
		l.addr = a
	}
	l.key = "tcp" + l.addr.String()
	n.listeners[l.key], n.owners[l.key] = l, h
	n.watchers[l] = struct{}{}
	return l, nil
}

// ListenPacket implements mesh.Network.
func (h *host) ListenPacket(ctx context.Context, network, addr string) (net.PacketConn, error) {
	b := &mailbox{net: h.net, host: h}
	b.cond.L = &b.mu
	if !h.net.inMemory {
		var err error
		if b.real, err = new(net.ListenConfig).ListenPacket(ctx, network, addr); err != nil {
			return nil, err
		}
		b.addr = b.real.LocalAddr()
	}
	n := h.net
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.inMemory {
		a, err := h.choose("udp", addr)
		if err != nil {
			return nil, &net.OpError{Op: "listen", Net: network, Err: err}
		}
		b.addr = a
	}
	b.key = "udp" + b.addr.String()
	n.mailboxes[b.key], n.owners[b.key] = b, h
	n.watchers[b] = struct{}{}
	if b.real != nil && !n.closed {
		n.pumps.Go(b.pump)
	}
	return b, nil
}

// DialContext implements mesh.Network. As in a real network, who cannot be reached does not answer, and ctx ends the wait.
func (h *host) DialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	c, err := h.dial(ctx, addr)
	if err != nil {
		if _, known := err.(*net.OpError); !known {
			err = &net.OpError{Op: "dial", Net: network, Err: fmt.Errorf("%s: %w", addr, err)}
		}
		return nil, err
	}
	return c, nil
}

func (h *host) dial(ctx context.Context, addr string) (net.Conn, error) {
	to := h.net.owner("tcp", addr)
	if err := h.reach(ctx, to); err != nil {
		return nil, err
	}
	if h.net.inMemory {
		return h.connect(addr)
	}
	real, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	return h.splice(real, to)
}

// reach waits until a connection can be made: until a packet can go there and one back.
func (h *host) reach(ctx context.Context, to *host) error {
	for {
		now, changed := h.net.now()
		delay, ok := now.roundTrip(h, to)
		if ok && delay == 0 {
			return ctx.Err()
		}
		var timer <-chan time.Time
		if ok {
			t := time.NewTimer(delay)
			defer t.Stop()
			timer = t.C
		}
		select {
		case <-timer:
			return nil
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		case <-h.net.quit:
			return net.ErrClosed
		}
	}
}

// roundTrip is how long it takes to connect, if it is possible. A suspended node's system still answers. Nobody knows
// yet what the connection is for: it suffices if it can be made for one kind of traffic.
func (c *conditions) roundTrip(from, to *host) (d time.Duration, ok bool) {
	if c.suspended[from.name] {
		return 0, false
	}
	for _, kind := range []Traffic{Links, Gossip} {
		out, back := c.way(from, to, kind), c.way(to, from, kind)
		if out.cut || back.cut {
			continue
		}
		s, r := stampNow(time.Time{}), stampNow(time.Time{})
		if t := out.arrival(s).Sub(s.at) + back.arrival(r).Sub(r.at); !ok || t < d {
			d, ok = t, true
		}
	}
	return d, ok
}

// connect makes a connection in memory.
func (h *host) connect(addr string) (net.Conn, error) {
	n := h.net
	n.mu.Lock()
	l := n.listeners["tcp"+addr]
	local := address{h.nextPort()}
	closed := n.closed
	n.mu.Unlock()
	if l == nil || closed {
		return nil, errRefused
	}
	out, in := newPipes(n, h, l.host)
	if !l.offer(&conn{in: out, out: in, local: l.addr, remote: local}) {
		n.forget(out)
		n.forget(in)
		return nil, errRefused
	}
	return &conn{in: in, out: out, local: local, remote: l.addr, dialled: true}, nil
}

// splice gives a connection whose other end is a real one.
func (h *host) splice(real net.Conn, to *host) (net.Conn, error) {
	out, in := newPipes(h.net, h, to)
	far := &conn{in: out, out: in}
	near := &conn{in: in, out: out, local: real.LocalAddr(), remote: real.RemoteAddr(), dialled: true}
	if !h.net.pump(func() { splice(far, real) }) {
		far.Close()
		near.Close()
		real.Close()
		return nil, net.ErrClosed
	}
	return near, nil
}
