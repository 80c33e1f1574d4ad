package mesh

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"ultrasockets/discovery"
	"ultrasockets/testdata/alone"
)

// TestTwoMeshesApart: two meshes on one network, whose names or secrets differ and whose nodes have the same names, never get
// a node or a message of each other; though every node has those of both as seeds, or hears of both by multicast DNS.
func TestTwoMeshesApart(t *testing.T) {
	if !full() {
		t.Parallel()
	}
	twoMeshes(t, false)
}

// TestTwoMeshesApartByMulticast is the same with multicast DNS, in a network of its own.
func TestTwoMeshesApartByMulticast(t *testing.T) {
	if !full() {
		t.Parallel()
	}
	if alone.Run(t, alone.Loopback, "-long="+fmt.Sprint(full())) {
		twoMeshes(t, true)
	}
}

func twoMeshes(t *testing.T, multicast bool) {
	secret := NewSecret()
	for what, configs := range map[string][2]Config{
		"two names":             {{Mesh: "one"}, {Mesh: "two"}},
		"two names, one secret": {{Mesh: "three", Secret: secret}, {Mesh: "four", Secret: secret}},
		"two secrets":           {{Mesh: "five", Secret: secret}, {Mesh: "five", Secret: NewSecret()}},
		"one has a secret":      {{Mesh: "six", Secret: secret}, {Mesh: "six"}},
	} {
		t.Run(what, func(t *testing.T) {
			if multicast { // in a process of its own, where nothing else runs
				t.Parallel()
			}
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			var (
				meshes [2][]*Node
				seeds  []string
			)
			join := func(i int, name string, role Role) *Node {
				t.Helper()
				cfg := configs[i]
				cfg.Name, cfg.Role, cfg.Bind, cfg.NoMDNS = name, role, "127.0.0.1", !multicast
				if !multicast {
					cfg.Seeds = seeds
				}
				n, err := Join(ctx, cfg)
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { n.Close() })
				seeds = append(seeds, n.Addr().String())
				meshes[i] = append(meshes[i], n)
				return n
			}
			for i := range meshes {
				join(i, "relay", RoleServer)
			}
			for _, name := range []string{"x", "y"} {
				for i := range meshes {
					join(i, name, RoleAuto)
				}
			}
			var talks sync.WaitGroup
			for i, nodes := range meshes {
				talks.Go(func() { talkAndListen(t, ctx, fmt.Sprint("mesh", i), nodes) })
			}
			talks.Wait()
			checkApart(t, ctx, meshes)
		})
	}
}

// talkAndListen lets every node speak to every other, for so long that gossip has met everybody whom it can meet, and checks
// that each hears the others and nobody else.
func talkAndListen(t *testing.T, ctx context.Context, mark string, nodes []*Node) {
	for _, n := range nodes {
		if err := n.WaitFor(ctx, "relay", "x", "y"); err != nil {
			t.Error(err)
			return
		}
	}
	const rounds = 100
	tick := time.NewTicker(measure(15*time.Millisecond, 100*time.Millisecond))
	defer tick.Stop()
	for i := range rounds {
		for _, n := range nodes {
			if err := n.Send(ctx, ToAll, fmt.Sprint(mark, " ", i)); err != nil {
				t.Error(err)
				return
			}
		}
		<-tick.C
	}
	for _, n := range nodes {
		if err := n.Flush(ctx); err != nil {
			t.Error(err)
			return
		}
	}
	for _, n := range nodes {
		next := map[string]int{}
		for _, m := range slices.Backward(n.Get(All)) {
			if want := fmt.Sprint(mark, " ", next[m.From]); m.Text() != want {
				t.Errorf("%s of %s got %q from %s instead of %q", n.Name(), mark, m.Text(), m.From, want)
				return
			}
			next[m.From]++
		}
		if len(next) != 2 || next[nodes[(slices.Index(nodes, n)+1)%3].Name()] != rounds {
			t.Errorf("%s of %s got %v", n.Name(), mark, next)
		}
	}
}

// checkApart checks that nobody has met anybody of the other mesh, and everybody all of its own.
func checkApart(t *testing.T, ctx context.Context, meshes [2][]*Node) {
	hints := 0
	for i, nodes := range meshes {
		for _, n := range nodes {
			var names []string
			for _, p := range n.Peers() {
				names = append(names, p.Name)
			}
			if got := strings.Join(names, " "); got != "relay x y" {
				t.Errorf("%s of mesh %d sees %s", n.Name(), i, got)
			}
			for {
				alive, strangers := 0, 0
				for _, o := range n.disc.Nodes() {
					stranger := slices.ContainsFunc(meshes[1-i], func(other *Node) bool { return other.instance == o.Instance })
					switch {
					case stranger && o.State != discovery.Hint:
						t.Fatalf("%s of mesh %d has a stranger in its gossip, %v", n.Name(), i, o)
					case stranger:
						strangers++
					case o.State == discovery.Alive:
						alive++
					}
				}
				if alive == 2 {
					hints += strangers
					break
				}
				select { // on a slow machine gossip doubts its members now and then
				case <-time.After(10 * time.Millisecond):
				case <-ctx.Done():
					t.Fatalf("%s of mesh %d has %d members in its gossip", n.Name(), i, alive)
				}
			}
			if s := n.hub.Stats(); s.Links > 2 {
				t.Errorf("%d links", s.Links)
			}
		}
	}
	t.Logf("nobody met a stranger; %d times one was heard of", hints)
}
