package meshtest

import (
	"maps"
	"slices"
)

// Faults act between nodes, by name, also on those that a program under test makes with Config, and on what is under way
// at the moment. Those of the network end with Heal. A fault for a name that nobody has fails the test: Suspend, Continue,
// Reset and Impostor at once; Partition and Cable, which may come before their node, if it has not come when the test ends.

// Partition cuts all cables between groups of nodes. Nodes of the same group reach each other; those that no group names
// are one group more. It replaces an earlier partition.
func (m *Mesh) Partition(groups ...[]string) {
	m.t.Helper()
	if all := slices.Concat(groups...); len(slices.Compact(slices.Sorted(slices.Values(all)))) != len(all) {
		m.t.Fatalf("meshtest: a node is in one group at most: %q", groups)
	}
	m.net.change(func(c *conditions) {
		c.groups = make(map[string]int)
		for i, g := range groups {
			for _, name := range g {
				c.groups[name] = i + 1
			}
		}
	})
	m.net.expect("Partition", slices.Concat(groups...))
}

// Cable gives these nodes a cable of that kind, or all that have none of their own if no name is given. It replaces the
// cable that they had: Cable{} is a good one.
func (m *Mesh) Cable(c Cable, names ...string) {
	m.t.Helper()
	if err := c.check(); err != nil {
		m.t.Fatal(err)
	}
	m.net.change(func(to *conditions) {
		if len(names) == 0 {
			to.others = c
		}
		for _, name := range names {
			if to.cables == nil {
				to.cables = make(map[string]Cable)
			}
			to.cables[name] = c
		}
	})
	m.net.expect("Cable", names)
}

// Heal ends the partition and gives everybody a good cable. What has waited passes at once.
func (m *Mesh) Heal() {
	m.net.change(func(c *conditions) { c.groups, c.cables, c.others = nil, nil, Cable{} })
}

// Reset resets all connections of a node, as a router does that starts anew. Others can be made at once.
func (m *Mesh) Reset(name string) {
	m.t.Helper()
	m.net.reset(m.known("Reset", name))
}

// Suspend stops a node as closing the lid of a laptop does, or SIGSTOP: its clock stands still, it hears nothing and says
// nothing, while its system still takes connections and bytes for it until buffers are full. Its program goes on, as far
// as it does not wait for others. Killing the node ends it, too.
func (m *Mesh) Suspend(name string) {
	m.t.Helper()
	h := m.known("Suspend", name)
	if now := h.clock(); h.frozen.CompareAndSwap(nil, &now) {
		m.net.change(func(c *conditions) {
			if c.suspended == nil {
				c.suspended = make(map[string]bool)
			}
			c.suspended[name] = true
		})
	}
}

// Continue wakes a suspended node. Its clock jumps to what others show, and it gets what has waited for it.
func (m *Mesh) Continue(name string) {
	m.t.Helper()
	h := m.known("Continue", name)
	if h.frozen.Swap(nil) != nil {
		m.net.change(func(c *conditions) { delete(c.suspended, name) })
	}
}

// known is the host of a name that some node has or had. Other names end the test.
func (m *Mesh) known(fault, name string) *host {
	m.t.Helper()
	h, names := m.net.find(name)
	if h == nil {
		m.t.Fatalf("meshtest: %s of %q: no node of that name came into this mesh; there are %q", fault, name, names)
	}
	return h
}

// find is the host of a name, nil if it has none yet, and the names of all that there are.
func (n *network) find(name string) (*host, []string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.hosts[name], slices.Sorted(maps.Keys(n.hosts))
}

// expect notes which fault is for which nodes, that may come yet.
func (n *network) expect(fault string, names []string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, name := range names {
		n.faults[name] = fault
	}
}

// missed tells of faults for nodes that never came.
func (m *Mesh) missed() {
	m.t.Helper()
	m.net.mu.Lock()
	faults := maps.Clone(m.net.faults)
	m.net.mu.Unlock()
	for _, name := range slices.Sorted(maps.Keys(faults)) {
		if h, names := m.net.find(name); h == nil {
			m.t.Errorf("meshtest: %s of %q: no node of that name came into this mesh; there are %q", faults[name], name, names)
		}
	}
}
