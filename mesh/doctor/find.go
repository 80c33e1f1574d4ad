package doctor

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"ultrasockets/codec"
	"ultrasockets/discovery"
	"ultrasockets/mesh"
)

// find asks who is there, by mDNS, and looks up the seeds.
func (e *exam) find(ctx context.Context) {
	var survey discovery.Survey
	var finding sync.WaitGroup
	if !e.cfg.NoMDNS {
		listening, cancel := context.WithTimeout(ctx, min(cmp.Or(e.cfg.listen, listenTime), e.cfg.Within/3))
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
		if len(n.Addrs) > 0 && !e.knows(n) {
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

// knows tells whether that node, or one with one of its addresses, is there already.
func (e *exam) knows(n Node) bool {
	return slices.ContainsFunc(e.facts.Nodes, func(o Node) bool {
		return n.Instance != "" && n.Instance == o.Instance ||
			slices.ContainsFunc(n.Addrs, func(a string) bool { return slices.Contains(o.Addrs, a) })
	})
}

// follow examines the nodes that others spoke of: relays they follow, and nodes that the relay lists.
func (e *exam) follow(ctx context.Context) {
	first := len(e.facts.Nodes)
	add := func(n Node) {
		if len(n.Addrs) > 0 && !e.knows(n) && len(e.facts.Nodes) < maxNodes {
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
		if e.cfg.Hostname != "" {
			break // only the way to the relay is examined
		}
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

// nameMeshes gives the nodes of other meshes the names of those, as one of each told it. One with a secret tells none, but
// may be the mesh whose name everybody knows.
func (e *exam) nameMeshes() {
	names := map[string]string{hashMark + discovery.MeshHash(mesh.DefaultMesh): mesh.DefaultMesh}
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

// name gives the nodes the names that the relay lists them by, or by which others follow them.
func (e *exam) name() {
	e.nameMeshes()
	names := make(map[string]string)
	byAddr := make(map[string]string)
	for _, n := range e.facts.Nodes {
		for _, a := range n.Link.referral {
			byAddr[a] = n.Link.Relay
		}
	}
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
		for _, a := range n.Addrs {
			if n.Name == "" && n.Ours {
				n.Name = byAddr[a]
			}
		}
	}
}

// newHello is the Hello of a visitor, new for every dial.
func (e *exam) newHello() codec.Hello {
	var id [11]byte
	rand.Read(id[:]) // never fails (crypto/rand)
	return codec.Hello{
		Mesh: e.cfg.Mesh, Name: fmt.Sprintf("visitor-%x", id[8:]), Instance: binary.BigEndian.Uint64(id[:]) | 1,
		Role: codec.RolePeer, WantsRoster: true, Visitor: true,
	}
}
