package doctor

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"ultrasockets/discovery"
)

// Codes of findings.
const (
	CodeNoInterface    = "no-interface"    // no network interface is up
	CodeBind           = "bind"            // no interface has the address to bind to
	CodeNoLAN          = "no-lan"          // nothing leads to other machines
	CodeNoMulticast    = "no-multicast"    // an interface takes no multicast
	CodeMulticastRoute = "multicast-route" // no route leads to multicast groups
	CodeOverlap        = "overlap"         // containers or a VPN use the addresses of the LAN
	CodeMDNSPort       = "mdns-port"       // port 5353 cannot be shared
	CodeMDNSSend       = "mdns-send"       // no question can be sent
	CodeMDNSDeaf       = "mdns-deaf"       // what is sent to the group is not heard
	CodeSeed           = "seed"            // a seed or hostname has no address
	CodeRoute          = "route"           // packets to a node go elsewhere
	CodeIsolation      = "isolation"       // a node is heard and cannot be reached
	CodeUnreachable    = "unreachable"     // the same of one that was told
	CodeTCP            = "tcp"             // UDP passes, TCP does not
	CodeUDP            = "udp"             // TCP passes, UDP does not
	CodeGossip         = "gossip"          // links work, gossip by TCP does not
	CodeSilent         = "silent"          // a node takes the connection and says nothing
	CodeStranger       = "stranger"        // something else listens there
	CodeVersion        = "version"         // another version of the wire
	CodeSecret         = "secret"          // the secrets differ
	CodeMeshName       = "mesh-name"       // the names of the meshes differ
	CodeNotAdmitted    = "not-admitted"    // the mesh's own rule
	CodeNoRelay        = "no-relay"        // nodes, and no relay among them
	CodeTwoRelays      = "two-relays"      // a mesh in halves
	CodeLoopbackNode   = "loopback-node"   // a node of this machine keeps to loopback
	CodeNobody         = "nobody"          // nobody answers, and nothing else explains it
	CodeClock          = "clock"           // the time of day jumps
	CodeUnfinished     = "unfinished"      // the time was too short
)

// diagnose judges the facts. The causes of this machine come first, then those of the nodes; what follows from another
// finding is none of its own.
func diagnose(f *Facts) []Finding {
	v := &verdicts{facts: f, found: []Finding{}}
	if f.Hostname == "" {
		v.interfaces()
		v.multicast()
	}
	v.addresses()
	v.links()
	if f.Hostname == "" {
		v.relays()
		v.company()
	}
	if j := f.Clock.JumpMS; j > maxJump || j < -maxJump {
		v.add(CodeClock, fmt.Sprintf("The time of day jumped by %d ms during the examination; where the system has no better clock, "+
			"nodes take that for sleep and drop their links.", j),
			"Let one program alone set the clock (timedatectl shows which), or mend the virtual machine's clock.")
	}
	if f.Unfinished > 0 {
		v.add(CodeUnfinished, fmt.Sprintf("Time ran out before %d of the nodes had answered.", f.Unfinished),
			"Give the examination more with --timeout.")
	}
	return v.found
}

const maxJump = 1000 // milliseconds

type verdicts struct {
	facts *Facts
	found []Finding
}

func (v *verdicts) add(code, sentence, mend string) {
	v.found = append(v.found, Finding{code, sentence, mend})
}

func (v *verdicts) has(codes ...string) bool {
	return slices.ContainsFunc(v.found, func(f Finding) bool { return slices.Contains(codes, f.Code) })
}

// carries are the interfaces that are expected to carry a mesh to others: where all of them fail, something is wrong.
func (v *verdicts) carries() []Interface {
	var all []Interface
	for _, i := range v.facts.Interfaces {
		if i.Used && (v.facts.Bind != "" || i.Kind == string(discovery.InterfaceLAN) && !onlyLinkLocal6(i)) {
			all = append(all, i)
		}
	}
	return all
}

// onlyLinkLocal6: gossip has no place for the zone of such an address.
func onlyLinkLocal6(i Interface) bool {
	return !slices.ContainsFunc(i.Addrs, func(a string) bool {
		p, err := netip.ParsePrefix(a)
		return err == nil && (p.Addr().Is4() || !p.Addr().IsLinkLocalUnicast())
	})
}

func (v *verdicts) interfaces() {
	used := slices.ContainsFunc(v.facts.Interfaces, func(i Interface) bool { return i.Used })
	switch {
	case !used && v.facts.Bind != "":
		v.add(CodeBind, fmt.Sprintf("No network interface that is up has the address %s, which is bound to.", v.facts.Bind),
			"Bring that interface up, or bind to an address that this machine has.")
	case !used:
		v.add(CodeNoInterface, "No network interface is up.", "Connect this machine to a network, or bring loopback up.")
	case len(v.carries()) == 0 && len(v.facts.Seeds) == 0:
		v.add(CodeNoLAN, "This machine is in no local network, so only nodes on it can be seen"+v.others()+".",
			"Connect it to the network of the others; if all nodes are to be on this machine, say --bind 127.0.0.1.")
	}
	v.overlap()
}

// others says what there is in place of a LAN.
func (v *verdicts) others() string {
	var parts []string
	for _, i := range v.facts.Interfaces {
		switch {
		case i.Kind == string(discovery.InterfaceLoopback):
		case i.Kind == string(discovery.InterfaceLAN) && i.Up && len(i.Addrs) == 0:
			parts = append(parts, i.Name+" is up and has no address")
		case i.Kind == string(discovery.InterfaceLAN) && i.Up && i.Used:
			parts = append(parts, i.Name+" has only a link-local IPv6 address")
		case i.Kind == string(discovery.InterfaceLAN):
			parts = append(parts, i.Name+" is down")
		case i.Up:
			parts = append(parts, fmt.Sprintf("%s is %s", i.Name, kindText(i.Kind)))
		}
	}
	if len(parts) == 0 {
		return ""
	}
	return " (" + few(parts) + ")"
}

func kindText(kind string) string {
	if kind == string(discovery.InterfaceVPN) {
		return "a VPN"
	}
	return "for containers"
}

// overlap finds containers and VPNs whose subnet has the addresses of a LAN in it, or the other way round.
func (v *verdicts) overlap() {
	lans := v.carries()
	for _, i := range v.facts.Interfaces {
		if !i.Up || i.Kind != string(discovery.InterfaceVPN) && i.Kind != string(discovery.InterfaceContainer) {
			continue
		}
		for _, lan := range lans {
			if lan.Name != i.Name && subnetsOverlap(lan.Addrs, i.Addrs) {
				v.add(CodeOverlap, fmt.Sprintf("%s, which is %s, uses addresses of the local network on %s (%s and %s), "+
					"so packets to some nodes go the wrong way.", i.Name, kindText(i.Kind), lan.Name, few(i.Addrs), few(lan.Addrs)),
					fmt.Sprintf("Give %s another subnet (Docker: default-address-pools in daemon.json; a VPN: its routes), or take it down.", i.Name))
				return
			}
		}
	}
}

func subnetsOverlap(a, b []string) bool {
	for _, x := range a {
		for _, y := range b {
			p, err1 := netip.ParsePrefix(x)
			q, err2 := netip.ParsePrefix(y)
			if err1 == nil && err2 == nil && !p.IsSingleIP() && !q.IsSingleIP() && !p.Addr().IsLinkLocalUnicast() && p.Overlaps(q) {
				return true
			}
		}
	}
	return false
}

// multicast judges mDNS on the interfaces that are to carry it. A family that fails beside one that works harms nobody.
func (v *verdicts) multicast() {
	if v.facts.NoMDNS {
		return
	}
	var mute, deaf, port, flagless []string
	for _, i := range v.carries() {
		var channels, sends, shares, echoes int
		var sendError, portError string
		for _, c := range v.facts.MDNS {
			if c.Interface != i.Name {
				continue
			}
			channels++
			switch {
			case c.SendError != "":
				sendError = c.SendError
				continue
			case c.PortError != "":
				portError = c.PortError
			default:
				shares++
			}
			sends++
			if c.Echo {
				echoes++
			}
		}
		switch {
		case !i.Multicast:
			flagless = append(flagless, i.Name)
		case channels > 0 && sends == 0:
			mute = append(mute, fmt.Sprintf("%s: %s", i.Name, sendError))
		case portError != "":
			port = append(port, fmt.Sprintf("%s: %s", i.Name, portError))
		case shares > 0 && echoes == 0:
			deaf = append(deaf, i.Name)
		}
	}
	v.tellMulticast(flagless, mute, port, deaf)
	if r := v.facts.Multicast; r.Error != "" && len(v.carries()) > 0 && len(mute) == 0 && len(flagless) == 0 {
		name := v.carries()[0].Name
		v.add(CodeMulticastRoute, fmt.Sprintf("No route leads to multicast groups (%s): nodes name the interface they send on and mostly do "+
			"without, but other programs, and some systems, do not.", r.Error),
			fmt.Sprintf("Give it one: \"ip route add 224.0.0.0/4 dev %s\", or a default route.", name))
	}
}

func (v *verdicts) tellMulticast(flagless, mute, port, deaf []string) {
	if len(flagless) > 0 {
		v.add(CodeNoMulticast, fmt.Sprintf("%s takes no multicast, so nobody is found there.", few(flagless)),
			fmt.Sprintf("Turn it on (\"ip link set dev %s multicast on\"), or give the address of another node with --seed.", flagless[0]))
	}
	if len(mute) > 0 {
		v.add(CodeMDNSSend, fmt.Sprintf("Multicast DNS cannot be sent (%s).", few(mute)),
			"Let UDP to 224.0.0.251 and ff02::fb, port 5353, out through the firewall and the routes of this machine, or give the address of a node with --seed.")
	}
	if len(port) > 0 {
		by := ""
		if len(v.facts.Port5353) > 0 {
			by = "; open in " + few(v.facts.Port5353)
		}
		v.add(CodeMDNSPort, fmt.Sprintf("UDP port 5353 cannot be shared (%s%s), so nodes here find others and are not found.", few(port), by),
			"Stop the program that keeps the port to itself, or give the address of a node with --seed.")
	}
	if len(deaf) > 0 {
		v.add(CodeMDNSDeaf, fmt.Sprintf("What is sent by multicast DNS on %s is not even heard on this machine itself.", few(deaf)),
			"Let UDP port 5353 in through this machine's firewall (\"ufw allow 5353/udp\", \"firewall-cmd --add-service=mdns\").")
	}
}

// addresses tells which seeds and hostnames have none.
func (v *verdicts) addresses() {
	for _, s := range v.facts.Seeds {
		if len(s.Addrs) == 0 {
			v.add(CodeSeed, fmt.Sprintf("The seed %s has no address (%s).", s.Seed, s.Error),
				"Correct it, give an IP address, or mend the name service.")
		}
	}
	if n := v.facts.Nodes; v.facts.Hostname != "" && len(n) > 0 && len(n[0].Addrs) == 0 {
		v.add(CodeSeed, fmt.Sprintf("%s has no address (%s).", v.facts.Hostname, n[0].Link.Error),
			"Correct it, give an IP address, or mend the name service.")
	}
}

// few lists at most three.
func few(list []string) string {
	const most = 3
	if len(list) <= most {
		return strings.Join(list, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(list[:most], ", "), len(list)-most)
}
