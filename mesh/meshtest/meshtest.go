// Package meshtest runs whole meshes inside go test: real nodes on loopback, without multicast, and faults between them.
//
//	m := meshtest.New(t, "pc1", "pc2", "pc3")
//	m.Node("pc1").Send(ctx, "pc3", "hello")
//	m.Kill(m.Relay()) // and see your program carry on
//
// A mesh is up in well under a second, never meets another one, and is closed when the test ends. A program under test
// joins it itself with the Config of its name; then faults reach it too.
//
// # Faults
//
// Partition parts nodes, Cable gives them a bad cable (late, lossy, slow, cut, or cut one way; all traffic, or only links
// or gossip), Heal ends that. Reset resets connections. Suspend closes the lid of a laptop, Continue opens it. Kill,
// Stop, Start and Restart are for the programs themselves. Impostor is a second node under a name that is taken.
//
// # Time
//
// A mesh made by New has real sockets, which other programs of this machine reach. One made by NewInMemory has its network
// in memory, in which every name has an IP address of its own. In a bubble of testing/synctest it runs in virtual time, in
// which an hour takes as long as what happens in it, seconds for a few nodes:
//
//	synctest.Test(t, func(t *testing.T) {
//		m := meshtest.NewInMemory(t, nil, "pc1", "pc2", "pc3")
//		m.Suspend("pc2")
//		time.Sleep(time.Hour)
//		m.Continue("pc2")
//		...
//	})
//
// What was sent has arrived a few milliseconds of that time later, not at once: synctest.Wait alone is not enough.
//
// Gossip has the timing of loopback over real sockets, where a latency above 50 ms makes nodes doubt each other, and that
// of a LAN in memory.
package meshtest

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"ultrasockets/mesh"
)

// timeout bounds every step that the package itself waits for.
const timeout = 20 * time.Second

// Mesh is a mesh under test. It is safe for concurrent use; its methods end the test when they fail.
type Mesh struct {
	t     testing.TB
	name  string
	net   *network
	adapt func(*mesh.Config)

	mu        sync.Mutex
	nodes     map[string]*mesh.Node
	light     map[string]bool // by name: was started by Dial
	impostors []func()        // that stop them
}

// New starts a node for each name and waits until all see each other. The first one is the relay at the start. Without
// names, the programs under test are the mesh.
func New(t testing.TB, names ...string) *Mesh {
	t.Helper()
	return NewWith(t, nil, names...)
}

// NewWith does what New does; adapt (if not nil) may change the Config of every node, also of those that Config makes.
func NewWith(t testing.TB, adapt func(*mesh.Config), names ...string) *Mesh {
	t.Helper()
	return newMesh(t, false, adapt, names)
}

// NewInMemory does what NewWith does, with a network in memory: for bubbles of testing/synctest, and for tests that are
// not to open sockets. Only nodes with a Config of this Mesh reach each other. In a bubble, the nodes that the test
// itself joins must be closed before it ends.
func NewInMemory(t testing.TB, adapt func(*mesh.Config), names ...string) *Mesh {
	t.Helper()
	return newMesh(t, true, adapt, names)
}

func newMesh(t testing.TB, inMemory bool, adapt func(*mesh.Config), names []string) *Mesh {
	t.Helper()
	if len(slices.Compact(slices.Sorted(slices.Values(names)))) != len(names) {
		t.Fatalf("meshtest: give each name once: %q", names)
	}
	m := &Mesh{
		t: t, name: fmt.Sprintf("test-%08x", rand.Uint32()), net: newNetwork(inMemory), adapt: adapt,
		nodes: make(map[string]*mesh.Node), light: make(map[string]bool),
	}
	t.Cleanup(m.close)
	if len(names) == 0 {
		return m
	}
	m.Start(names[0])
	var starts sync.WaitGroup
	for _, name := range names[1:] {
		starts.Go(func() { m.start(name, mesh.Join) })
	}
	starts.Wait()
	if t.Failed() {
		t.FailNow()
	}
	m.WaitAll()
	return m
}

// Config is what a program under test needs to Join or Dial the mesh itself under that name. Its seeds are the nodes that
// the Mesh runs; if there are none, those that programs under test run.
func (m *Mesh) Config(name string) mesh.Config {
	host := m.net.host(name)
	cfg := mesh.Config{Name: name, Mesh: m.name, Bind: host.bind().String(), NoMDNS: true, Network: host, Clock: host.clock}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, other := range slices.Sorted(maps.Keys(m.nodes)) {
		if !m.light[other] {
			cfg.Seeds = append(cfg.Seeds, m.nodes[other].Addr().String())
		}
	}
	if len(m.nodes) == 0 {
		cfg.Seeds = m.net.addrs(name)
	}
	if m.adapt != nil {
		m.adapt(&cfg)
	}
	return cfg
}

// Start starts a node and waits until it is linked.
func (m *Mesh) Start(name string) *mesh.Node {
	m.t.Helper()
	return m.must(m.start(name, mesh.Join))
}

// Dial starts a light node, which has a link and no gossip and never is the relay, and waits until it is linked. It dials
// the relay, and if that is not known, any other node.
func (m *Mesh) Dial(name string) *mesh.Node {
	m.t.Helper()
	return m.must(m.start(name, m.dial))
}

func (m *Mesh) dial(ctx context.Context, cfg mesh.Config) (*mesh.Node, error) {
	hostname := ""
	m.mu.Lock()
	for name, n := range m.nodes {
		if !m.light[name] && (hostname == "" || n.Relay() == name) {
			hostname = n.Addr().String()
		}
	}
	m.mu.Unlock()
	if own := m.net.addrs(cfg.Name); hostname == "" && len(own) > 0 {
		hostname = own[0] // of a program under test
	}
	return mesh.Dial(ctx, hostname, cfg)
}

func (m *Mesh) must(n *mesh.Node) *mesh.Node {
	m.t.Helper()
	if n == nil {
		m.t.FailNow()
	}
	return n
}

// start may run in any goroutine: it reports a failure and returns nil.
func (m *Mesh) start(name string, join func(context.Context, mesh.Config) (*mesh.Node, error)) *mesh.Node {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	n, err := join(ctx, m.Config(name))
	if err != nil {
		m.t.Errorf("meshtest: %v", err)
		return nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.nodes[name], m.light[name] = n, n.Addr() == nil
	return n
}

// Node is the running node of that name.
func (m *Mesh) Node(name string) *mesh.Node {
	m.t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	n := m.nodes[name]
	if n == nil {
		m.t.Fatalf("meshtest: no node %q is running", name)
	}
	return n
}

// Names are the names of the running nodes, sorted.
func (m *Mesh) Names() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Sorted(maps.Keys(m.nodes))
}

// WaitAll waits until every running node sees every other and they agree on one relay.
func (m *Mesh) WaitAll() {
	m.t.Helper()
	m.Wait(m.Names()...)
}

// Wait waits until each of these nodes sees the others of them, and they agree on one relay that runs and that they can
// reach: after a partition, until they have found themselves one.
func (m *Mesh) Wait(names ...string) {
	m.t.Helper()
	if len(names) == 0 {
		m.t.Fatal("meshtest: no node of this Mesh is running; a program under test waits with its own node's WaitFor")
	}
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	for {
		for _, name := range names {
			if err := m.Node(name).WaitFor(ctx, names...); err != nil {
				m.t.Fatalf("meshtest: node %q: %v%s", name, err, m.net.conditions.Load())
			}
		}
		if m.agreed(names) != "" {
			return
		}
		if err := m.waitChange(ctx, names[0]); err != nil {
			m.t.Fatalf("meshtest: %q do not agree on a relay: %v%s", names, err, m.net.conditions.Load())
		}
	}
}

// waitChange waits a moment for the nodes to change their minds.
func (m *Mesh) waitChange(ctx context.Context, name string) error {
	short, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
	defer cancel()
	for range m.Node(name).Events(short) {
		break
	}
	return ctx.Err()
}

// agreed is the running relay that all of these nodes have and can reach; "": there is none.
func (m *Mesh) agreed(names []string) string {
	relay := ""
	for _, name := range names {
		r := m.Node(name).Relay()
		if r == "" || relay != "" && r != relay {
			return ""
		}
		relay = r
	}
	if relay == "" || !m.net.listens(relay) {
		return ""
	}
	c, to := m.net.conditions.Load(), m.net.host(relay)
	for _, name := range names {
		out, back := c.way(m.net.host(name), to, Links), c.way(to, m.net.host(name), Links)
		if !out.open() || !back.open() {
			return ""
		}
	}
	return relay
}

// Relay waits until the running nodes agree on a running relay, and gives its name.
func (m *Mesh) Relay() string {
	m.t.Helper()
	for {
		m.WaitAll()
		if name := m.agreed(m.Names()); name != "" {
			return name
		}
	}
}

// remove takes a node out of the list.
func (m *Mesh) remove(name string) *mesh.Node {
	m.t.Helper()
	n := m.Node(name)
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.nodes, name)
	return n
}

// Stop lets a node leave in good order.
func (m *Mesh) Stop(name string) {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	m.Continue(name)
	if err := m.remove(name).Shutdown(ctx); err != nil {
		m.t.Fatalf("meshtest: %v", err)
	}
}

// Kill ends a node as a crash would: its sockets close without a word, and what it had queued is lost with it. For a machine
// that is switched off, cut its cable first: then nobody hears that they close.
func (m *Mesh) Kill(name string) {
	m.t.Helper()
	m.remove(name).Close()
	m.Continue(name)
}

// Restart kills a node if it runs, and starts a new one of the same kind under its name.
func (m *Mesh) Restart(name string) *mesh.Node {
	m.t.Helper()
	m.mu.Lock()
	_, running := m.nodes[name]
	light := m.light[name]
	m.mu.Unlock()
	if running {
		m.Kill(name)
	}
	if light {
		return m.Dial(name)
	}
	return m.Start(name)
}

// aftermath is longer than the goroutines live that memberlist leaves behind: a probe waits for its answer for 8 intervals.
const aftermath = 5 * time.Second

// close ends everything. A bubble's time stops when its test returns: memberlist's goroutines must end before.
func (m *Mesh) close() {
	m.mu.Lock()
	impostors := m.impostors
	nodes := slices.Collect(maps.Values(m.nodes))
	clear(m.nodes)
	m.mu.Unlock()
	var ends sync.WaitGroup
	for _, stop := range impostors {
		ends.Go(stop)
	}
	for _, n := range nodes {
		ends.Go(func() { n.Close() })
	}
	ends.Wait()
	m.net.close()
	if inBubble() {
		time.Sleep(aftermath)
	}
	if !m.t.Failed() && !m.t.Skipped() {
		m.missed()
	}
}

// inBubble tells whether time is virtual.
func inBubble() (yes bool) {
	defer func() {
		if recover() != nil {
			yes = false
		}
	}()
	synctest.Wait() // panics outside
	return true
}
