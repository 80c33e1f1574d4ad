package discovery

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/miekg/dns"
)

// hint is what one mDNS response says of one node of our mesh. Anybody on the link can have said it.
type hint struct {
	instance uint64
	addrs    []netip.AddrPort // at most maxAddrs
	relay    bool
	term     uint32
	gone     bool // a goodbye; nothing else is set but from and hearsay
	from     netip.Addr
	hearsay  bool // from is none of addrs: somebody speaks for another, as a forger does, or a gateway of a large network
}

// Bounds on what one response can make us do.
const (
	maxAddrs   = 8   // addresses kept of one node
	maxRecords = 256 // records of one packet that are looked at
	maxTold    = 64  // nodes taken from one packet
)

// told is what stands in one packet about one service instance, before it is judged.
type told struct {
	host string
	port uint16
	txt  []string
	gone bool // the pointer to it was taken back
}

// hintsIn returns what a response, heard on an interface from an address, says of nodes of the mesh with that hash. Everything
// else is dropped: other services and meshes, other versions, records without their companions, addresses that
// cannot be meant.
func hintsIn(msg *dns.Msg, hash string, via netInterface, from netip.Addr) []hint {
	instances, hosts := toldIn(msg, via)
	var hints []hint
	for instance, t := range instances {
		if h, ok := t.judge(instance, hosts[t.host], hash); ok {
			h.from = from
			h.hearsay = !h.gone && !slices.ContainsFunc(h.addrs, h.by)
			hints = append(hints, h)
		}
	}
	return hints
}

// toldIn sorts the records of a response by the service instance they are about, and the addresses by host name.
func toldIn(msg *dns.Msg, via netInterface) (instances map[uint64]*told, hosts map[string][]netip.Addr) {
	instances = make(map[uint64]*told)
	hosts = make(map[string][]netip.Addr)
	of := func(name string) *told {
		instance, ok := instanceOf(name)
		if !ok || instances[instance] == nil && len(instances) >= maxTold {
			return &told{} // looked at by nobody
		}
		if instances[instance] == nil {
			instances[instance] = &told{}
		}
		return instances[instance]
	}
	records := append(msg.Answer[:len(msg.Answer):len(msg.Answer)], msg.Extra...)
	for _, rr := range records[:min(len(records), maxRecords)] {
		name := strings.ToLower(rr.Header().Name)
		dead := rr.Header().Ttl == 0
		switch rr := rr.(type) {
		case *dns.PTR:
			if dead && name == srvName {
				of(rr.Ptr).gone = true
			}
		case *dns.SRV:
			if !dead {
				t := of(name)
				t.host, t.port = strings.ToLower(rr.Target), rr.Port
			}
		case *dns.TXT:
			of(name).txt = rr.Txt
		case *dns.A:
			addHost(hosts, name, rr.A, dead, via)
		case *dns.AAAA:
			addHost(hosts, name, rr.AAAA, dead, via)
		}
	}
	return instances, hosts
}

func (t *told) judge(instance uint64, addrs []netip.Addr, hash string) (hint, bool) {
	relay, term, ok := parseTXT(t.txt, hash)
	switch {
	case !ok:
		return hint{}, false
	case t.gone:
		return hint{instance: instance, gone: true}, true
	case t.port == 0 || len(addrs) == 0:
		return hint{}, false
	}
	h := hint{instance: instance, relay: relay, term: term}
	for _, a := range addrs {
		h.addrs = append(h.addrs, netip.AddrPortFrom(a, t.port))
	}
	return h, true
}

// by tells whether the hint came from that address. On loopback a machine speaks to itself, in either family.
func (h hint) by(addr netip.AddrPort) bool {
	return addr.Addr() == h.from || addr.Addr().IsLoopback() && h.from.IsLoopback()
}

// addHost notes an address of a host, if it can be meant.
func addHost(hosts map[string][]netip.Addr, name string, ip []byte, dead bool, via netInterface) {
	addr, ok := netip.AddrFromSlice(ip)
	if !ok || dead || len(hosts[name]) >= maxAddrs {
		return
	}
	if addr = addr.Unmap(); addr.Is6() && addr.IsLinkLocalUnicast() {
		addr = addr.WithZone(via.name) // only the interface it was heard on can tell which link it means
	}
	if plausible(addr, via) {
		hosts[name] = append(hosts[name], addr)
	}
}

// plausible tells whether a neighbour on via can have that address. A forged response shall not make us knock
// on doors elsewhere in the world, nor on our own.
func plausible(addr netip.Addr, via netInterface) bool {
	switch {
	case addr.IsUnspecified(), addr.IsMulticast(), addr == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return false
	case via.loopback() || addr.IsLoopback():
		return via.loopback() && (addr.IsLoopback() || via.onLink(addr))
	}
	return addr.IsPrivate() || addr.IsLinkLocalUnicast() || via.onLink(addr)
}

// instanceOf returns the instance in the name of a service instance of ours.
func instanceOf(name string) (uint64, bool) {
	first, rest, ok := strings.Cut(name, ".")
	if !ok || !strings.EqualFold(rest, srvName) {
		return 0, false
	}
	return parseLabel(first)
}
