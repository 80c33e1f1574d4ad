package discovery

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// State is what is known of a node's life.
type State uint8

const (
	Hint  State = iota // heard of by mDNS, not a member of our gossip
	Alive              // a member of our gossip
	Gone               // was a member: left, crashed or out of reach, gossip does not tell which
)

func (s State) String() string {
	switch s {
	case Hint:
		return "hint"
	case Alive:
		return "alive"
	case Gone:
		return "gone"
	}
	return fmt.Sprintf("state(%d)", uint8(s))
}

// Node is what is known of one other node. All of it is hearsay until a handshake has proved it; with a key, what
// gossip says was said by somebody who has the key.
type Node struct {
	Instance uint64
	Addrs    []netip.AddrPort // where it may be dialled, most trusted first, at most 8
	State    State
	Meta     Meta      // from gossip; of a Hint only Relay and Term are known, from mDNS
	Seen     time.Time // when something was last heard of it (gossip tells only changes)
	Hearsay  bool      // a Hint that came from none of Addrs: what somebody says of another, to be believed last
}

// How long and how much is remembered.
const (
	echoLife = 250 * time.Millisecond // after a goodbye, what is still heard of a node was said before it
	hintLife = 75 * time.Second       // a hint not heard again for so long is dropped: two browses of 30 s missed
	goneLife = time.Hour              // for so long a node that is gone is kept, and tried again

	maxHints   = 1024 // nodes known by mDNS only, and again as many that are gone; the oldest go first
	maxMembers = 4096 // nodes of one gossip; more are refused
)

var errTooManyMembers = errors.New("discovery: too many members")

// fact is what is known of one node, by source.
type fact struct {
	// From mDNS. heard is zero when nothing (or nothing any more) is known from there.
	heard   time.Time
	addrs   []heardAddr
	relay   bool
	term    uint32
	hearsay bool // nothing of it came from one of addrs

	// From gossip. told is zero when it was never a member.
	told  time.Time
	alive bool
	addr  netip.AddrPort
	meta  Meta
}

type heardAddr struct {
	addr netip.AddrPort
	at   time.Time
}

func (f *fact) state() State {
	switch {
	case f.alive:
		return Alive
	case f.told.IsZero() || f.heard.After(f.told):
		return Hint // mDNS has heard it live after gossip gave it up
	}
	return Gone
}

func (f *fact) seen() time.Time {
	if f.heard.After(f.told) {
		return f.heard
	}
	return f.told
}

func (f *fact) node(instance uint64) Node {
	n := Node{Instance: instance, State: f.state(), Meta: f.meta, Seen: f.seen()}
	if n.State == Hint {
		n.Meta.Relay, n.Meta.Term, n.Hearsay = f.relay, f.term, f.hearsay
	}
	if f.addr.IsValid() {
		n.Addrs = append(n.Addrs, f.addr)
	}
	for _, h := range f.addrs {
		if h.addr != f.addr && len(n.Addrs) < maxAddrs {
			n.Addrs = append(n.Addrs, h.addr)
		}
	}
	return n
}

// facts is everything known of the other nodes. Safe for concurrent use; it calls nobody while it holds its lock,
// so gossip may tell it things from inside its callbacks.
type facts struct {
	self    uint64
	changed chan struct{} // capacity 1: a token when nodes would return something else than before

	mu    sync.Mutex
	nodes map[uint64]*fact     // guarded by mu
	alive int                  // how many of them are members, guarded by mu
	byes  map[uint64]time.Time // who said goodbye by mDNS lately, guarded by mu
}

func newFacts(self uint64) *facts {
	return &facts{self: self, changed: make(chan struct{}, 1), nodes: make(map[uint64]*fact), byes: make(map[uint64]time.Time)}
}

// snapshot returns all nodes, sorted by instance. The caller owns the result.
func (fs *facts) snapshot() []Node {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	all := make([]Node, 0, len(fs.nodes))
	for instance, f := range fs.nodes {
		all = append(all, f.node(instance))
	}
	slices.SortFunc(all, func(a, b Node) int { return cmp.Compare(a.Instance, b.Instance) })
	return all
}

// members returns how many nodes of our gossip are alive, this one left out.
func (fs *facts) members() int {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	return fs.alive
}

// hear takes in what mDNS said, and tells whether that is news. Hearsay counts only of those of whom nothing better is known:
// nobody else can say where a node is, or that it is gone, that speaks for itself or is a member.
func (fs *facts) hear(h hint, now time.Time) bool {
	if h.instance == fs.self {
		return false
	}
	fs.mu.Lock()
	defer fs.mu.Unlock()
	f := fs.nodes[h.instance]
	if f != nil && h.gone {
		h.hearsay = !slices.ContainsFunc(f.addrs, func(a heardAddr) bool { return h.by(a.addr) })
	}
	if f != nil && h.hearsay && !(f.hearsay && f.told.IsZero()) {
		return false
	}
	if h.gone {
		if len(fs.byes) >= maxHints {
			clear(fs.byes)
		}
		fs.byes[h.instance] = now
	}
	switch {
	case h.gone && f == nil:
		return false
	case !h.gone && now.Sub(fs.byes[h.instance]) < echoLife:
		return false // answers and goodbyes come to different sockets, and overtake each other
	case f == nil:
		f = &fact{hearsay: h.hearsay}
		fs.nodes[h.instance] = f
		defer fs.trim(Hint)
	}
	before := f.node(h.instance)
	if h.gone {
		f.heard, f.addrs = time.Time{}, nil
	} else {
		if f.hearsay && !h.hearsay {
			f.addrs = nil
		}
		f.heard, f.relay, f.term, f.hearsay = now, h.relay, h.term, h.hearsay
		f.addrs = mergeAddrs(f.addrs, h.addrs, now)
	}
	return fs.settle(h.instance, f, before)
}

// mergeAddrs refreshes what was heard: a node with several interfaces is heard with other addresses on each.
func mergeAddrs(old []heardAddr, addrs []netip.AddrPort, now time.Time) []heardAddr {
	merged := make([]heardAddr, 0, maxAddrs)
	for _, a := range addrs {
		merged = append(merged, heardAddr{a, now})
	}
	for _, h := range old {
		if !slices.Contains(addrs, h.addr) && now.Sub(h.at) < hintLife {
			merged = append(merged, h)
		}
	}
	slices.SortStableFunc(merged, func(a, b heardAddr) int { return b.at.Compare(a.at) })
	merged = merged[:min(len(merged), maxAddrs)]
	slices.SortFunc(merged, func(a, b heardAddr) int { return a.addr.Compare(b.addr) })
	return merged
}

// joined takes in that gossip counts a node as alive, or that its meta changed.
func (fs *facts) joined(instance uint64, addr netip.AddrPort, meta Meta, now time.Time) {
	if instance == fs.self {
		return
	}
	fs.mu.Lock()
	defer fs.mu.Unlock()
	f := fs.nodes[instance]
	if f == nil {
		f = &fact{}
		fs.nodes[instance] = f
	}
	before := f.node(instance)
	if !f.alive {
		fs.alive++
	}
	f.told, f.alive, f.addr, f.meta = now, true, addr, meta
	fs.settle(instance, f, before)
}

// left takes in that gossip has given a node up.
func (fs *facts) left(instance uint64, now time.Time) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if f := fs.nodes[instance]; f != nil && f.alive {
		fs.leave(instance, f, now)
		fs.trim(Gone)
	}
}

// allLeft takes in that our own gossip has ended.
func (fs *facts) allLeft(now time.Time) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	for instance, f := range fs.nodes {
		if f.alive {
			fs.leave(instance, f, now)
		}
	}
	fs.trim(Gone)
}

// leave notes that a member is gone. The caller holds mu.
func (fs *facts) leave(instance uint64, f *fact, now time.Time) {
	before := f.node(instance)
	f.alive, f.told = false, now
	fs.alive--
	fs.settle(instance, f, before)
}

// room returns an error when one more member is too many.
func (fs *facts) room(instance uint64) error {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if f := fs.nodes[instance]; (f == nil || !f.alive) && fs.alive >= maxMembers {
		return errTooManyMembers
	}
	return nil
}

// sweep forgets what is too old.
func (fs *facts) sweep(now time.Time, hintLife time.Duration) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	maps.DeleteFunc(fs.byes, func(_ uint64, at time.Time) bool { return now.Sub(at) > echoLife })
	for instance, f := range fs.nodes {
		before := f.node(instance)
		f.addrs = slices.DeleteFunc(f.addrs, func(h heardAddr) bool { return now.Sub(h.at) > hintLife })
		if !f.heard.IsZero() && now.Sub(f.heard) > hintLife {
			f.heard, f.addrs = time.Time{}, nil
		}
		if !f.alive && now.Sub(f.told) > goneLife {
			f.told, f.addr, f.meta = time.Time{}, netip.AddrPort{}, Meta{}
		}
		fs.settle(instance, f, before)
	}
}

// trim forgets facts of a state when there are too many, hearsay first and then the oldest: several at once, so that a flood
// does not sort all facts for each. The caller holds mu.
func (fs *facts) trim(state State) {
	if len(fs.nodes)-fs.alive <= maxHints {
		return
	}
	var all []uint64
	for instance, f := range fs.nodes {
		if f.state() == state {
			all = append(all, instance)
		}
	}
	if len(all) <= maxHints {
		return
	}
	slices.SortFunc(all, func(a, b uint64) int {
		x, y := fs.nodes[a], fs.nodes[b]
		if x.hearsay != y.hearsay {
			if x.hearsay {
				return -1
			}
			return 1
		}
		return x.seen().Compare(y.seen())
	})
	for _, instance := range all[:len(all)-maxHints*7/8] {
		delete(fs.nodes, instance)
	}
}

// settle drops a fact of which nothing is left, and signals and tells when the node is not what it was. The caller
// holds mu.
func (fs *facts) settle(instance uint64, f *fact, before Node) bool {
	now := f.node(instance)
	switch {
	case f.heard.IsZero() && f.told.IsZero():
		delete(fs.nodes, instance)
	case now.State == before.State && now.Meta == before.Meta && now.Hearsay == before.Hearsay && slices.Equal(now.Addrs, before.Addrs):
		return false
	}
	select {
	case fs.changed <- struct{}{}:
	default:
	}
	return true
}
