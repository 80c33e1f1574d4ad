package discovery

import (
	"bytes"
	"net/netip"
	"slices"
	"testing"
	"time"
)

// signalled takes the token, if there is one.
func signalled(fs *facts) bool {
	select {
	case <-fs.changed:
		return true
	default:
		return false
	}
}

func TestLifeOfAFact(t *testing.T) {
	var (
		fs   = newFacts(1)
		t0   = time.Now()
		addr = netip.MustParseAddrPort("192.168.1.9:7000")
		side = netip.MustParseAddrPort("10.0.0.9:7000")
		meta = Meta{Name: "nine", Relay: true, Term: 4}
	)
	steps := []struct {
		what    string
		at      time.Duration
		do      func(now time.Time)
		changed bool
		want    *Node // nil: not known
	}{
		{"heard", 0, func(now time.Time) { fs.hear(hint{instance: 9, addrs: []netip.AddrPort{addr}}, now) }, true,
			&Node{State: Hint, Addrs: []netip.AddrPort{addr}}},
		{"heard again", 1, func(now time.Time) { fs.hear(hint{instance: 9, addrs: []netip.AddrPort{addr}}, now) }, false,
			&Node{State: Hint, Addrs: []netip.AddrPort{addr}}},
		{"heard as relay", 2, func(now time.Time) {
			fs.hear(hint{instance: 9, addrs: []netip.AddrPort{addr}, relay: true, term: 3}, now)
		}, true, &Node{State: Hint, Addrs: []netip.AddrPort{addr}, Meta: Meta{Relay: true, Term: 3}}},
		{"heard elsewhere too", 3, func(now time.Time) {
			fs.hear(hint{instance: 9, addrs: []netip.AddrPort{side}, relay: true, term: 3}, now)
		}, true, &Node{State: Hint, Addrs: []netip.AddrPort{side, addr}, Meta: Meta{Relay: true, Term: 3}}},
		{"joined", 4, func(now time.Time) { fs.joined(9, addr, meta, now) }, true,
			&Node{State: Alive, Addrs: []netip.AddrPort{addr, side}, Meta: meta}},
		{"joined again", 5, func(now time.Time) { fs.joined(9, addr, meta, now) }, false,
			&Node{State: Alive, Addrs: []netip.AddrPort{addr, side}, Meta: meta}},
		{"forged by mDNS", 6, func(now time.Time) {
			fs.hear(hint{instance: 9, addrs: []netip.AddrPort{side}, relay: true, term: 99}, now)
		}, false, &Node{State: Alive, Addrs: []netip.AddrPort{addr, side}, Meta: meta}},
		{"goodbye", 7, func(now time.Time) { fs.hear(hint{instance: 9, gone: true, from: addr.Addr()}, now) }, true,
			&Node{State: Alive, Addrs: []netip.AddrPort{addr}, Meta: meta}},
		{"an answer that the goodbye overtook", 7, func(now time.Time) {
			fs.hear(hint{instance: 9, addrs: []netip.AddrPort{side}}, now)
		}, false, &Node{State: Alive, Addrs: []netip.AddrPort{addr}, Meta: meta}},
		{"left", 8, func(now time.Time) { fs.left(9, now) }, true,
			&Node{State: Gone, Addrs: []netip.AddrPort{addr}, Meta: meta}},
		{"left again", 9, func(now time.Time) { fs.left(9, now) }, false,
			&Node{State: Gone, Addrs: []netip.AddrPort{addr}, Meta: meta}},
		{"heard after all", 10, func(now time.Time) { fs.hear(hint{instance: 9, addrs: []netip.AddrPort{addr}}, now) }, true,
			&Node{State: Hint, Addrs: []netip.AddrPort{addr}, Meta: Meta{Name: "nine"}}},
		{"silent", 90, func(now time.Time) { fs.sweep(now, hintLife) }, true,
			&Node{State: Gone, Addrs: []netip.AddrPort{addr}, Meta: meta}},
		{"gone for an hour", 3700, func(now time.Time) { fs.sweep(now, hintLife) }, true, nil},
		{"goodbye of a stranger", 3701, func(now time.Time) {
			fs.hear(hint{instance: 8, gone: true}, now)
			fs.hear(hint{instance: 8, addrs: []netip.AddrPort{side}}, now)
		}, false, nil},
		{"itself", 3702, func(now time.Time) { fs.hear(hint{instance: 1}, now); fs.joined(1, addr, meta, now) }, false, nil},
	}
	for _, s := range steps {
		s.do(t0.Add(s.at * time.Second))
		if got := signalled(fs); got != s.changed {
			t.Errorf("%s: signalled %v", s.what, got)
		}
		nodes := fs.snapshot()
		if s.want == nil {
			if len(nodes) != 0 {
				t.Errorf("%s: still %+v", s.what, nodes)
			}
			continue
		}
		if len(nodes) != 1 {
			t.Fatalf("%s: %+v", s.what, nodes)
		}
		got := nodes[0]
		if got.State != s.want.State || got.Meta != s.want.Meta || !equalAddrs(got.Addrs, s.want.Addrs) {
			t.Errorf("%s:\ngot  %+v\nwant %+v", s.what, got, *s.want)
		}
	}
}

func equalAddrs(a, b []netip.AddrPort) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

func TestFactsAreBounded(t *testing.T) {
	fs := newFacts(1)
	now := time.Now()
	addr := netip.MustParseAddrPort("192.168.1.9:7000")
	for n := range uint64(maxHints + 10) {
		fs.hear(hint{instance: 10 + n, addrs: []netip.AddrPort{addr}}, now.Add(time.Duration(n)))
	}
	nodes := fs.snapshot()
	const forgotten = maxHints/8 + 1
	if len(nodes) != maxHints+10-forgotten || nodes[0].Instance != 10+forgotten {
		t.Errorf("%d hints, the oldest is %d", len(nodes), nodes[0].Instance)
	}
	var port uint16
	for port < 50 {
		port++
		fs.hear(hint{instance: nodes[0].Instance, addrs: []netip.AddrPort{netip.AddrPortFrom(addr.Addr(), port)}}, now.Add(time.Hour+time.Duration(port)))
	}
	nodes = fs.snapshot()
	if len(nodes[0].Addrs) != maxAddrs || nodes[0].Addrs[maxAddrs-1].Port() != port {
		t.Errorf("addresses %v", nodes[0].Addrs)
	}
	for n := range uint64(maxMembers) {
		if err := fs.room(1 << 40); err != nil {
			t.Fatalf("%d members: %v", n, err)
		}
		fs.joined(1<<20+n, addr, Meta{Name: "n"}, now)
	}
	if fs.room(1<<40) == nil {
		t.Error("one member too many")
	}
	if err := fs.room(1 << 20); err != nil {
		t.Errorf("a member that is there: %v", err)
	}
	fs.allLeft(now)
	if n := len(fs.snapshot()); n > 2*maxHints || fs.members() != 0 {
		t.Errorf("%d nodes, %d members", n, fs.members())
	}
}

// What one host says of another counts for as long as nothing better is known: it moves nobody, ends nobody, and gives way first.
func TestHearsayGivesWay(t *testing.T) {
	var (
		fs     = newFacts(1)
		now    = time.Now()
		own    = netip.MustParseAddrPort("192.168.1.9:7000")
		forged = netip.MustParseAddrPort("192.168.1.66:7000")
		lie    = hint{instance: 9, addrs: []netip.AddrPort{own, forged}, relay: true, term: 99, from: netip.MustParseAddr("192.168.1.7"), hearsay: true}
		truth  = hint{instance: 9, addrs: []netip.AddrPort{own}, from: own.Addr()}
		bye    = hint{instance: 9, gone: true, from: lie.from}
	)
	step := func(what string, h hint, want Node) {
		t.Helper()
		now = now.Add(time.Second)
		fs.hear(h, now)
		nodes := fs.snapshot()
		if len(nodes) != 1 || !slices.Equal(nodes[0].Addrs, want.Addrs) || nodes[0].Hearsay != want.Hearsay || nodes[0].Meta != want.Meta || nodes[0].State != want.State {
			t.Fatalf("%s: %+v", what, nodes)
		}
	}
	rumour := Node{Addrs: lie.addrs, Hearsay: true, Meta: Meta{Relay: true, Term: 99}}
	plain := Node{Addrs: truth.addrs}
	step("a lie, for want of better", lie, rumour)
	step("the truth", truth, plain)
	step("the lie again", lie, plain)
	step("a goodbye by another", bye, plain)
	step("the truth again, at once", truth, plain)
	fs.joined(9, own, Meta{Name: "nine"}, now)
	step("a lie about a member", lie, Node{State: Alive, Addrs: truth.addrs, Meta: Meta{Name: "nine"}})
	fs.left(9, now)
	step("a lie about one that is gone", lie, Node{State: Gone, Addrs: truth.addrs, Meta: Meta{Name: "nine"}})
	step("the truth about it", truth, Node{Addrs: truth.addrs, Meta: Meta{Name: "nine"}})
	for n := range uint64(2 * maxHints) {
		lie.instance = 10 + n
		fs.hear(lie, now.Add(time.Minute))
	}
	nodes := fs.snapshot()
	if len(nodes) > maxHints+1 || nodes[0].Instance != 9 || nodes[0].Hearsay {
		t.Errorf("%d nodes, the first %+v", len(nodes), nodes[0])
	}
	bye.from = own.Addr()
	fs.hear(bye, now.Add(time.Minute))
	if nodes := fs.snapshot(); nodes[0].State != Gone {
		t.Errorf("its own goodbye: %+v", nodes[0])
	}
}

// Whatever is heard, joins and leaves, in any order: what is remembered stays bounded, sorted and consistent, and hearsay
// changes nothing about those of whom better is known.
func FuzzFacts(f *testing.F) {
	f.Add([]byte{0, 1, 1, 1, 2, 1, 3, 1, 4, 1, 5, 1, 6, 0, 7, 0})
	f.Add([]byte{0, 9, 2, 9, 3, 9, 1, 9, 4, 9, 0, 9, 5, 9, 6, 200, 0, 9})
	f.Add(bytes.Repeat([]byte{7, 255, 107, 255, 0, 9, 1, 9}, 8))
	f.Fuzz(func(t *testing.T, ops []byte) {
		var (
			fs    = newFacts(1)
			now   = time.Unix(1e9, 0)
			alive = map[uint64]bool{}
		)
		ops = ops[:min(len(ops), 200)]
		crowd := uint64(1000)
		for len(ops) >= 2 {
			op, n := ops[0], uint64(ops[1])
			ops = ops[2:]
			now = now.Add(time.Duration(n) * time.Millisecond)
			own := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(n)}), 7000)
			other := netip.AddrFrom4([4]byte{10, 0, 1, byte(n >> 4)})
			before := fs.snapshot()
			switch op % 8 {
			case 0:
				fs.hear(hint{instance: n, addrs: []netip.AddrPort{own}, relay: op > 100, from: own.Addr()}, now)
			case 1:
				fs.hear(hint{instance: n, addrs: []netip.AddrPort{own}, term: uint32(op), relay: true, from: other, hearsay: true}, now)
			case 2:
				fs.hear(hint{instance: n, gone: true, from: own.Addr()}, now)
			case 3:
				fs.hear(hint{instance: n, gone: true, from: other}, now)
			case 4:
				fs.joined(n, own, Meta{Name: "x"}, now)
				alive[n] = n != 1
			case 5:
				fs.left(n, now)
				delete(alive, n)
			case 6:
				now = now.Add(time.Duration(n) * time.Second)
				fs.sweep(now, hintLife)
			case 7:
				for range 2 * n {
					crowd++
					fs.hear(hint{instance: crowd, addrs: []netip.AddrPort{own}, from: other, hearsay: op > 100}, now)
				}
			}
			nodes := fs.snapshot()
			members := 0
			for i, node := range nodes {
				if i > 0 && nodes[i-1].Instance >= node.Instance || node.Instance == 1 || len(node.Addrs) > maxAddrs {
					t.Fatalf("%+v", nodes)
				}
				if node.State == Alive {
					members++
				}
				if node.Hearsay && node.State != Hint || alive[node.Instance] != (node.State == Alive) {
					t.Fatalf("%+v", node)
				}
			}
			if members != fs.members() || len(nodes)-members > 2*maxHints+1 {
				t.Fatalf("%d nodes, %d members", len(nodes), members)
			}
			if op%8 != 1 && op%8 != 3 {
				continue
			}
			for _, was := range before {
				if was.Instance == n && !was.Hearsay && !slices.ContainsFunc(nodes, func(is Node) bool {
					return is.Instance == n && is.State == was.State && slices.Equal(is.Addrs, was.Addrs)
				}) {
					t.Fatalf("hearsay changed %+v", was)
				}
			}
		}
	})
}
