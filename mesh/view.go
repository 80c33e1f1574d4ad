package mesh

import (
	"slices"
	"sort"
	"sync"
	"time"

	"ultrasockets/codec"
)

// view is what this node knows of the mesh: the relay's roster, kept across relays. Safe for concurrent use.
//
// A new relay's first roster is short, for its nodes come one by one. Those that the last roster had and the new one
// lacks are expected: still listed, for expectFor, before they count as lost.
type view struct {
	mu       sync.Mutex
	nodes    map[string]listed
	relay    string
	self     string
	linked   bool
	fresh    bool          // the roster of this relay has come
	staging  []codec.Entry // parts of a roster that is not complete yet
	lost     [][]string    // addresses of candidates that were lost, the newest last
	changed  chan struct{} // closed at the next change
	deadline time.Duration // when those expected count as lost; noDeadline: nobody is
}

type listed struct {
	codec.Entry
	expected bool // of the last roster, not yet in this one
}

const (
	expectFor = 5 * time.Second
	lostKept  = 16 // candidates
)

// change is what a roster or update meant for one node.
type change struct {
	kind   EventKind
	entry  codec.Entry
	reason string
}

func newView(self string) *view {
	return &view{self: self, nodes: make(map[string]listed), changed: make(chan struct{}), deadline: noDeadline}
}

func (v *view) notify() {
	close(v.changed)
	v.changed = make(chan struct{})
}

// changes gives a channel that is closed at the next change.
func (v *view) changes() <-chan struct{} {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.changed
}

// lookup gives the entry of a node that is linked now.
func (v *view) lookup(name string) (codec.Entry, bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	l, ok := v.nodes[name]
	return l.Entry, ok && !l.expected
}

// expected tells whether a node is linked, or expected back.
func (v *view) expected(name string) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	_, ok := v.nodes[name]
	return ok
}

// setRelay tells which node is the relay now; "" none.
func (v *view) setRelay(name string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.relay, v.linked, v.fresh = name, name != "", false
	v.staging = nil
	v.notify()
}

func (v *view) relayName() string {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.relay
}

// entries are all nodes, those expected included, in the order of their names.
func (v *view) entries() []codec.Entry {
	v.mu.Lock()
	defer v.mu.Unlock()
	out := make([]codec.Entry, 0, len(v.nodes))
	for _, l := range v.nodes {
		out = append(out, l.Entry)
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Name < out[j].Name })
	return out
}

// here are the nodes that the relay of now lists, in no order: none before its roster has come, for those of the relay
// before it do not count.
func (v *view) here() (out []codec.Entry) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, l := range v.nodes {
		if v.fresh && !l.expected {
			out = append(out, l.Entry)
		}
	}
	return out
}

// group is the names of all other nodes in a group that are linked or expected; "" is all.
func (v *view) group(name string) []string {
	v.mu.Lock()
	defer v.mu.Unlock()
	var out []string
	for _, l := range v.nodes {
		if l.Name != v.self && (name == "" || contains(l.Groups, name)) {
			out = append(out, l.Name)
		}
	}
	sort.Strings(out)
	return out
}

func contains(list []string, s string) bool {
	for _, x := range list {
		if x == s {
			return true
		}
	}
	return false
}

// wait gives a channel that is closed at the next change, and tells whether ok holds now. linked: there is a relay, and
// its roster has come.
func (v *view) wait(ok func(nodes map[string]listed, linked bool) bool) (<-chan struct{}, bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.changed, ok(v.nodes, v.linked && v.fresh)
}

// roster takes one part of a roster; the last part puts it into force.
func (v *view) roster(now time.Duration, flags codec.Flags, r codec.Roster) []change {
	v.mu.Lock()
	defer v.mu.Unlock()
	if flags&codec.FlagFirst != 0 {
		v.staging = nil
	}
	v.staging = append(v.staging, r.Entries...)
	if flags&codec.FlagMore != 0 {
		return nil
	}
	here := make(map[string]bool, len(v.staging))
	var out []change
	for _, e := range v.staging {
		here[e.Name] = true
		out = v.enter(out, e)
	}
	v.staging, v.fresh = nil, true
	for name, l := range v.nodes {
		if !here[name] && !l.expected {
			l.expected = true
			v.nodes[name] = l
			v.deadline = now + expectFor
		}
	}
	v.notify()
	return out
}

// update takes changes of the roster.
func (v *view) update(u codec.Update) []change {
	v.mu.Lock()
	defer v.mu.Unlock()
	var out []change
	for _, c := range u.Changes {
		if c.Op != codec.Left {
			out = v.enter(out, c.Entry)
			continue
		}
		if l, ok := v.nodes[c.Entry.Name]; ok && l.Instance == c.Entry.Instance {
			delete(v.nodes, c.Entry.Name)
			if c.Reason != codec.LeftBye {
				v.lose(l.Entry)
			}
			out = append(out, change{EventLeft, l.Entry, c.Reason.String()})
		}
	}
	v.notify()
	return out
}

// enter takes a node's entry and appends what changed by it.
func (v *view) enter(out []change, e codec.Entry) []change {
	old, known := v.nodes[e.Name]
	v.nodes[e.Name] = listed{Entry: e}
	switch {
	case !known:
		return append(out, change{EventJoined, e, ""})
	case old.Instance != e.Instance:
		return append(out, change{EventLeft, old.Entry, codec.LeftReplaced.String()}, change{EventJoined, e, ""})
	case old.State != e.State && e.State == codec.StatePaused:
		return append(out, change{EventPaused, e, ""})
	case old.State != e.State:
		return append(out, change{EventResumed, e, ""})
	case old.expected:
		return append(out, change{"", e, ""}) // back as expected: no event, but its stream goes on
	case !sameShown(old.Entry, e):
		return append(out, change{EventChanged, e, ""})
	}
	return out
}

// sameShown tells whether two entries of one instance show the same to a user.
func sameShown(a, b codec.Entry) bool {
	if len(a.Tags) != len(b.Tags) || len(a.Groups) != len(b.Groups) {
		return false
	}
	for k, x := range a.Tags {
		if y, ok := b.Tags[k]; !ok || x != y {
			return false
		}
	}
	for i := range a.Groups {
		if a.Groups[i] != b.Groups[i] {
			return false
		}
	}
	return true
}

// lose keeps where a candidate was: it may live, and be the relay of others.
func (v *view) lose(e codec.Entry) {
	if e.Role == RolePeer || len(e.Addrs) == 0 {
		return
	}
	v.lost = slices.DeleteFunc(v.lost, func(addrs []string) bool { return slices.Equal(addrs, e.Addrs) })
	v.lost = append(v.lost, e.Addrs)
	v.lost = v.lost[max(0, len(v.lost)-lostKept):]
}

// lostAddrs is where candidates were that were lost.
func (v *view) lostAddrs() [][]string {
	v.mu.Lock()
	defer v.mu.Unlock()
	return slices.Clone(v.lost)
}

// due is when expire has something to do.
func (v *view) due() time.Duration {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.deadline
}

// expire drops those that were expected for too long.
func (v *view) expire(now time.Duration) []change {
	v.mu.Lock()
	defer v.mu.Unlock()
	if now < v.deadline {
		return nil
	}
	v.deadline = noDeadline
	var out []change
	for name, l := range v.nodes {
		if l.expected {
			delete(v.nodes, name)
			v.lose(l.Entry)
			out = append(out, change{EventLeft, l.Entry, codec.LeftLost.String()})
		}
	}
	v.notify()
	return out
}
