//go:build linux

package doctor

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"ultrasockets/mesh"
)

// lan is two hosts in network namespaces of their own, with a cable between them: 10.99.0.1 and 10.99.0.2. It needs root and
// iproute2; the tests are skipped where there is neither.
type lan struct {
	t     *testing.T
	hosts [2]string

	listen time.Duration // of examinations
}

func newLAN(t *testing.T) *lan {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root to make network namespaces")
	}
	l := &lan{t: t, listen: 500 * time.Millisecond}
	id := fmt.Sprintf("ud%04x", rand.Uint32N(1<<16))
	for i := range l.hosts {
		l.hosts[i] = fmt.Sprint(id, "h", i)
		if out, err := exec.Command("ip", "netns", "add", l.hosts[i]).CombinedOutput(); err != nil {
			t.Skipf("cannot make network namespaces: %v: %s", err, out)
		}
		t.Cleanup(func() { _ = exec.Command("ip", "netns", "del", l.hosts[i]).Run() })
		l.run(i, "sysctl -q -w net.ipv6.conf.default.accept_dad=0 || true; ip link set lo up")
	}
	l.run(0, "ip link add eth0 type veth peer name eth0 netns "+l.hosts[1])
	for i := range l.hosts {
		l.run(i, fmt.Sprintf("ip addr add 10.99.0.%d/24 dev eth0 && ip link set eth0 up && ip route add 224.0.0.0/4 dev eth0", i+1))
	}
	return l
}

// run runs a script on a host.
func (l *lan) run(host int, script string) {
	l.t.Helper()
	if out, err := exec.Command("ip", "netns", "exec", l.hosts[host], "sh", "-c", script).CombinedOutput(); err != nil {
		l.t.Fatalf("%s: %v: %s", script, err, out)
	}
}

// filter adds rules to the packet filter of a host, such as "input udp dport 5353 drop".
func (l *lan) filter(host int, rules ...string) {
	l.t.Helper()
	if _, err := exec.LookPath("nft"); err != nil {
		l.t.Skip("there is no nft here to block packets with")
	}
	out, err := exec.Command("ip", "netns", "exec", l.hosts[host], "nft",
		"add table inet t; add chain inet t input { type filter hook input priority 0; }; "+
			"add chain inet t output { type filter hook output priority 0; }").CombinedOutput()
	if err != nil {
		l.t.Skipf("the packet filter does not work here: %v: %s", err, out)
	}
	for _, rule := range rules {
		l.run(host, "nft add rule inet t "+rule)
	}
}

func (l *lan) start(host int, c child) *program {
	l.t.Helper()
	return start(l.t, c, "ip", "netns", "exec", l.hosts[host])
}

func (l *lan) node(host int, cfg settings) *program {
	l.t.Helper()
	return l.start(host, child{Do: "node", Node: cfg})
}

// examine examines on a host.
func (l *lan) examine(host int, cfg Config) *Report {
	l.t.Helper()
	cmd := command(l.t, child{Do: "examine", Config: cfg, Listen: l.listen}, "ip", "netns", "exec", l.hosts[host])
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		l.t.Fatalf("%v: %s", err, stderr.String())
	}
	r := &Report{}
	if err := json.Unmarshal(out, r); err != nil {
		l.t.Fatalf("%v: %s", err, out)
	}
	return r
}

// healthy starts the node "a" on the first host and "b" on the second, and wants the examination on the first to be silent.
func (l *lan) healthy() (a, b *program) {
	l.t.Helper()
	a = l.node(0, settings{Name: "a"})
	b = l.node(1, settings{Name: "b"})
	l.silent()
	return a, b
}

// silent wants an examination on the first host without any finding, that saw both nodes from both sides.
func (l *lan) silent() {
	l.t.Helper()
	r := l.examine(0, Config{})
	wants(l.t, r)
	for _, name := range []string{"a", "b"} {
		seen := false
		for _, n := range r.Facts.Nodes {
			seen = seen || n.Name == name && n.Here == (name == "a") && n.Link.State.proven() && n.GossipTCP.State == ProbeOK && n.GossipUDP.State == ProbeOK
		}
		if !seen {
			l.t.Errorf("%s is not seen wholly: %+v", name, r.Facts.Nodes)
		}
	}
}

// has checks that a sentence has these parts.
func has(t *testing.T, f Finding, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(f.Sentence, part) {
			t.Errorf("%q is not in %q", part, f.Sentence)
		}
	}
}

// Each of these breaks one thing that the nodes and the first host's examination need, while all run.
func TestOneThingBroken(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		here, there string   // scripts that break it, on the examining host or on the other
		filter      []string // rules for the packet filter of the other host
		local       []string // rules for the examining host's own
		code        string
		parts       []string
		long        bool
	}{
		"no multicast route":      {here: "ip route del 224.0.0.0/4", code: CodeMulticastRoute, parts: []string{"network is unreachable"}},
		"no cable":                {here: "ip link set eth0 down", code: CodeNoLAN, parts: []string{"eth0 is down"}},
		"no address":              {here: "ip addr flush dev eth0 && ip -6 addr flush dev eth0", code: CodeNoLAN, parts: []string{"eth0 is up and has no address"}, long: true},
		"multicast turned off":    {here: "ip link set dev eth0 multicast off", code: CodeNoMulticast, parts: []string{"eth0"}, long: true},
		"mDNS blocked going out":  {local: []string{"output udp dport 5353 drop"}, code: CodeMDNSSend, parts: []string{"eth0", "not permitted"}, long: true},
		"mDNS blocked coming in":  {local: []string{"input udp dport 5353 drop"}, code: CodeMDNSDeaf, parts: []string{"eth0"}},
		"UDP blocked":             {filter: []string{"input meta l4proto udp drop", "output meta l4proto udp drop"}, code: CodeUDP, parts: []string{"b (10.99.0.2:"}},
		"TCP blocked":             {filter: []string{"input meta l4proto tcp drop"}, code: CodeTCP, parts: []string{"10.99.0.2:"}, long: true},
		"TCP refused":             {filter: []string{"input meta l4proto tcp reject with tcp reset"}, code: CodeTCP, parts: []string{"10.99.0.2:", "refused"}, long: true},
		"clients kept apart":      {there: "ip route add blackhole 10.99.0.1/32", code: CodeIsolation, parts: []string{"10.99.0.2:"}},
		"VPN takes the way":       {here: tunnel + "&& ip route add 10.99.0.2/32 dev wg0", code: CodeRoute, parts: []string{"wg0", "eth0", "10.99.0.2:"}},
		"no way":                  {here: "ip route add unreachable 10.99.0.2/32", code: CodeRoute, parts: []string{"10.99.0.2:"}, long: true},
		"containers take the LAN": {here: bridge, code: CodeOverlap, parts: []string{"docker0", "eth0", "10.99.0.77/16"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if c.long && !*long {
				t.Skip("with -long")
			}
			l := newLAN(t)
			if len(c.filter) > 0 {
				l.filter(1)
			}
			if len(c.local) > 0 {
				l.filter(0)
			}
			l.healthy()
			for host, script := range []string{c.here, c.there} {
				if script != "" {
					l.run(host, script)
				}
			}
			if len(c.filter) > 0 {
				l.filter(1, c.filter...)
			}
			if len(c.local) > 0 {
				l.filter(0, c.local...)
			}
			if c.code == CodeIsolation {
				l.listen = 0 // who cannot answer to us alone answers to the group, which takes its time
			}
			has(t, wants(t, l.examine(0, Config{}), c.code)[0], c.parts...)
		})
	}
}

const (
	tunnel = "ip link add wg0 type veth peer name wg1 && ip addr add 10.8.0.2/24 dev wg0 && ip link set wg0 up && ip link set wg1 up "
	bridge = "ip link add docker0 type veth peer name veth1 && ip addr add 10.99.0.77/16 dev docker0 && ip link set docker0 up && ip link set veth1 up"
)

// The relay itself cannot be reached: the node that is still linked to it says who that is.
func TestRelayUnreachable(t *testing.T) {
	t.Parallel()
	l := newLAN(t)
	l.filter(1)
	l.node(1, settings{Name: "b"})
	l.node(0, settings{Name: "a"})
	l.silent()
	l.filter(1, "input meta l4proto tcp drop")
	has(t, wants(t, l.examine(0, Config{}), CodeTCP)[0], "the relay", "10.99.0.2:")
}

// On the other host a node is started with another setting than here.
func TestOneSettingDiffers(t *testing.T) {
	t.Parallel()
	secret, other := mesh.NewSecret(), mesh.NewSecret()
	for name, c := range map[string]struct {
		ours, theirs settings
		code         string
		parts        []string
		long         bool
	}{
		// A server begins a mesh of its own where others give up.
		"another secret":   {settings{Secret: secret}, settings{Secret: other, Server: true}, CodeSecret, []string{"Another secret", "10.99.0.2:"}, false},
		"no secret there":  {settings{Secret: secret}, settings{Server: true}, CodeSecret, []string{"there is none", "10.99.0.2:"}, true},
		"a secret there":   {settings{}, settings{Secret: other, Server: true}, CodeSecret, []string{"is needed", "10.99.0.2:"}, true},
		"another mesh":     {settings{}, settings{Mesh: "lab"}, CodeMeshName, []string{`"default"`, `"lab"`}, false},
		"kept to loopback": {settings{Bind: "127.0.0.1"}, settings{}, CodeLoopbackNode, []string{"127.0.0.1:"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if c.long && !*long {
				t.Skip("with -long")
			}
			l := newLAN(t)
			c.ours.Name, c.theirs.Name = "a", "b"
			healthyHere, healthyThere := c.ours, c.ours
			healthyHere.Bind, healthyThere.Bind, healthyThere.Name = "", "", "b"
			a, b := l.node(0, healthyHere), l.node(1, healthyThere)
			cfg := Config{Mesh: c.ours.Mesh, Secret: c.ours.Secret}
			wants(t, l.examine(0, cfg))
			if c.ours.Bind != "" {
				a.leave(t)
				l.node(0, c.ours)
			} else {
				b.leave(t)
				l.node(1, c.theirs)
			}
			has(t, wants(t, l.examine(0, cfg), c.code)[0], c.parts...)
		})
	}
}

// Nobody elsewhere, nobody at all, and then somebody: with a node on this host and without one.
func TestNobody(t *testing.T) {
	t.Parallel()
	l := newLAN(t)
	has(t, wants(t, l.examine(0, Config{}), CodeNobody)[0], "anywhere", "eth0")
	a := l.node(0, settings{Name: "a"})
	has(t, wants(t, l.examine(0, Config{}), CodeNobody)[0], "on another machine")
	wants(t, l.examine(0, Config{Bind: "127.0.0.1"})) // all are to be on this host, and are
	l.node(1, settings{Name: "b"})
	l.silent()
	a.leave(t)
	wants(t, l.examine(0, Config{})) // no node on this host
}

// Another program keeps port 5353 to itself, here or on the other side.
func TestPortTaken(t *testing.T) {
	t.Parallel()
	l := newLAN(t)
	l.node(1, settings{Name: "b"})
	wants(t, l.examine(0, Config{}))
	hog := l.start(0, child{Do: "hog"})
	has(t, wants(t, l.examine(0, Config{}), CodeMDNSPort)[0], "address already in use", fmt.Sprintf("process %d)", hog.cmd.Process.Pid))
	hog.stop()
	wants(t, l.examine(0, Config{}))
}

// With a hostname only the link to it is examined, whatever else is wrong.
func TestHostnameOverLAN(t *testing.T) {
	t.Parallel()
	l := newLAN(t)
	b := l.node(1, settings{Name: "b", Bind: "10.99.0.2"})
	l.run(0, "ip route del 224.0.0.0/4")
	wants(t, l.examine(0, Config{Hostname: b.addr}))
	l.run(1, "ip route add blackhole 10.99.0.1/32")
	has(t, wants(t, l.examine(0, Config{Hostname: b.addr}), CodeUnreachable)[0], b.addr)
}
