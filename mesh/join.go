package mesh

import (
	"context"
	"fmt"
	"net"
	"net/netip"

	"ultrasockets/codec"
	"ultrasockets/discovery"
	"ultrasockets/mesh/internal/keys"
	"ultrasockets/relay"
)

// Join takes part in a mesh without being told any address: it finds the others by multicast DNS and Config.Seeds. It
// returns once the node is linked to the relay, or has become it: alone that takes about a second, or eight if a seed takes the
// connection and does not answer (up to thirty where answers take long). ctx bounds only the joining; the node lives until Close.
// Errors: ErrBadName and ErrBadConfig; ErrNameTaken and ErrMeshFull after 4 seconds of asking again (for a name that a new
// relay keeps for who had it before, only if ctx ends before that does, after 5 seconds); ErrWrongMesh, ErrWrongSecret,
// ErrVersion, at once or, if a seed takes the connection and does not answer, after that time, and not if another seed knows
// the relay; ErrNoRelay with ctx's error, for a node that cannot be the relay itself.
func Join(ctx context.Context, cfg Config) (*Node, error) {
	if cfg.Mesh == "" {
		cfg.Mesh = DefaultMesh
	}
	n, err := join(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("join mesh %q as %q: %w", cfg.Mesh, cfg.Name, err)
	}
	return n, nil
}

func join(ctx context.Context, cfg Config) (*Node, error) {
	set, err := cfg.check()
	if err != nil {
		return nil, err
	}
	n := newNode(set)
	u := &uplink{n: n, set: set, clock: n.clock, hello: set.hello}
	dcfg := discovery.Config{
		Mesh: set.Mesh, Instance: n.instance, Meta: u.meta(false, 0), Bind: set.Bind, NoMDNS: set.NoMDNS,
		Seeds: set.Seeds, Beacon: !set.Visitor, Logger: set.log.With("node", set.Name),
	}
	if set.Secret != nil {
		if dcfg.Key, err = keys.Gossip(set.Secret); err != nil {
			return nil, err
		}
		for _, old := range set.OldSecrets {
			key, err := keys.Gossip(old)
			if err != nil {
				return nil, err
			}
			dcfg.OldKeys = append(dcfg.OldKeys, key)
		}
	}
	dcfg.Dial = set.Network.DialContext
	var tcp net.Listener
	if !set.Visitor {
		if tcp, dcfg.Packets, err = discovery.ListenPair(ctx, set.Network, set.Listen); err != nil {
			return nil, fmt.Errorf("%w: cannot listen on %s: %w; choose another port with Config.Listen, or 0 for a free one, or an address of this machine", ErrBadConfig, set.Listen, err)
		}
		dcfg.Port = portOf(tcp.Addr())
	}
	if n.disc, err = discovery.Start(dcfg); err != nil {
		if tcp != nil {
			tcp.Close()
		}
		return nil, fmt.Errorf("%w: %w", ErrBadConfig, err)
	}
	if tcp != nil {
		n.listener = tcp
		u.hello.Addrs = addrStrings(n.disc.Addrs())
		own := u.hello
		if set.Role == RolePeer {
			u.hello.Addrs = nil // it never will be the relay
		}
		n.hub = newHub(set, own, n.disc.HandleStream)
	}
	u.hub, u.disc = n.hub, n.disc
	return n.begin(ctx, u)
}

// Listen makes a static star: this node is the relay at hostname ("host:port", also with "tcp://" before it; port 0
// picks one, see Addr), and nodes that Dial it are the others. No multicast, no gossip, no election. With
// Config.Connections it takes exactly that many. It returns at once.
// Errors: ErrBadName, ErrBadConfig, or why the port cannot be used.
func Listen(ctx context.Context, hostname string, cfg Config) (*Node, error) {
	n, err := listen(ctx, hostname, cfg)
	if err != nil {
		return nil, fmt.Errorf("listen on %s as %q: %w", hostname, cfg.Name, err)
	}
	return n, nil
}

func listen(ctx context.Context, hostname string, cfg Config) (*Node, error) {
	if cfg.Mesh == "" {
		cfg.Mesh = DefaultMesh
	}
	cfg.Role = RoleServer
	if len(cfg.Seeds) > 0 || cfg.Listen != "" {
		return nil, fmt.Errorf("%w: Config.Seeds and Config.Listen are for Join; Listen waits at its hostname and looks for nobody: leave them out", ErrBadConfig)
	}
	set, err := cfg.check()
	if err != nil {
		return nil, err
	}
	addr, err := splitHostname(hostname)
	if err != nil {
		return nil, err
	}
	l, err := set.Network.Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("%w; choose another port, or stop what uses this one", err)
	}
	n := newNode(set)
	n.listener = l
	n.hub = newHub(set, set.hello, nil)
	return n.begin(ctx, &uplink{n: n, set: set, clock: n.clock, hello: set.hello, hub: n.hub, static: true})
}

// Dial joins, as a light node, the mesh whose relay, or a node that may become it, listens at hostname ("host:port", also
// with "tcp://" before it). It tries until it is linked or ctx ends, and follows the mesh to other relays. Config.Seeds are
// further addresses to ask. With an empty Config.Mesh it takes whatever mesh answers.
// Errors: those of Join.
func Dial(ctx context.Context, hostname string, cfg Config) (*Node, error) {
	n, err := dial(ctx, hostname, cfg)
	if err != nil {
		return nil, fmt.Errorf("dial %s as %q: %w", hostname, cfg.Name, err)
	}
	return n, nil
}

func dial(ctx context.Context, hostname string, cfg Config) (*Node, error) {
	cfg.Role = RolePeer
	set, err := cfg.check()
	if err != nil {
		return nil, err
	}
	addr, err := splitHostname(hostname)
	if err != nil {
		return nil, err
	}
	n := newNode(set)
	return n.begin(ctx, &uplink{n: n, set: set, clock: n.clock, hello: set.hello, hostname: addr})
}

// portOf is the port of a listener's address.
func portOf(addr net.Addr) int {
	a, _ := netip.ParseAddrPort(addr.String())
	return int(a.Port())
}

// begin starts the node's goroutines and waits for the first link.
func (n *Node) begin(ctx context.Context, u *uplink) (*Node, error) {
	life, cancel := context.WithCancel(context.Background())
	n.cancel = cancel
	n.task(func() { n.work.run(n.tick) })
	if n.hub != nil {
		u.holdVotes()
		n.task(func() { n.hub.Serve(n.listener) })
	}
	linked := make(chan struct{})
	ended := make(chan error, 1)
	n.task(func() {
		err := u.run(life, ctx, func() { close(linked) })
		ended <- err
		n.finish(err, 0)
	})
	select {
	case <-linked:
	case err := <-ended:
		<-n.done
		return nil, err
	}
	// With the roster there the node knows who is here: what it is asked next has its answer.
	if err := n.awaitRoster(ctx, "roster", func(nodes map[string]listed, _ bool) bool { return len(nodes) > 0 }); err != nil {
		n.Close()
		return nil, err
	}
	return n, nil
}

// newHub makes the hub that routes while the node is the relay, and refers or holds Hellos while it is not.
func newHub(set *settings, own codec.Hello, streams func(net.Conn)) *relay.Hub {
	cfg := relay.HubConfig{
		Mesh: set.Mesh, Secret: set.Secret, OldSecrets: set.OldSecrets, Own: own, Connections: set.Connections, OutboxBytes: set.OutboxBytes, Heartbeat: set.Heartbeat, Clock: set.Clock, Admit: set.Admit, Rate: set.Rate,
		Logger: set.log.With("node", set.Name),
	}
	if streams != nil {
		cfg.Foreign = func(c net.Conn) bool { streams(c); return true }
	}
	return relay.NewHub(cfg)
}
