package meshtest

import "slices"

// Faults act between nodes, by name, also on those that a program under test makes with Config, and on what is under way
// at the moment. Those of the network end with Heal.

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
}

// Heal ends the partition and gives everybody a good cable. What has waited passes at once.
func (m *Mesh) Heal() {
	m.net.change(func(c *conditions) { c.groups, c.cables, c.others = nil, nil, Cable{} })
}

// Reset resets all connections of a node, as a router does that starts anew. Others can be made at once.
func (m *Mesh) Reset(name string) { m.net.reset(m.net.host(name)) }

// Suspend stops a node as closing the lid of a laptop does, or SIGSTOP: its clock stands still, it hears nothing and says
// nothing, while its system still takes connections and bytes for it until buffers are full. Its program goes on, as far
// as it does not wait for others. Killing the node ends it, too.
func (m *Mesh) Suspend(name string) {
	h := m.net.host(name)
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
	h := m.net.host(name)
	if h.frozen.Swap(nil) != nil {
		m.net.change(func(c *conditions) { delete(c.suspended, name) })
	}
}
