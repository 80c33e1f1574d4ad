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

	maxNodes    = 64 // examined and shown
	maxParallel = 16 // dialled at a time
	maxSeeds    = 64
	maxOthers   = 4 // other meshes that are asked for their name
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
		e.examine(within, e.facts.Nodes)
	} else {
		if err := e.machine(); err != nil {
			return nil, fmt.Errorf("examine: %w", err)
		}
		e.find(within)
		e.examine(within, e.facts.Nodes)
		e.follow(within)
	}
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

// find asks who is there, by mDNS, and looks up the seeds.
func (e *exam) find(ctx context.Context) {
	var survey discovery.Survey
	var finding sync.WaitGroup
	if !e.cfg.NoMDNS {
		listening, cancel := context.WithTimeout(ctx, min(listenTime, e.cfg.Within/3))
		defer cancel()
		finding.Go(func() {
			var err error
			if survey, err = discovery.Look(listening, e.bind); err != nil {
				survey.Channels = nil // the interfaces could be read a moment ago; there are none now
			}
		})
	}
	seeds := make([]Node, len(e.cfg.Seeds))
	for i, seed := range e.cfg.Seeds {
		finding.Go(func() { seeds[i] = e.target(ctx, seed, SourceSeed) })
	}
	finding.Wait()
	for _, c := range survey.Channels {
		e.facts.MDNS = append(e.facts.MDNS, Channel{
			Interface: c.Interface, IPv6: c.IPv6, PortError: text(c.PortErr), SendError: text(c.SendErr), Echo: c.Echo, Packets: c.Packets,
		})
	}
	e.take(survey.Heard)
	for i, n := range seeds {
		e.facts.Seeds = append(e.facts.Seeds, Seed{Seed: e.cfg.Seeds[i], Addrs: n.Addrs, Error: n.Link.Error})
		if len(n.Addrs) > 0 && !e.knows(n.Addrs) {
			e.facts.Nodes = append(e.facts.Nodes, n)
		}
	}
}

// listenTime is how long mDNS is listened to: a node may answer to the group only once a second.
const listenTime = 1500 * time.Millisecond

// take makes nodes of what was heard by mDNS, those of our mesh first.
func (e *exam) take(heard []discovery.Heard) {
	ours := func(h discovery.Heard) bool { return h.MeshHash == discovery.MeshHash(e.cfg.Mesh) }
	slices.SortStableFunc(heard, func(a, b discovery.Heard) int {
		switch {
		case ours(a) == ours(b):
			return 0
		case ours(a):
			return -1
		}
		return 1
	})
	for _, h := range heard {
		if len(e.facts.Nodes) >= maxNodes {
			e.facts.Unexamined++
			continue
		}
		n := Node{
			Instance: fmt.Sprintf("%016x", h.Instance), Source: SourceMDNS, Ours: ours(h), Version: h.Version, Relay: h.Relay,
			Interfaces: h.Interfaces, Here: e.isHere(h.Addrs), Addrs: []string{},
		}
		if !n.Ours {
			n.Mesh = hashMark + h.MeshHash
		}
		for _, a := range h.Addrs {
			n.Addrs = append(n.Addrs, a.String())
		}
		e.facts.Nodes = append(e.facts.Nodes, n)
	}
}

func (e *exam) isHere(addrs []netip.AddrPort) bool {
	return slices.ContainsFunc(addrs, func(a netip.AddrPort) bool {
		return a.Addr().IsLoopback() || slices.Contains(e.own, a.Addr().WithZone(""))
	})
}

// target is a node of which only the "host:port" is known. Without an address, its Link says why.
func (e *exam) target(ctx context.Context, hostport, source string) Node {
	n := Node{Source: source, Ours: true, Addrs: []string{}, Interfaces: []string{}}
	ctx, cancel := context.WithTimeout(ctx, min(lookupTime, e.cfg.Within/4))
	defer cancel()
	host, service, _ := net.SplitHostPort(hostport) // newExam has checked it
	port, err := net.DefaultResolver.LookupPort(ctx, "tcp", service)
	var ips []netip.Addr
	if err == nil {
		ips, err = net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	}
	var addrs []netip.AddrPort
	for _, ip := range ips[:min(len(ips), maxAddrs)] {
		addrs = append(addrs, netip.AddrPortFrom(ip.Unmap(), uint16(port)))
		n.Addrs = append(n.Addrs, addrs[len(addrs)-1].String())
	}
	n.Here = e.isHere(addrs)
	if err != nil {
		n.Link.Error = text(err)
		n.Addrs = []string{}
	}
	return n
}

const (
	lookupTime = 2 * time.Second
	maxAddrs   = 8 // of one node
)

// knows tells whether a node with one of these addresses is there already.
func (e *exam) knows(addrs []string) bool {
	return slices.ContainsFunc(e.facts.Nodes, func(n Node) bool {
		return slices.ContainsFunc(n.Addrs, func(a string) bool { return slices.Contains(addrs, a) })
	})
}

// follow examines the nodes that others spoke of: relays they follow, and nodes that the relay lists.
func (e *exam) follow(ctx context.Context) {
	first := len(e.facts.Nodes)
	add := func(n Node) {
		if len(n.Addrs) > 0 && !e.knows(n.Addrs) && len(e.facts.Nodes) < maxNodes {
			addrs := parseAddrs(n.Addrs)
			n.Here = e.isHere(addrs)
			e.facts.Nodes = append(e.facts.Nodes, n)
		}
	}
	for _, n := range e.facts.Nodes[:first] {
		if n.Ours && n.Link.State == LinkReferred {
			add(Node{Name: n.Link.Relay, Source: SourceReferral, Ours: true, Relay: true, Addrs: n.Link.referral, Interfaces: []string{}})
		}
	}
	for _, entry := range e.roster {
		add(Node{
			Name: entry.Name, Instance: fmt.Sprintf("%016x", entry.Instance), Source: SourceListed, Ours: true, Relay: entry.Relay,
			Addrs: entry.Addrs, Interfaces: []string{},
		})
	}
	e.examine(ctx, e.facts.Nodes[first:])
}

func parseAddrs(texts []string) []netip.AddrPort {
	var addrs []netip.AddrPort
	for _, t := range texts {
		if a, err := netip.ParseAddrPort(t); err == nil {
			addrs = append(addrs, a)
		}
	}
	return addrs
}

// hashMark stands before the hash of a mesh's name, in place of the name.
const hashMark = "hash "

// nameMeshes gives the nodes of other meshes the names of those, as one of each told it.
func (e *exam) nameMeshes() {
	names := make(map[string]string)
	for _, n := range e.facts.Nodes {
		var name, wanted string
		if _, err := fmt.Sscanf(n.Link.Error, "this is the mesh %q, not %q", &name, &wanted); err == nil && codec.CheckName(name) == nil {
			names[hashMark+discovery.MeshHash(name)] = name
		}
	}
	for i := range e.facts.Nodes {
		if name := names[e.facts.Nodes[i].Mesh]; name != "" {
			e.facts.Nodes[i].Mesh = name
		}
	}
}

// name gives the nodes the names that the relay lists them by.
func (e *exam) name() {
	e.nameMeshes()
	names := make(map[string]string)
	byAddr := make(map[string]string)
	for _, entry := range e.roster {
		names[fmt.Sprintf("%016x", entry.Instance)] = entry.Name
		for _, a := range entry.Addrs {
			byAddr[a] = entry.Name
		}
		if len(e.facts.Listed) < maxNodes {
			e.facts.Listed = append(e.facts.Listed, entry.Name)
		}
	}
	slices.Sort(e.facts.Listed)
	e.facts.ListedAll = len(e.roster)
	for i := range e.facts.Nodes {
		n := &e.facts.Nodes[i]
		if n.Name == "" && n.Ours {
			n.Name = names[n.Instance]
		}
		if n.Name == "" && n.Ours && n.Source != SourceMDNS && len(n.Addrs) > 0 {
			n.Name = byAddr[n.Addrs[0]]
		}
	}
}

// newHello is the Hello of a visitor, new for every dial.
func (e *exam) newHello() codec.Hello {
	id := mesh.NewSecret() // random bytes
	return codec.Hello{
		Mesh: e.cfg.Mesh, Name: fmt.Sprintf("visitor-%x", id[:3]), Instance: uint64(id[4])<<56 | uint64(id[5])<<48 | uint64(id[6])<<40 |
			uint64(id[7])<<32 | uint64(id[8])<<24 | uint64(id[9])<<16 | uint64(id[10])<<8 | 1,
		Role: codec.RolePeer, WantsRoster: true, Visitor: true,
	}
}
