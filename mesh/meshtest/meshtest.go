// Package meshtest runs whole meshes inside go test: real nodes, real sockets, on loopback only and without multicast.
//
//	m := meshtest.New(t, "pc1", "pc2", "pc3")
//	m.Node("pc1").Send(ctx, "pc3", "hello")
//	m.Kill(m.Relay()) // and see your program carry on
//
// A mesh is up in well under a second, never meets another one, and is closed when the test ends.
package meshtest

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"ultrasockets/mesh"
)

// timeout bounds every step that the package itself waits for.
const timeout = 20 * time.Second

// Mesh is a mesh under test. It is safe for concurrent use; its methods end the test when they fail.
type Mesh struct {
	t    testing.TB
	name string

	mu    sync.Mutex
	nodes map[string]*mesh.Node
	adapt func(*mesh.Config)
}

// New starts a node for each name and waits until all see each other. The first one is the relay at the start.
func New(t testing.TB, names ...string) *Mesh {
	t.Helper()
	return NewWith(t, nil, names...)
}

// NewWith does what New does; adapt (if not nil) may change the Config of every node, also of those that Config makes.
func NewWith(t testing.TB, adapt func(*mesh.Config), names ...string) *Mesh {
	t.Helper()
	if len(names) == 0 || len(slices.Compact(slices.Sorted(slices.Values(names)))) != len(names) {
		t.Fatalf("meshtest: give at least one name, and each once: %q", names)
	}
	m := &Mesh{t: t, name: fmt.Sprintf("test-%08x", rand.Uint32()), nodes: make(map[string]*mesh.Node), adapt: adapt}
	t.Cleanup(m.close)
	for i, name := range names {
		if i == 0 {
			m.Start(name)
			break
		}
	}
	var starts sync.WaitGroup
	for _, name := range names[min(1, len(names)):] {
		starts.Go(func() { m.start(name) })
	}
	starts.Wait()
	if t.Failed() {
		t.FailNow()
	}
	m.WaitAll()
	return m
}

// Config is what a program under test needs to Join the mesh itself under that name.
func (m *Mesh) Config(name string) mesh.Config {
	m.mu.Lock()
	defer m.mu.Unlock()
	cfg := mesh.Config{Name: name, Mesh: m.name, Bind: "127.0.0.1", NoMDNS: true}
	for _, other := range slices.Sorted(maps.Keys(m.nodes)) {
		cfg.Seeds = append(cfg.Seeds, m.nodes[other].Addr().String())
	}
	if m.adapt != nil {
		m.adapt(&cfg)
	}
	return cfg
}

// Start starts a node and waits until it is linked.
func (m *Mesh) Start(name string) *mesh.Node {
	m.t.Helper()
	n := m.start(name)
	if n == nil {
		m.t.FailNow()
	}
	return n
}

// start may run in any goroutine: it reports a failure and returns nil.
func (m *Mesh) start(name string) *mesh.Node {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	n, err := mesh.Join(ctx, m.Config(name))
	if err != nil {
		m.t.Errorf("meshtest: %v", err)
		return nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.nodes[name] = n
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
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	names := m.Names()
	for {
		for _, name := range names {
			if err := m.Node(name).WaitFor(ctx, names...); err != nil {
				m.t.Fatalf("meshtest: node %q: %v", name, err)
			}
		}
		if _, agreed := m.relay(); agreed {
			return
		}
		if err := m.waitChange(ctx, names[0]); err != nil {
			m.t.Fatalf("meshtest: the nodes do not agree on a relay: %v", err)
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

// relay is what the nodes say is the relay, and whether all say the same.
func (m *Mesh) relay() (name string, agreed bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, n := range m.nodes {
		r := n.Relay()
		if r == "" || name != "" && r != name {
			return "", false
		}
		name = r
	}
	return name, name != ""
}

// Relay waits until the running nodes agree on a running relay, and gives its name.
func (m *Mesh) Relay() string {
	m.t.Helper()
	m.WaitAll()
	name, _ := m.relay()
	return name
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
	if err := m.remove(name).Shutdown(ctx); err != nil {
		m.t.Fatalf("meshtest: %v", err)
	}
}

// Kill ends a node as a crash would: its sockets close without a word, and what it had queued is lost with it.
func (m *Mesh) Kill(name string) {
	m.t.Helper()
	m.remove(name).Close()
}

// Restart kills a node if it runs, and starts a new one under its name.
func (m *Mesh) Restart(name string) *mesh.Node {
	m.t.Helper()
	m.mu.Lock()
	_, running := m.nodes[name]
	m.mu.Unlock()
	if running {
		m.Kill(name)
	}
	return m.Start(name)
}

func (m *Mesh) close() {
	m.mu.Lock()
	defer m.mu.Unlock()
	var ends sync.WaitGroup
	for _, n := range m.nodes {
		ends.Go(func() { n.Close() })
	}
	ends.Wait()
	clear(m.nodes)
}
