package discovery

import (
	"cmp"
	"net"
	"net/netip"
	"slices"
	"strings"
)

// netInterface is one network interface as it is now: what the choices below are made from.
type netInterface struct {
	index    int
	name     string
	flags    net.Flags
	prefixes []netip.Prefix // own addresses, each with the length of its subnet
}

// maxInterfaces bounds the sockets held on a machine with very many interfaces.
const maxInterfaces = 16

// readInterfaces asks the system. An interface that vanishes meanwhile is left out.
func readInterfaces() ([]netInterface, error) {
	system, err := net.Interfaces()
	if err != nil {
		return nil, err
	}
	var all []netInterface
	for _, s := range system {
		addrs, err := s.Addrs()
		if err != nil {
			continue
		}
		i := netInterface{index: s.Index, name: s.Name, flags: s.Flags}
		for _, a := range addrs {
			if n, ok := a.(*net.IPNet); ok {
				if p, ok := prefixOf(n); ok {
					i.prefixes = append(i.prefixes, p)
				}
			}
		}
		all = append(all, i)
	}
	return all, nil
}

func prefixOf(n *net.IPNet) (netip.Prefix, bool) {
	addr, ok := netip.AddrFromSlice(n.IP)
	ones, bits := n.Mask.Size()
	if !ok || bits == 0 {
		return netip.Prefix{}, false
	}
	if addr.Is4In6() && bits == 128 {
		ones -= 96
	}
	return netip.PrefixFrom(addr.Unmap(), max(ones, 0)), true
}

// choose returns the interfaces to work on, best first: with a bind address, the one that has it and that
// address only; without, all that are up and have an address.
func choose(all []netInterface, bind netip.Addr) []netInterface {
	var chosen []netInterface
	for _, i := range all {
		switch {
		case i.flags&net.FlagUp == 0 || len(i.prefixes) == 0:
		case bind.IsValid():
			if i.has(bind) {
				return []netInterface{i}
			}
		case i.virtual() && i.onlyLinkLocal():
			// The host's end of a container's cable: the bridge speaks for it.
		default:
			chosen = append(chosen, i)
		}
	}
	slices.SortStableFunc(chosen, func(a, b netInterface) int {
		return cmp.Or(cmp.Compare(a.rank(), b.rank()), cmp.Compare(a.index, b.index))
	})
	return chosen[:min(len(chosen), maxInterfaces)]
}

// rank orders interfaces by how likely others reach us there: 0 is best.
func (i netInterface) rank() int {
	switch {
	case i.loopback():
		return 4
	case i.onlyLinkLocal():
		return 3
	case i.virtual():
		return 2
	case i.flags&net.FlagPointToPoint != 0:
		return 1
	}
	return 0
}

// virtual tells by its name that an interface leads to containers or virtual machines of this host only.
func (i netInterface) virtual() bool {
	return hasAnyPrefix(i.name,
		"docker", "veth", "br-", "virbr", "vmnet", "vboxnet", "vnet", "lxc", "lxd", "cni", "cali", "flannel",
		"podman", "tap", "bridge", "vEthernet", "awdl", "llw", "utun")
}

func hasAnyPrefix(s string, prefixes ...string) bool {
	return slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(s, p) })
}

func (i netInterface) loopback() bool { return i.flags&net.FlagLoopback != 0 }

// multicasts tells whether mDNS is worth trying. Linux does not flag lo, and yet lo can.
func (i netInterface) multicasts() bool { return i.flags&net.FlagMulticast != 0 || i.loopback() }

// has tells whether addr is an address of the interface. All of 127.0.0.0/8 is, on lo.
func (i netInterface) has(addr netip.Addr) bool {
	if zone := addr.Zone(); zone != "" && zone != i.name {
		return false
	}
	addr = addr.WithZone("")
	for _, p := range i.prefixes {
		if p.Addr() == addr || i.loopback() && p.Contains(addr) {
			return true
		}
	}
	return false
}

// onLink tells whether addr is in one of the interface's subnets.
func (i netInterface) onLink(addr netip.Addr) bool {
	addr = addr.WithZone("").Unmap()
	for _, p := range i.prefixes {
		if p.Contains(addr) {
			return true
		}
	}
	return false
}

func (i netInterface) onlyLinkLocal() bool {
	for _, p := range i.prefixes {
		if !p.Addr().IsLinkLocalUnicast() {
			return false
		}
	}
	return true
}

// addrs returns where others reach us on this interface: bind if that is set, else IPv4 first, and link-local
// IPv6 addresses (which need a zone, and gossip has no place for one) only when there is nothing else.
func (i netInterface) addrs(bind netip.Addr) []netip.Addr {
	if bind.IsValid() {
		return []netip.Addr{bind}
	}
	var v4, v6, local []netip.Addr
	for _, p := range i.prefixes {
		switch a := p.Addr(); {
		case a.Is4():
			v4 = append(v4, a)
		case a.IsLinkLocalUnicast():
			local = append(local, a.WithZone(i.name))
		default:
			v6 = append(v6, a)
		}
	}
	all := append(v4, v6...)
	if len(all) == 0 {
		all = local
	}
	return all[:min(len(all), maxAddrs)]
}

// source returns the address of the interface to send from in a family: not bind, which may be of the other one.
func (i netInterface) source(v6 bool) (netip.Addr, bool) {
	var found netip.Addr
	for _, p := range i.prefixes {
		a := p.Addr()
		switch {
		case a.Is4() == v6:
		case a.Is4(), a.IsLoopback():
			return a, true
		case a.IsLinkLocalUnicast(): // what RFC 6762 wants to see as the source of a packet to ff02::fb
			return a.WithZone(i.name), true
		case !found.IsValid():
			found = a
		}
	}
	return found, found.IsValid()
}

// ownAddrs returns the addresses others may dial, best first. Loopback is named only when there is nothing else.
func ownAddrs(chosen []netInterface, bind netip.Addr) []netip.Addr {
	if bind.IsValid() {
		return []netip.Addr{bind}
	}
	var all []netip.Addr
	for _, i := range chosen {
		if i.loopback() && len(all) > 0 {
			continue
		}
		all = append(all, i.addrs(bind)...)
	}
	return all[:min(len(all), maxAddrs)]
}

// advertised returns the address that gossip tells to others. It stays what it was for as long as an interface has
// it, so that an interface that comes or goes disturbs nobody; only loopback gives way to anything better.
func advertised(chosen []netInterface, bind, was netip.Addr) (netip.Addr, bool) {
	if bind.IsValid() {
		return bind.WithZone(""), true
	}
	if was.IsValid() && !was.IsLoopback() && slices.ContainsFunc(chosen, func(i netInterface) bool { return i.has(was) }) {
		return was, true
	}
	for _, i := range chosen {
		// Gossip has no place for the zone that a link-local IPv6 address needs.
		if addr := i.addrs(bind)[0]; addr.Zone() == "" {
			return addr, true
		}
	}
	return netip.Addr{}, false
}
