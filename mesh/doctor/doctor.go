// Package doctor finds out why the nodes of a mesh do not see each other.
//
// Examine looks at this machine and its networks, asks who is there by multicast DNS, dials whom it hears of as a visitor,
// and pings their gossip without taking part in it. So a running mesh does not notice it. What it gathered are Facts; what
// is wrong are Findings, each one sentence with the mend.
//
// What needs both sides is seen from both: an answer to a question, to a ping or to a Hello has passed both ways, and every
// node that is dialled says which relay it follows itself.
package doctor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"ultrasockets/codec"
	"ultrasockets/discovery"
	"ultrasockets/mesh"
	"ultrasockets/mesh/internal/keys"
)

// Bounds of an examination.
const (
	DefaultWithin = 10 * time.Second
	MinWithin     = 2 * time.Second

	maxNodes  = 64 // examined, all at a time
	maxSeeds  = 64
	maxOthers = 4 // other meshes that are asked for their name
)

// Config says what is examined. A node's own settings are what to put here.
type Config struct {
	// Mesh is the name of the mesh; empty: "default", or with Hostname whatever mesh answers.
	Mesh string
	// Bind is the IP address that nodes are bound to; empty: all usable interfaces.
	Bind string
	// Seeds are "host:port" of nodes to be examined besides those that are found.
	Seeds []string
	// Hostname is the "host:port" of a node, also with "tcp://" before it: then only the link to it is examined.
	Hostname string
	// Secret of the mesh, mesh.SecretSize bytes; nil: it has none.
	Secret []byte
	// NoMDNS leaves multicast DNS out: then only Seeds lead to nodes.
	NoMDNS bool
	// Within bounds the whole examination; 0: DefaultWithin; at least MinWithin. When all is well it takes about two
	// seconds, most of it listening; nodes that do not answer cost more.
	Within time.Duration
	// Logger gets how each node was found, at debug level; nil discards.
	Logger *slog.Logger

	listen time.Duration // how long to listen to mDNS; 0: listenTime. For tests.
}

// Finding is something that is wrong.
type Finding struct {
	Code     string `json:"code"` // one of the Code constants, for programs
	Sentence string `json:"sentence"`
	Mend     string `json:"mend"`
}

// Report is what Examine found.
type Report struct {
	Findings []Finding `json:"findings"` // what is wrong, the deepest cause first; empty, and never nil, if all is well
	Facts    Facts     `json:"facts"`
}

// Examine examines, as a visitor. It takes about two seconds when all is well and at most Config.Within. The error wraps
// mesh.ErrBadConfig or mesh.ErrBadName for a Config that cannot be, or is ctx's.
func Examine(ctx context.Context, cfg Config) (*Report, error) {
	e, err := newExam(cfg)
	if err != nil {
		return nil, fmt.Errorf("examine: %w", err)
	}
	began := time.Now()
	within, cancel := context.WithTimeout(ctx, e.cfg.Within)
	defer cancel()
	if e.cfg.Hostname != "" {
		e.facts.Nodes = []Node{e.target(within, e.cfg.Hostname, SourceHostname)}
	} else {
		if err := e.machine(); err != nil {
			return nil, fmt.Errorf("examine: %w", err)
		}
		e.find(within)
	}
	e.examine(within, e.facts.Nodes)
	e.follow(within)
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("examine: %w", err)
	}
	e.name()
	ended := time.Now()
	e.facts.Clock = Clock{Now: ended.Round(time.Millisecond), JumpMS: jump(began, ended).Milliseconds()}
	return &Report{Findings: diagnose(&e.facts), Facts: e.facts}, nil
}

// jump is how far the time of day went more than the time that passed.
func jump(began, ended time.Time) time.Duration {
	return ended.Round(0).Sub(began.Round(0)) - ended.Sub(began)
}

// exam is one examination.
type exam struct {
	cfg   Config
	bind  netip.Addr
	probe discovery.Probe
	own   []netip.Addr // of this machine; set by machine

	mu     sync.Mutex
	roster []codec.Entry // as the first relay lists them. Guarded by mu.
	facts  Facts         // Nodes: each by the goroutine that examines it
}

func newExam(cfg Config) (*exam, error) {
	e := &exam{cfg: cfg}
	c := &e.cfg
	c.Hostname = strings.TrimPrefix(c.Hostname, "tcp://")
	if c.Mesh == "" && c.Hostname == "" {
		c.Mesh = mesh.DefaultMesh
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	c.Within = cmp.Or(c.Within, DefaultWithin)
	if c.Mesh != "" {
		if err := codec.CheckName(c.Mesh); err != nil {
			return nil, fmt.Errorf("Config.Mesh: %w", err)
		}
	}
	if c.Bind != "" {
		var err error
		if e.bind, err = netip.ParseAddr(c.Bind); err != nil || e.bind.IsUnspecified() || e.bind.IsMulticast() {
			return nil, fmt.Errorf("%w: Config.Bind is %q; it must be an IP address of this machine, such as 127.0.0.1", mesh.ErrBadConfig, c.Bind)
		}
		e.bind = e.bind.Unmap()
	}
	for _, addr := range append(slices.Clone(c.Seeds), c.Hostname) {
		if host, port, err := net.SplitHostPort(addr); addr != "" && (err != nil || host == "" || port == "" || port == "0") {
			return nil, fmt.Errorf("%w: %q is not \"host:port\", such as 192.168.1.5:7000 or [fe80::1]:7000", mesh.ErrBadConfig, addr)
		}
	}
	switch {
	case len(c.Seeds) > maxSeeds:
		return nil, fmt.Errorf("%w: %d seeds, at most %d", mesh.ErrBadConfig, len(c.Seeds), maxSeeds)
	case c.Within < MinWithin:
		return nil, fmt.Errorf("%w: Config.Within is %v; an examination needs at least %v", mesh.ErrBadConfig, c.Within, MinWithin)
	case c.Secret != nil && len(c.Secret) != mesh.SecretSize:
		return nil, fmt.Errorf("%w: Config.Secret has %d bytes, not %d", mesh.ErrBadConfig, len(c.Secret), mesh.SecretSize)
	}
	e.probe = discovery.Probe{Mesh: c.Mesh, Bind: e.bind}
	if c.Secret != nil {
		var err error
		if e.probe.Key, err = keys.Gossip(c.Secret); err != nil {
			return nil, err
		}
	}
	e.facts = Facts{
		Mesh: c.Mesh, Secret: c.Secret != nil, Bind: c.Bind, Hostname: c.Hostname, NoMDNS: c.NoMDNS, Wire: codec.Version,
		System: runtime.GOOS + "/" + runtime.GOARCH, Container: inContainer(), Seeds: []Seed{}, Interfaces: []Interface{},
		Port5353: []string{}, MDNS: []Channel{}, Nodes: []Node{}, Listed: []string{},
	}
	return e, nil
}

// inContainer tells whether the runtime of a container has left its mark.
func inContainer() bool {
	for _, mark := range []string{"/.dockerenv", "/run/.containerenv"} {
		if _, err := os.Stat(mark); err == nil {
			return true
		}
	}
	return false
}

// machine looks at this machine's interfaces and its way to the group.
func (e *exam) machine() error {
	all, err := discovery.Interfaces(e.bind)
	if err != nil {
		return fmt.Errorf("the interfaces of this machine: %w", err)
	}
	for _, i := range all {
		shown := Interface{Name: i.Name, Kind: string(i.Kind), Up: i.Up, Multicast: i.Multicast, Used: i.Used, Addrs: []string{}}
		for _, p := range i.Prefixes {
			e.own = append(e.own, p.Addr())
			shown.Addrs = append(shown.Addrs, p.String())
		}
		e.facts.Interfaces = append(e.facts.Interfaces, shown)
	}
	if !e.cfg.NoMDNS {
		via, err := e.way(discovery.Group())
		e.facts.Multicast = MulticastRoute{Interface: via, Error: text(err)}
		e.facts.Port5353 = portHolders()
	}
	return nil
}

// way asks the system where packets to addr go, and sends none: the name of the interface whose address they get.
func (e *exam) way(addr netip.AddrPort) (string, error) {
	var from *net.UDPAddr
	if e.bind.IsValid() {
		from = net.UDPAddrFromAddrPort(netip.AddrPortFrom(e.bind, 0))
	}
	conn, err := net.DialUDP("udp", from, net.UDPAddrFromAddrPort(addr))
	if err != nil {
		return "", err
	}
	defer conn.Close()
	source := conn.LocalAddr().(*net.UDPAddr).AddrPort().Addr().Unmap()
	for _, i := range e.facts.Interfaces {
		for _, a := range i.Addrs {
			p, err := netip.ParsePrefix(a)
			if err == nil && (p.Addr() == source.WithZone("") || i.Kind == string(discovery.InterfaceLoopback) && p.Contains(source)) {
				return i.Name, nil
			}
		}
	}
	return source.String(), nil
}

// text is the innermost text of an error, "" of none: whoever reads it knows the operation and the address already.
func text(err error) string {
	if err == nil {
		return ""
	}
	var op *net.OpError
	if errors.As(err, &op) {
		err = op.Err
	}
	var system *os.SyscallError
	if errors.As(err, &system) {
		err = system.Err
	}
	return strings.ReplaceAll(err.Error(), "\n", "; ")
}
