package discovery

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Config says who this node is and how it looks for others. Mesh, Instance and Meta.Name are always required, Port mostly.
type Config struct {
	Mesh     string // name of the mesh, at most 64 bytes; meshes with different names do not see each other
	Instance uint64 // random, new at each start, not 0
	Meta     Meta   // what the node says of itself at first; see SetMeta

	// Bind is an IP address of this machine: nothing is sent or heard on an interface other than the one that has
	// it. Bound to loopback, everything stays on loopback. Empty: every usable interface.
	Bind string

	// Port is the node's port, 1 to 65535, which others dial and gossip to. A node without Packets and Beacon, which
	// only looks, needs none.
	Port int

	// Packets is the packet socket (UDP) on that port, for gossip. It belongs to the Discovery from Start on, also when Start
	// fails. Nil: no gossip, only mDNS. If the Network of its address is not "udp", it belongs to another network than
	// the machine's, for tests: then Bind is needed, and this machine's interfaces do not matter.
	Packets net.PacketConn

	// Dial connects to "host:port" for gossip. Nil: the machine's network, from the address Bind.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)

	Beacon bool     // whether mDNS queries are answered; without it the node finds others and is not found
	NoMDNS bool     // neither answer nor browse
	Seeds  []string // "host:port" of any nodes, for networks without multicast; at most 64

	// Key encrypts gossip, 32 bytes; nothing unencrypted or encrypted otherwise is then accepted. Nil: open.
	Key []byte
	// OldKeys are accepted as well, 32 bytes each: the mesh is changing keys. With Key only.
	OldKeys [][]byte

	Logger *slog.Logger // nil discards
}

const (
	maxMeshName = 64
	maxSeeds    = 64
	keySize     = 32

	// watchPause is how often the list of interfaces is looked at: joining a network shall be noticed soon, and
	// asking costs less than 0.1 ms.
	watchPause = 3 * time.Second
)

// ErrConfig is the error of Start for a Config that cannot be.
var ErrConfig = errors.New("discovery: bad config")

// Discovery finds the nodes of one mesh and tells who is alive. Start makes one; Close ends it. All methods are
// safe for concurrent use and, but for Close, do not wait for the network.
type Discovery struct {
	// Set by Start, never changed.
	log       *slog.Logger
	bind      netip.Addr
	port      uint16
	meshHash  string
	facts     *facts
	problems  *problems
	multicast *multicast // nil with NoMDNS
	gossip    *gossip    // nil without Packets
	joiner    *joiner    // nil without Packets
	cancel    context.CancelFunc
	metaNews  chan struct{} // capacity 1: gossip has to spread the meta
	elsewhere bool          // this machine's interfaces do not matter

	watching sync.WaitGroup // waited for by Close before gossip ends: it may start that anew
	running  sync.WaitGroup // waited for by Close

	meta atomic.Pointer[[]byte]   // as gossip tells it
	txt  atomic.Pointer[[]string] // as mDNS tells it

	mu     sync.Mutex
	chosen []netInterface // guarded by mu: the interfaces worked on
	closed bool           // guarded by mu
}

// Start begins to look for others and, with Beacon, to be found. It does not wait for anybody, and does not fail
// for a network that does not work: see Problems.
func Start(cfg Config) (*Discovery, error) {
	d, err := newDiscovery(cfg)
	if err != nil {
		if cfg.Packets != nil {
			err = errors.Join(err, cfg.Packets.Close())
		}
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	d.cancel = cancel
	if err := d.look(); err != nil {
		return nil, errors.Join(err, d.Close(0))
	}
	d.watching.Go(func() { d.watch(ctx) })
	if d.multicast != nil {
		d.running.Go(func() { d.multicast.browse(ctx) })
	}
	if d.gossip != nil {
		d.running.Go(func() { d.joiner.run(ctx) })
		d.running.Go(func() { d.spread(ctx) })
	}
	return d, nil
}

// newDiscovery checks the config and puts the parts together. Nothing runs yet.
func newDiscovery(cfg Config) (*Discovery, error) {
	meta, bind, err := cfg.check()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrConfig, err)
	}
	log := cfg.Logger
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	log = log.With("node", cfg.Meta.Name, "mesh", cfg.Mesh)
	d := &Discovery{
		log: log, bind: bind, port: uint16(cfg.Port), meshHash: meshHash(cfg.Mesh),
		facts:    newFacts(cfg.Instance),
		problems: &problems{log: log},
		metaNews: make(chan struct{}, 1),
	}
	d.meta.Store(&meta)
	txt := makeTXT(d.meshHash, cfg.Meta.Relay, cfg.Meta.Term)
	d.txt.Store(&txt)
	if !cfg.NoMDNS {
		d.multicast = &multicast{
			self: cfg.Instance, port: cfg.Port, bind: bind, beacon: cfg.Beacon, hash: d.meshHash, txt: &d.txt,
			hear: d.hear, members: d.facts.members, problems: d.problems, log: log,
			again:    make(chan struct{}, 1),
			stations: make(map[stationKey]*station),
		}
	}
	if cfg.Packets != nil {
		if cfg.Dial == nil {
			cfg.Dial = dialFrom(bind)
		}
		d.elsewhere = cfg.elsewhere()
		d.gossip = &gossip{
			self: cfg.Instance, label: d.meshHash, key: slices.Clone(cfg.Key), oldKeys: slices.Clone(cfg.OldKeys), packets: cfg.Packets, port: d.port,
			bind: bind, dial: cfg.Dial, meta: &d.meta, facts: d.facts, log: log,
		}
		d.joiner = &joiner{
			gossip: d.gossip, facts: d.facts, seeds: slices.Clone(cfg.Seeds), problems: d.problems, own: d.Addrs,
			log:      log,
			kick:     make(chan struct{}, 1),
			attempts: make(map[string]*attempt),
			nameless: make(map[string]string),
		}
	}
	return d, nil
}

// check returns the encoded meta and the bind address (invalid: none), or what is wrong.
func (c Config) check() (meta []byte, bind netip.Addr, err error) {
	meta, err = c.Meta.encode()
	if err != nil {
		return nil, bind, err
	}
	if c.Bind != "" {
		if bind, err = netip.ParseAddr(c.Bind); err != nil {
			return nil, bind, fmt.Errorf("bind: %w", err)
		}
		bind = bind.Unmap()
	}
	switch {
	case c.Mesh == "" || len(c.Mesh) > maxMeshName:
		err = fmt.Errorf("mesh name of %d bytes, want 1 to %d", len(c.Mesh), maxMeshName)
	case c.Instance == 0:
		err = errors.New("instance 0")
	case bind.IsValid() && (bind.IsUnspecified() || bind.IsMulticast()):
		err = fmt.Errorf("bind to %s; leave it empty for every interface", bind)
	case c.elsewhere() && !bind.IsValid():
		err = errors.New("no bind address in a network that is not this machine's")
	case c.Port < 0 || c.Port > 65535 || c.Port == 0 && (c.Packets != nil || c.Beacon):
		err = fmt.Errorf("port %d, want 1 to 65535", c.Port)
	case c.Key != nil && len(c.Key) != keySize:
		err = fmt.Errorf("key of %d bytes, want %d or none", len(c.Key), keySize)
	case c.Key == nil && len(c.OldKeys) > 0:
		err = errors.New("old keys and no key")
	case slices.ContainsFunc(c.OldKeys, func(key []byte) bool { return len(key) != keySize }):
		err = fmt.Errorf("an old key is not of %d bytes", keySize)
	case len(c.Seeds) > maxSeeds:
		err = fmt.Errorf("%d seeds, want at most %d", len(c.Seeds), maxSeeds)
	}
	for _, seed := range c.Seeds {
		if _, _, seedErr := splitSeed(seed); seedErr != nil && err == nil {
			err = fmt.Errorf("seed: %w", seedErr)
		}
	}
	return meta, bind, err
}

func (c Config) elsewhere() bool { return c.Packets != nil && c.Packets.LocalAddr().Network() != "udp" }

// HandleStream takes over an accepted TCP connection whose first byte is StreamByte and still to be read. It closes
// the connection when it is done with it, at once if there is no gossip.
func (d *Discovery) HandleStream(conn net.Conn) {
	if d.gossip == nil {
		_ = conn.Close()
		return
	}
	d.gossip.handle(conn)
}

// Nodes returns all that is known of other nodes at this moment, sorted by instance. The caller owns the result.
func (d *Discovery) Nodes() []Node { return d.facts.snapshot() }

// Changed returns a channel that has a token whenever Nodes may say something new since the last token was taken.
// It has room for one, so it is for one reader, and it is never closed.
func (d *Discovery) Changed() <-chan struct{} { return d.facts.changed }

// SetMeta changes what the node says of itself, in gossip and in mDNS. It returns before anybody has heard it. A
// meta that cannot be told (see Meta.Name) is logged and changes nothing.
func (d *Discovery) SetMeta(m Meta) {
	b, err := m.encode()
	if err != nil {
		d.log.Error("meta not changed", "err", err)
		return
	}
	d.meta.Store(&b)
	txt := makeTXT(d.meshHash, m.Relay, m.Term)
	old := d.txt.Swap(&txt)
	if d.multicast != nil && !slices.Equal(*old, txt) {
		d.multicast.publish()
	}
	select {
	case d.metaNews <- struct{}{}:
	default:
	}
}

// Browse asks the network again who is there, now and often in the next seconds: for a node that has lost its
// relay or woken up.
func (d *Discovery) Browse() {
	if d.multicast != nil {
		d.multicast.browseAgain()
	}
	if d.joiner != nil {
		d.joiner.wake()
	}
}

// Addrs returns the addresses under which others may dial this node, best first, at most 8: Bind, or those of the
// usable interfaces, with Port; none without a Port. It changes when interfaces come and go.
func (d *Discovery) Addrs() []netip.AddrPort {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.port == 0 {
		return nil
	}
	own := ownAddrs(d.chosen, d.bind)
	addrs := make([]netip.AddrPort, len(own))
	for i, a := range own {
		addrs[i] = netip.AddrPortFrom(a, d.port)
	}
	return addrs
}

// Hint offers addresses of nodes learnt elsewhere, to be joined by gossip. At most 256 wait; the oldest give way.
func (d *Discovery) Hint(addrs ...netip.AddrPort) {
	if d.joiner != nil {
		d.joiner.offer(addrs)
	}
}

// Problems returns what does not work at this moment, and why.
func (d *Discovery) Problems() []Problem { return d.problems.list() }

// Close says goodbye and stops. With leave > 0, gossip takes leave first, for at most that long, so that the others
// need not find out; leave 0 is silent, as a crash is. It waits for every goroutine of this package; memberlist's own
// end by themselves within about half a second. Closing again does nothing.
func (d *Discovery) Close(leave time.Duration) error {
	d.mu.Lock()
	closed := d.closed
	d.closed = true
	d.mu.Unlock()
	if closed {
		return nil
	}
	d.cancel()
	d.watching.Wait()
	if d.multicast != nil {
		d.multicast.stop()
	}
	var err error
	if d.gossip != nil {
		err = d.gossip.close(leave)
	}
	d.running.Wait()
	return err
}

// hear takes what a station heard.
func (d *Discovery) hear(h hint) {
	if d.facts.hear(h, time.Now()) && d.joiner != nil {
		d.joiner.wake()
	}
}

// watch looks at the interfaces every few seconds, and forgets what is old.
func (d *Discovery) watch(ctx context.Context) {
	tick := time.NewTicker(watchPause)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if err := d.look(); err != nil && ctx.Err() == nil {
			d.log.Warn("gossip did not start anew", "err", err)
		}
		d.facts.sweep(time.Now(), hintLifeAmong(d.facts.members()))
	}
}

// look reads the interfaces and fits everything to them.
func (d *Discovery) look() error {
	if d.elsewhere {
		return d.gossip.start(d.bind)
	}
	all, err := readInterfaces()
	if err != nil {
		d.log.Debug("interfaces not read", "err", err)
	}
	chosen := choose(all, d.bind)
	d.mu.Lock()
	d.chosen = chosen
	d.mu.Unlock()
	switch {
	case len(chosen) > 0:
		d.problems.set(ProblemInterface)
	case d.bind.IsValid():
		d.problems.set(ProblemInterface, fmt.Sprintf("no interface that is up has the address %s: bring it up, or bind to another", d.bind))
	default:
		d.problems.set(ProblemInterface, "no network interface is up: connect to a network, or bring loopback up")
	}
	if d.multicast != nil {
		d.multicast.retune(chosen)
	}
	if d.gossip == nil {
		return nil
	}
	var was netip.Addr
	if r := d.gossip.now.Load(); r != nil {
		was = r.advertise
	}
	if addr, ok := advertised(chosen, d.bind, was); ok {
		return d.gossip.start(addr)
	}
	return nil
}

// spread has gossip tell the meta whenever it changed.
func (d *Discovery) spread(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-d.metaNews:
			d.gossip.tell()
		}
	}
}
