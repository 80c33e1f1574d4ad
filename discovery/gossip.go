package discovery

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/memberlist"
)

// gossip is this node's part in the membership of its mesh. It restarts memberlist when the node's address has
// changed, because memberlist cannot change it. Safe for concurrent use.
type gossip struct {
	// Set at the start, never changed.
	self    uint64
	label   string // tells meshes apart; it travels in the clear
	key     []byte
	oldKeys [][]byte
	packets net.PacketConn
	port    uint16
	bind    netip.Addr
	dial    dialFunc
	meta    *atomic.Pointer[[]byte] // what we say of ourselves, encoded
	facts   *facts
	log     *slog.Logger

	life   sync.Mutex // held while a round starts or ends
	closed bool       // guarded by life

	now atomic.Pointer[round] // the round that is on; written under life; nil before the first and after the last
}

// round is memberlist from one start to its end.
type round struct {
	list      *memberlist.Memberlist
	transport *transport
	advertise netip.Addr
	events    *events
}

// leaveBound is how long a node whose address changed takes leave under the old one.
const leaveBound = 500 * time.Millisecond

// start begins, or begins anew under another address.
func (g *gossip) start(advertise netip.Addr) error {
	g.life.Lock()
	defer g.life.Unlock()
	if g.closed {
		return errTransportClosed
	}
	if r := g.now.Load(); r != nil {
		if r.advertise == advertise {
			return nil
		}
		g.log.Info("address changed, joining anew", "from", r.advertise, "to", advertise)
		if err := g.end(r, leaveBound); err != nil {
			g.log.Debug("left the old address unheard", "err", err)
		}
	}
	r := &round{
		advertise: advertise,
		transport: newTransport(g.packets, g.bind, netip.AddrPortFrom(advertise, g.port), g.dial),
		events:    &events{self: g.self, loopback: advertise.IsLoopback(), meta: g.meta, facts: g.facts, log: g.log},
	}
	list, err := memberlist.Create(g.config(r))
	if err != nil {
		return errors.Join(fmt.Errorf("discovery: start gossip: %w", err), r.transport.Shutdown())
	}
	r.list = list
	g.now.Store(r)
	return nil
}

// end ends a round: it takes leave for at most that long, and stops. The caller holds life.
func (g *gossip) end(r *round, leave time.Duration) error {
	var err error
	if leave > 0 {
		err = r.list.Leave(leave)
	}
	g.now.Store(nil)
	r.events.retired.Store(true)
	err = errors.Join(err, r.list.Shutdown())
	g.facts.allLeft(time.Now())
	return err
}

// close ends for good and closes the socket.
func (g *gossip) close(leave time.Duration) error {
	g.life.Lock()
	defer g.life.Unlock()
	if g.closed {
		return nil
	}
	g.closed = true
	var err error
	if r := g.now.Load(); r != nil {
		err = g.end(r, leave)
	}
	return errors.Join(err, g.packets.Close())
}

// handle takes a stream that the node's listener accepted.
func (g *gossip) handle(conn net.Conn) {
	r := g.now.Load()
	if r == nil {
		_ = conn.Close()
		return
	}
	if err := r.transport.handle(conn); err != nil {
		g.log.Debug("gossip stream refused", "from", conn.RemoteAddr(), "err", err)
	}
}

// tell spreads the meta as it is now. It may wait for a moment.
func (g *gossip) tell() {
	const wait = 50 * time.Millisecond // the news is queued at once; waiting for its departure gains nothing
	if r := g.now.Load(); r != nil {
		_ = r.list.UpdateNode(wait)
	}
}

// join exchanges all it knows with the node at an address.
func (g *gossip) join(addr netip.AddrPort) error {
	r := g.now.Load()
	if r == nil {
		return errTransportClosed
	}
	_, err := r.list.Join([]string{addr.String()})
	return err
}

// config chooses memberlist's timing. A node that stops is Gone after
//
//	turn to be probed + ProbeInterval + SuspicionMult × max(1, log10 n) × ProbeInterval
//
// On loopback nothing is lost, so 200 ms and 2 make 0.8 s. On a LAN a Wi-Fi card in power save answers after 300 ms,
// and one that changes its access point is silent for 1 to 3 s; with 500 ms and 6 a node has 3 s to object to its
// suspicion. A stop is noticed there in 3.4 to 4.4 s, and five nodes did not lose sight of each other in minutes of
// one packet in ten being lost, now and then of one in five. The link, which hears a crash at once and counts its
// own three seconds, is the first opinion.
func (g *gossip) config(r *round) *memberlist.Config {
	c := memberlist.DefaultLANConfig()
	c.TCPTimeout = 2 * time.Second
	c.ProbeInterval, c.ProbeTimeout, c.SuspicionMult = 500*time.Millisecond, 300*time.Millisecond, 6
	c.SuspicionMaxTimeoutMult = 2 // in a small mesh there are too few others to confirm a crash
	c.PushPullInterval = 10 * time.Second
	if r.advertise.IsLoopback() {
		c = memberlist.DefaultLocalConfig()
		c.ProbeInterval, c.ProbeTimeout, c.SuspicionMult = 200*time.Millisecond, 100*time.Millisecond, 2
		c.GossipInterval = 50 * time.Millisecond
		c.PushPullInterval = 3 * time.Second
	}
	// News is told a few times to nodes chosen at random, and in a small mesh all of them may be those who know:
	// then it waits for the next full exchange, so that comes sooner than the library has it, too.
	c.RetransmitMult = 6
	// The library would try to compress every packet, for which it allocates 64 KiB each time: most of gossip's cost.
	c.EnableCompression = false
	c.Name = label(g.self)
	c.Label = g.label
	c.Transport = r.transport
	c.BindPort = int(g.port) // for nodes of old versions that do not say theirs; and no more than that
	c.SecretKey = g.key      // with it, nothing unencrypted is sent or accepted (GossipVerify… are on)
	if len(g.oldKeys) > 0 {
		// Both are lists of keys of the right size, which is all that can be wrong.
		c.Keyring, _ = memberlist.NewKeyring(g.oldKeys, g.key)
	}
	c.Delegate, c.Events, c.Alive = r.events, r.events, r.events
	// The same instance with another address is the same node after a change of networks.
	c.DeadNodeReclaimTime = time.Nanosecond
	c.DNSConfigPath = "" // only IP addresses are ever joined
	c.LogOutput, c.Logger = nil, libraryLog(g.log, "memberlist")
	if !g.log.Enabled(context.Background(), slog.LevelDebug) {
		c.Logger.SetOutput(io.Discard)
	}
	return c
}

// events is what memberlist calls, with its locks held: it copies facts out and never calls back.
type events struct {
	self     uint64
	loopback bool // whether we advertise a loopback address
	meta     *atomic.Pointer[[]byte]
	facts    *facts
	log      *slog.Logger
	retired  atomic.Bool // set when the round ends: what is said after that does not count
}

var (
	_ memberlist.Delegate      = (*events)(nil)
	_ memberlist.EventDelegate = (*events)(nil)
	_ memberlist.AliveDelegate = (*events)(nil)
)

// NotifyAlive refuses members that cannot be ours. Members on loopback and on the LAN do not mix: neither could
// reach what the other tells about its friends.
func (e *events) NotifyAlive(n *memberlist.Node) error {
	instance, addr, err := identify(n)
	switch {
	case err != nil:
		return err
	case instance == e.self:
		return nil
	case n.PMin > memberlist.ProtocolVersion2Compatible || n.PMax < memberlist.ProtocolVersion2Compatible || n.DMin > 0:
		// One such member would make every exchange with this node fail (memberlist's verifyProtocol).
		return fmt.Errorf("gossip protocol %d to %d", n.PMin, n.PMax)
	case addr.Addr().IsLoopback() != e.loopback:
		return errForeignAddr
	}
	return e.facts.room(instance)
}

// NotifyJoin and NotifyUpdate: a member is alive, or says something else of itself.
func (e *events) NotifyJoin(n *memberlist.Node) { e.NotifyUpdate(n) }

// NotifyUpdate implements memberlist.EventDelegate.
func (e *events) NotifyUpdate(n *memberlist.Node) {
	instance, addr, err := identify(n)
	if err != nil || e.retired.Load() {
		return
	}
	meta, err := parseMeta(n.Meta)
	if err != nil {
		// It lives, and says nothing that we understand.
		e.log.Debug("meta ignored", "peer", n.Name, "err", err)
		meta = Meta{}
	}
	e.facts.joined(instance, addr, meta, time.Now())
}

// NotifyLeave tells neither a crash from a leave nor either from a cut cable.
func (e *events) NotifyLeave(n *memberlist.Node) {
	if instance, ok := parseLabel(n.Name); ok && !e.retired.Load() {
		e.facts.left(instance, time.Now())
	}
}

// NodeMeta implements memberlist.Delegate.
func (e *events) NodeMeta(int) []byte { return *e.meta.Load() }

// NotifyMsg, GetBroadcasts, LocalState and MergeRemoteState: nothing else travels by gossip.
func (e *events) NotifyMsg([]byte)                {}
func (e *events) GetBroadcasts(_, _ int) [][]byte { return nil }
func (e *events) LocalState(bool) []byte          { return nil }
func (e *events) MergeRemoteState([]byte, bool)   {}

// identify reads a member's name and address.
func identify(n *memberlist.Node) (uint64, netip.AddrPort, error) {
	instance, ok := parseLabel(n.Name)
	if !ok || n.Name != label(instance) {
		return 0, netip.AddrPort{}, fmt.Errorf("name %.20q is no instance", n.Name)
	}
	addr, ok := netip.AddrFromSlice(n.Addr)
	addr = addr.Unmap()
	if !ok || addr.IsUnspecified() || addr.IsMulticast() || n.Port == 0 {
		return 0, netip.AddrPort{}, fmt.Errorf("address %v port %d", n.Addr, n.Port)
	}
	return instance, netip.AddrPortFrom(addr, n.Port), nil
}
