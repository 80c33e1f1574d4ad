package doctor

import (
	"fmt"
	"strings"
	"testing"

	"ultrasockets/discovery"
)

// healthyFacts is what a laptop sees whose mesh is well: its own node is the relay, another follows it.
func healthyFacts() *Facts {
	ok := Probe{State: ProbeOK, MS: 1}
	return &Facts{
		Mesh: "default",
		Interfaces: []Interface{
			{Name: "wlan0", Kind: "lan", Up: true, Multicast: true, Used: true, Addrs: []string{"192.168.1.5/24", "fe80::5/64"}},
			{Name: "wg0", Kind: "vpn", Up: true, Used: true, Addrs: []string{"10.8.0.2/24"}},
			{Name: "docker0", Kind: "container", Up: true, Multicast: true, Used: true, Addrs: []string{"172.17.0.1/16"}},
			{Name: "lo", Kind: "loopback", Up: true, Multicast: true, Used: true, Addrs: []string{"127.0.0.1/8"}},
		},
		Multicast: MulticastRoute{Interface: "wlan0"},
		MDNS: []Channel{
			{Interface: "wlan0", Echo: true}, {Interface: "wlan0", IPv6: true, Echo: true},
			{Interface: "docker0", Echo: true}, {Interface: "lo", Echo: true}, {Interface: "lo", IPv6: true, SendError: "network is unreachable"},
		},
		Nodes: []Node{
			{Name: "a", Instance: "01", Source: SourceMDNS, Ours: true, Version: "1", Relay: true, Here: true,
				Addrs: []string{"127.0.0.1:7000", "192.168.1.5:7000"}, Interfaces: []string{"lo", "wlan0"}, Route: Route{Interface: "wlan0"},
				Link: Link{State: LinkWelcome, Addr: "192.168.1.5:7000", Relay: "a"}, GossipUDP: ok, GossipTCP: ok},
			{Name: "b", Instance: "02", Source: SourceMDNS, Ours: true, Version: "1",
				Addrs: []string{"192.168.1.7:7000"}, Interfaces: []string{"wlan0"}, Route: Route{Interface: "wlan0"},
				Link: Link{State: LinkReferred, Addr: "192.168.1.7:7000", Relay: "a"}, GossipUDP: ok, GossipTCP: ok},
		},
		Relay: "a", Listed: []string{"a", "b"}, ListedAll: 2,
	}
}

// Every finding comes alone when one fact of a healthy machine is another.
func TestDiagnose(t *testing.T) {
	t.Parallel()
	a, b := 0, 1
	for name, c := range map[string]struct {
		change func(f *Facts)
		code   string
		phrase string
	}{
		"healthy":       {change: func(*Facts) {}},
		"no interface":  {func(f *Facts) { f.Interfaces, f.MDNS = nil, nil }, CodeNoInterface, "No network interface"},
		"bind":          {func(f *Facts) { f.Bind, f.Interfaces, f.MDNS = "192.168.1.9", nil, nil }, CodeBind, "192.168.1.9"},
		"only a tunnel": {func(f *Facts) { f.Interfaces = f.Interfaces[1:] }, CodeNoLAN, "wg0 is a VPN"},
		"only link-local": {func(f *Facts) { f.Interfaces[0].Addrs = f.Interfaces[0].Addrs[1:] }, CodeNoLAN,
			"wlan0 has only a link-local IPv6 address"},
		"one family mute": {change: func(f *Facts) { f.MDNS[1] = Channel{Interface: "wlan0", IPv6: true, SendError: "no"} }},
		"one family deaf": {change: func(f *Facts) { f.MDNS[1].Echo = false }},
		"mute": {func(f *Facts) {
			f.MDNS[0].SendError, f.MDNS[1].SendError = "no route to host", "no route to host"
			f.MDNS[0].Echo, f.MDNS[1].Echo = false, false
		}, CodeMDNSSend, "wlan0: no route to host"},
		"deaf":            {func(f *Facts) { f.MDNS[0].Echo, f.MDNS[1].Echo = false, false }, CodeMDNSDeaf, "wlan0"},
		"port":            {func(f *Facts) { f.MDNS[0] = Channel{Interface: "wlan0", PortError: "in use"} }, CodeMDNSPort, "wlan0: in use"},
		"no route":        {func(f *Facts) { f.Multicast = MulticastRoute{Error: "unreachable"} }, CodeMulticastRoute, "unreachable"},
		"flag":            {func(f *Facts) { f.Interfaces[0].Multicast, f.MDNS = false, f.MDNS[2:] }, CodeNoMulticast, "wlan0"},
		"Docker's subnet": {func(f *Facts) { f.Interfaces[2].Addrs = []string{"192.168.0.1/16"} }, CodeOverlap, "docker0"},
		"a VPN's subnet":  {func(f *Facts) { f.Interfaces[1].Addrs = []string{"192.168.1.200/24"} }, CodeOverlap, "wg0, which is a VPN"},
		"a VPN's address": {change: func(f *Facts) { f.Interfaces[1].Addrs = []string{"192.168.1.200/32"} }},
		"version":         {func(f *Facts) { f.Nodes[b].Version, f.Nodes[b].Link = "2", Link{} }, CodeVersion, "version 2"},
		"isolation":       {func(f *Facts) { cutOff(&f.Nodes[b], LinkTimeout) }, CodeIsolation, "b (192.168.1.7:7000)"},
		"relay isolated":  {func(f *Facts) { f.Nodes[a].Here = false; cutOff(&f.Nodes[a], LinkTimeout) }, CodeIsolation, "the relay a"},
		"TCP":             {func(f *Facts) { cutOff(&f.Nodes[b], LinkTimeout); f.Nodes[b].GossipUDP.State = ProbeOK }, CodeTCP, "b ("},
		"UDP":             {func(f *Facts) { f.Nodes[b].GossipUDP.State = ProbeSilent }, CodeUDP, "b ("},
		"gossip":          {func(f *Facts) { f.Nodes[b].GossipTCP.State = ProbeSilent }, CodeGossip, "b ("},
		"by the VPN": {func(f *Facts) { cutOff(&f.Nodes[b], LinkTimeout); f.Nodes[b].Route.Interface = "wg0" }, CodeRoute,
			"by wg0, but it is heard on wlan0"},
		"no way": {func(f *Facts) { cutOff(&f.Nodes[b], LinkRefused); f.Nodes[b].Route = Route{Error: "unreachable"} }, CodeRoute, "knows no way"},
		"listed, not reached": {change: func(f *Facts) {
			n := Node{Name: "c", Instance: "03", Source: SourceListed, Ours: true, Addrs: []string{"10.1.1.1:7000"}}
			cutOff(&n, LinkTimeout)
			f.Nodes = append(f.Nodes, n)
		}},
		"silent": {func(f *Facts) { cutOff(&f.Nodes[b], LinkSilent) }, CodeSilent, "b ("},
		"two relays": {func(f *Facts) { f.Nodes[b].Relay, f.Nodes[b].Link.State = true, LinkWelcome }, CodeTwoRelays,
			"the relay a (192.168.1.5:7000), the relay b (192.168.1.7:7000)"},
		"one relay, two addresses": {change: func(f *Facts) { f.Nodes = append(f.Nodes, f.Nodes[a]) }},
		"no relay":                 {func(f *Facts) { f.Nodes[a].Link.State, f.Nodes[b].Link.State = LinkSeeking, LinkSeeking }, CodeNoRelay, "no relay"},
		"one seeks":                {change: func(f *Facts) { f.Nodes[b].Link.State = LinkSeeking }},
		"loopback":                 {func(f *Facts) { f.Nodes[a].Addrs = f.Nodes[a].Addrs[:1] }, CodeLoopbackNode, "the relay a"},
		"alone":                    {func(f *Facts) { f.Nodes = f.Nodes[:1] }, CodeNobody, "on another machine"},
		"nobody":                   {func(f *Facts) { f.Nodes = nil }, CodeNobody, "anywhere (asked on wlan0)"},
		"another mesh": {func(f *Facts) { f.Nodes[b] = Node{Source: SourceMDNS, Mesh: "lab", Addrs: f.Nodes[b].Addrs} }, CodeMeshName,
			`"lab"`},
		"an unknown mesh":          {func(f *Facts) { f.Nodes = []Node{{Source: SourceMDNS, Mesh: "hash 12ab", Here: true}} }, CodeMeshName, "hash 12ab"},
		"another mesh beside ours": {change: func(f *Facts) { f.Nodes = append(f.Nodes, Node{Source: SourceMDNS, Mesh: "lab"}) }},
		"clock forward":            {func(f *Facts) { f.Clock.JumpMS = 60_000 }, CodeClock, "60000 ms"},
		"clock back":               {func(f *Facts) { f.Clock.JumpMS = -2_000 }, CodeClock, "-2000 ms"},
	} {
		t.Run(name, func(t *testing.T) {
			f := healthyFacts()
			c.change(f)
			if c.code == "" {
				wants(t, &Report{Findings: diagnose(f)})
				return
			}
			if found := wants(t, &Report{Findings: diagnose(f)}, c.code)[0]; !strings.Contains(found.Sentence, c.phrase) {
				t.Errorf("%q is not in %q", c.phrase, found.Sentence)
			}
		})
	}
}

// cutOff makes a node one that nothing passes to.
func cutOff(n *Node, state LinkState) {
	n.Link.State, n.Link.Relay = state, ""
	n.GossipUDP, n.GossipTCP = Probe{State: ProbeSilent}, Probe{}
}

// A finding about many names a few: the output stays short.
func TestFindingsAreShort(t *testing.T) {
	t.Parallel()
	f := healthyFacts()
	for i := range maxNodes {
		n := f.Nodes[1]
		n.Name, n.Instance = fmt.Sprintf("n%d", i), fmt.Sprint(i)
		cutOff(&n, LinkTimeout)
		f.Nodes = append(f.Nodes, n)
	}
	if found := wants(t, &Report{Findings: diagnose(f)}, CodeIsolation)[0]; len(found.Sentence) > 300 || !strings.Contains(found.Sentence, "and 61 more") {
		t.Error(found.Sentence)
	}
}

// A mesh with a secret does not tell its name; the default one is known by its hash all the same.
func TestNameMeshes(t *testing.T) {
	t.Parallel()
	e := &exam{facts: Facts{Nodes: []Node{
		{Mesh: hashMark + discovery.MeshHash("default"), Link: Link{State: LinkSecretNeeded}},
		{Mesh: hashMark + discovery.MeshHash("lab"), Link: Link{Error: `this is the mesh "lab", not "home"`}},
		{Mesh: hashMark + discovery.MeshHash("other")},
	}}}
	e.nameMeshes()
	for i, want := range []string{"default", "lab", hashMark + discovery.MeshHash("other")} {
		if got := e.facts.Nodes[i].Mesh; got != want {
			t.Errorf("node %d: %q, not %q", i, got, want)
		}
	}
}
