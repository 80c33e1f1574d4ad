package doctor

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"ultrasockets/discovery"
)

// complaint is one kind of trouble with nodes: a sentence about all that have it.
type complaint struct {
	code     string
	sentence string // with %s for the nodes
	mend     string
}

// trouble is an index of complaints, in the order in which they are told.
type trouble int

const (
	noTrouble trouble = iota - 1
	otherVersion
	secretNeeded
	secretTooMany
	otherSecret
	otherMesh
	stranger
	notAdmitted
	silent
	wrongWay
	noWay
	noTCP
	isolated
	unreachable
	noUDP
	noGossip
)

var complaints = [...]complaint{
	otherVersion:  {CodeVersion, "Another version of the wire is spoken by %s.", "Bring all nodes to the same release of UltraSockets."},
	secretNeeded:  {CodeSecret, "A secret is needed by %s, and none was given.", "Give the secret of the mesh with --secret-file, or take it away there."},
	secretTooMany: {CodeSecret, "A secret was given, and there is none at %s.", "Give that node the same --secret-file, or leave it out everywhere."},
	otherSecret:   {CodeSecret, "Another secret than the one given here is used by %s.", "Copy one secret file to all nodes of the mesh."},
	otherMesh:     {CodeMeshName, "Another mesh is what %s belongs to.", "Give all nodes the same --mesh."},
	stranger:      {CodeStranger, "Something that is not UltraSockets answers at %s.", "Correct the address, or stop that program."},
	notAdmitted:   {CodeNotAdmitted, "A visitor is not admitted by %s.", "Ask who runs that mesh to admit it."},
	silent: {CodeSilent, "A connection is taken and then not answered by %s.",
		"See whether that program is UltraSockets at all; if it is, it is stopped, overloaded, or stuck: start it anew."},
	wrongWay: {CodeRoute, "Packets take the wrong way to %s.",
		"Let the VPN or the routes of this machine leave the local network alone (\"ip route get ADDRESS\" shows the way)."},
	noWay: {CodeRoute, "This machine knows no way to %s.", "Mend its routes (\"ip route get ADDRESS\" shows the way)."},
	noTCP: {CodeTCP, "UDP passes but TCP does not to %s.", "Let TCP to that port in through the firewall there, and out through the one here."},
	isolated: {CodeIsolation, "Multicast DNS is heard from, but neither TCP nor UDP passes to %s.",
		"Turn off the access point's client isolation (guest networks have it), or let that port, TCP and UDP, in through the " +
			"firewall there."},
	unreachable: {CodeUnreachable, "No connection comes about with %s.",
		"See that it runs and that the address is right, and let that port, TCP and UDP, in through the firewall there."},
	noUDP: {CodeUDP, "TCP passes but UDP does not to %s.",
		"Let UDP to that port in through the firewall there, and back in through the one here; without it nobody notices who is alive."},
	noGossip: {CodeGossip, "Links work but gossip does not with %s.",
		"Bring all nodes to the same release; if something inspects or proxies TCP on the way, let it pass."},
}

// links judges every node of the mesh by itself, and tells each kind of trouble once.
func (v *verdicts) links() {
	var about [len(complaints)][]string
	for i := range v.facts.Nodes {
		n := &v.facts.Nodes[i]
		if k := troubleWith(n); k != noTrouble {
			about[k] = append(about[k], describe(n, complaints[k].code))
		}
	}
	for k, nodes := range about {
		if len(nodes) > 0 {
			v.add(complaints[k].code, fmt.Sprintf(complaints[k].sentence, few(nodes)), complaints[k].mend)
		}
	}
}

// troubleWith judges one node.
func troubleWith(n *Node) trouble {
	switch {
	case !n.Ours:
		return noTrouble
	case n.Version != "" && n.Version != discovery.Version:
		return otherVersion
	}
	switch n.Link.State {
	case LinkVersion:
		return otherVersion
	case LinkSecretNeeded:
		return secretNeeded
	case LinkNoSecret:
		return secretTooMany
	case LinkWrongSecret:
		return otherSecret
	case LinkWrongMesh:
		return otherMesh
	case LinkStranger:
		return stranger
	case LinkNotAdmitted:
		return notAdmitted
	case LinkSilent:
		return silent
	case LinkRefused, LinkTimeout:
		return cut(n)
	case LinkUntried:
		return noTrouble
	}
	switch {
	case n.GossipUDP.State == ProbeSilent && n.GossipTCP.State == ProbeSilent && n.Source != SourceMDNS:
		return noTrouble // a static star, which does not gossip
	case n.GossipTCP.State == ProbeSilent:
		return noGossip
	case n.GossipUDP.State == ProbeSilent:
		return noUDP
	}
	return noTrouble
}

// cut judges a node that takes no connection.
func cut(n *Node) trouble {
	switch {
	case n.Source == SourceListed:
		return noTrouble // it need not be reached from here: the relay reaches it
	case n.Route.Error != "":
		return noWay
	case len(n.Interfaces) > 0 && !n.Here && !slices.Contains(n.Interfaces, n.Route.Interface):
		return wrongWay
	case n.GossipUDP.State == ProbeOK:
		return noTCP
	case n.Source == SourceMDNS:
		return isolated
	}
	return unreachable
}

// describe names a node for a sentence, with what is known beyond the complaint of that code.
func describe(n *Node, code string) string {
	addr := n.Link.Addr
	if addr == "" && len(n.Addrs) > 0 {
		addr = n.Addrs[0]
	}
	who := "the node at " + addr
	switch {
	case n.Relay && n.Name != "":
		who = fmt.Sprintf("the relay %s (%s)", n.Name, addr)
	case n.Relay:
		who = "the relay at " + addr
	case n.Name != "":
		who = fmt.Sprintf("%s (%s)", n.Name, addr)
	}
	detail := ""
	switch code {
	case CodeVersion:
		if n.Version != "" && n.Version != discovery.Version {
			detail = "version " + n.Version
		}
	case CodeMeshName, CodeNotAdmitted:
		detail = n.Link.Error
	case CodeRoute:
		detail = n.Route.Error
		if detail == "" {
			detail = fmt.Sprintf("by %s, but it is heard on %s", n.Route.Interface, few(n.Interfaces))
		}
	case CodeTCP, CodeIsolation, CodeUnreachable:
		if n.Link.State == LinkRefused {
			detail = n.Link.Error
		}
	}
	if detail != "" {
		who += ": " + detail
	}
	return who
}

// relays judges who reigns.
func (v *verdicts) relays() {
	var loopback, reigning []string
	known := make(map[string]bool) // instances of relays: one may be known by several addresses
	proven, seeking := 0, 0
	for i := range v.facts.Nodes {
		n := &v.facts.Nodes[i]
		if !n.Ours {
			continue
		}
		switch {
		case v.keepsToLoopback(n):
			loopback = append(loopback, describe(n, ""))
		case n.Link.State == LinkWelcome && !known[n.Instance]:
			known[n.Instance] = true
			reigning = append(reigning, describe(n, ""))
		}
		if n.Link.State.proven() {
			proven++
		}
		if n.Link.State == LinkSeeking {
			seeking++
		}
	}
	switch {
	case len(loopback) > 0:
		v.add(CodeLoopbackNode, fmt.Sprintf("Bound to loopback, and so out of reach of other machines, is %s.", few(loopback)),
			"Start it without --bind (or ULTRA_BIND), if other machines are to see it.")
	case len(reigning) > 1:
		v.add(CodeTwoRelays, fmt.Sprintf("The mesh is in parts, each with a relay of its own: %s.", few(reigning)),
			"Run this examination on each of those machines: they do not reach each other.")
	case proven > 0 && seeking == proven && !v.has(CodeTCP, CodeIsolation, CodeUnreachable, CodeRoute, CodeSilent):
		v.add(CodeNoRelay, "There are nodes but no relay: none of them is one, nor knows one.",
			"If that lasts, start one that may be the relay: \"ultra join\" without --role peer.")
	}
}

// keepsToLoopback tells that a node of this machine was heard only on loopback, where others are to be heard elsewhere, too.
func (v *verdicts) keepsToLoopback(n *Node) bool {
	if v.facts.Bind != "" || n.Source != SourceMDNS || len(v.carries()) == 0 || v.has(CodeMDNSPort, CodeMDNSDeaf, CodeMDNSSend, CodeNoMulticast) {
		return false
	}
	return !slices.ContainsFunc(n.Addrs, func(a string) bool {
		addr, err := netip.ParseAddrPort(a)
		return err != nil || !addr.Addr().IsLoopback()
	})
}

// company judges whether there is any, where there should be: it is the last resort, when nothing else explains it.
func (v *verdicts) company() {
	ours, oursElsewhere, others, othersElsewhere := 0, 0, []string{}, []string{}
	for _, n := range v.facts.Nodes {
		switch {
		case n.Ours && n.Link.State != LinkWrongMesh && len(n.Addrs) > 0:
			ours++
			if !n.Here {
				oursElsewhere++
			}
		case !n.Ours:
			others = append(others, meshText(n))
			if !n.Here {
				othersElsewhere = append(othersElsewhere, meshText(n))
			}
		}
	}
	explained := slices.ContainsFunc(v.found, func(f Finding) bool { return f.Code != CodeMulticastRoute })
	onlyHere := v.facts.Bind != "" && isLoopback(v.facts.Bind)
	where := "on this machine"
	switch {
	case explained, oursElsewhere > 0, ours > 0 && onlyHere:
		return
	case ours == 0 && len(others) > 0:
		v.otherMesh("No node", others)
		return
	case len(othersElsewhere) > 0:
		v.otherMesh("No node on another machine", othersElsewhere)
		return
	case !onlyHere && ours > 0:
		where = "on another machine"
	case !onlyHere:
		where = "anywhere"
	}
	sideNote := ""
	if len(v.found) == 0 {
		sideNote = ", and nothing is wrong on this side"
	}
	v.add(CodeNobody, fmt.Sprintf("No node of the mesh %q answers %s%s%s.", v.facts.Mesh, where, v.asked(), sideNote), v.mendNobody(onlyHere))
}

func (v *verdicts) otherMesh(who string, others []string) {
	slices.Sort(others)
	v.add(CodeMeshName, fmt.Sprintf("%s is in the mesh %q; those that answer are in %s.", who, v.facts.Mesh, few(slices.Compact(others))),
		"Give all nodes the same --mesh.")
}

// meshText names the mesh of a node of another.
func meshText(n Node) string {
	if name, ok := strings.CutPrefix(n.Mesh, hashMark); ok {
		return "one whose name has the hash " + name
	}
	return fmt.Sprintf("%q", n.Mesh)
}

func isLoopback(addr string) bool {
	a, err := netip.ParseAddr(addr)
	return err == nil && a.IsLoopback()
}

// asked says where was asked.
func (v *verdicts) asked() string {
	if v.facts.NoMDNS {
		return ""
	}
	var names []string
	for _, i := range v.carries() {
		names = append(names, i.Name)
	}
	if len(names) == 0 {
		return ""
	}
	return " (asked on " + few(names) + ")"
}

// mendNobody says what to do when nobody answers.
func (v *verdicts) mendNobody(onlyHere bool) string {
	switch {
	case onlyHere:
		return "Start one: \"ultra join --name a --bind 127.0.0.1\"."
	case v.facts.Container:
		return "This is a container: let it use the network of its host, or give the address of a node with --seed."
	case v.facts.NoMDNS:
		return "Give the address of a node with --seed, or use multicast DNS."
	}
	return "Start one there (\"ultra join --name a\") and run \"ultra doctor\" there too; if both are well, the network between drops " +
		"multicast (client isolation, another subnet, a VPN): give the address of one to the other with --seed. If all nodes are to be " +
		"on this machine, say --bind 127.0.0.1."
}
