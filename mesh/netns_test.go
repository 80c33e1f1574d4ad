//go:build linux

package mesh_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// lan is hosts in network namespaces of their own, each with a veth into one of two bridges: moving a host to the other
// bridge is a partition. Needs root and iproute2; the tests are skipped where there is neither.
type lan struct {
	t     *testing.T
	id    string
	hosts []string
}

func (l *lan) run(must bool, args ...string) {
	l.t.Helper()
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil && must {
		l.t.Fatalf("ip %s: %v: %s", strings.Join(args, " "), err, out)
	}
}

func newLAN(t *testing.T, hosts int) *lan {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root to make network namespaces")
	}
	l := &lan{t: t, id: fmt.Sprintf("us%04x", rand.Uint32N(1<<16))}
	if out, err := exec.Command("ip", "netns", "add", l.id+"sw").CombinedOutput(); err != nil {
		t.Skipf("cannot make network namespaces: %v: %s", err, out)
	}
	t.Cleanup(func() { l.run(false, "netns", "del", l.id+"sw") })
	for _, bridge := range []string{"br0", "br1"} {
		l.run(true, "-n", l.id+"sw", "link", "add", bridge, "type", "bridge")
		l.run(true, "-n", l.id+"sw", "link", "set", bridge, "up")
	}
	for i := range hosts {
		ns, port := fmt.Sprint(l.id, "h", i), fmt.Sprint("p", i)
		l.run(true, "netns", "add", ns)
		t.Cleanup(func() { l.run(false, "netns", "del", ns) })
		l.run(true, "-n", l.id+"sw", "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", ns)
		l.run(true, "-n", ns, "addr", "add", fmt.Sprintf("10.99.0.%d/24", i+1), "dev", "eth0")
		l.run(true, "-n", ns, "link", "set", "lo", "up")
		l.run(true, "-n", ns, "link", "set", "eth0", "up")
		l.run(true, "-n", l.id+"sw", "link", "set", port, "up")
		l.hosts = append(l.hosts, ns)
		l.plug(i, "br0")
	}
	return l
}

// plug moves a host to a bridge.
func (l *lan) plug(host int, bridge string) {
	l.run(true, "-n", l.id+"sw", "link", "set", fmt.Sprint("p", host), "master", bridge)
}

// start starts a node on a host.
func (l *lan) start(host int, c childConfig) *process {
	l.t.Helper()
	c.Bind, c.MDNS = "any", true
	return startProcessBy(l.t, c, "ip", "netns", "exec", l.hosts[host], os.Args[0])
}

// TestTwoHosts: nodes on two hosts find each other with no address typed, and talk.
func TestTwoHosts(t *testing.T) {
	parallel(t)
	l := newLAN(t, 2)
	a := l.start(0, childConfig{Name: "a", Mesh: l.id, Send: []string{"b"}, Rate: 100})
	b := l.start(1, childConfig{Name: "b", Mesh: l.id, Send: []string{"a"}, Rate: 100})
	for _, p := range []*process{a, b} {
		p.until(20*time.Second, "100 messages have come", func() bool {
			return len(p.arrivals["a"])+len(p.arrivals["b"]) >= 100
		})
	}
	if a.relayNow() != b.relayNow() {
		t.Errorf("%q and %q", a.relayNow(), b.relayNow())
	}
}

// TestPartition parts 4 hosts into 2 and 2, each side going on, and heals it: one relay in the end, and everything
// arrives once and in order.
func TestPartition(t *testing.T) {
	parallel(t)
	l := newLAN(t, 4)
	names := []string{"a", "b", "c", "d"}
	var ps []*process
	for i, name := range names {
		var others []string
		for _, o := range names {
			if o != name {
				others = append(others, o)
			}
		}
		ps = append(ps, l.start(i, childConfig{Name: name, Mesh: l.id, Send: others, Rate: 50}))
	}
	agree := func(ps ...*process) func() bool {
		return func() bool {
			for _, p := range ps[1:] {
				p.mu.Lock()
				r := p.relay
				p.mu.Unlock()
				if r != ps[0].relay {
					return false
				}
			}
			return true
		}
	}
	wait := func(d time.Duration, what string, ok func() bool) time.Duration {
		t.Helper()
		start := time.Now()
		for ; ; time.Sleep(5 * time.Millisecond) {
			ps[0].mu.Lock()
			good := ok()
			ps[0].mu.Unlock()
			if good {
				return time.Since(start)
			}
			if time.Since(start) > d {
				t.Fatalf("%v passed before %s", d, what)
			}
		}
	}
	all := func(n int) func() bool {
		return func() bool {
			for _, p := range ps {
				if p != ps[0] {
					p.mu.Lock()
				}
				enough := true
				for _, o := range names {
					enough = enough && (o == p.name || len(p.arrivals[o]) >= n)
				}
				if p != ps[0] {
					p.mu.Unlock()
				}
				if !enough {
					return false
				}
			}
			return true
		}
	}
	wait(20*time.Second, "all hear from all", all(50))
	l.plug(2, "br1")
	l.plug(3, "br1")
	parted := time.Now()
	wait(20*time.Second, "each side has its own relay", func() bool { return ps[2].relayNow() == ps[3].relayNow() && ps[2].relayNow() != ps[0].relay })
	t.Logf("each side had a relay after %v", time.Since(parted))
	time.Sleep(max(0, pick(8*time.Second, 20*time.Second)-time.Since(parted)))
	l.plug(2, "br0")
	l.plug(3, "br0")
	healed := wait(30*time.Second, "one relay", agree(ps...))
	time.Sleep(time.Second)
	wait(10*time.Second, "still one relay", agree(ps...))
	sent := make([]int, len(ps))
	for i, p := range ps {
		fmt.Fprintln(p.in, "stop")
		p.until(40*time.Second, "all it sent is acknowledged", func() bool { return len(p.arrivals["flushed"]) > 0 })
		var why string
		flushed := p.got("flushed")[0]
		fmt.Sscanf(flushed, "%d\t%s", &sent[i], &why)
		if !strings.HasPrefix(why, "<nil>") {
			t.Errorf("%s: %s", p.name, flushed)
		}
	}
	for i, from := range names {
		for _, p := range ps {
			if p.name == from {
				continue
			}
			p.until(20*time.Second, "everything is there", func() bool { return len(p.arrivals[from]) >= sent[i] })
			for n, text := range p.got(from) {
				if text != fmt.Sprint(n) {
					t.Fatalf("%s got %s from %s at place %d", p.name, text, from, n)
				}
			}
		}
	}
	t.Logf("healed to one relay after %v; sent %v each to 3 others, 0 lost, 0 twice", healed, sent)
	if healed > 15*time.Second {
		t.Error("too slow")
	}
}
