package meshtest_test

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"ultrasockets/mesh"
	"ultrasockets/mesh/meshtest"
)

// The simulation runs whole meshes in virtual time, with traffic that never pauses and faults at random, and checks what
// the README promises: afterwards there is one relay again and everybody is linked; what was sent has arrived once and in
// order, or was reported; and one bad cable deposes no healthy relay. A run is made from its seed; the same seed gives the
// same mesh and the same faults, though not the same order of what happens at the same time. -long takes half an hour on two
// cores: give it -timeout 90m.

var (
	long    = flag.Bool("long", false, "run thousands of simulations")
	seeds   = flag.Int("seeds", 0, "how many simulations; 0: some dozens, and with -long thousands")
	seed    = flag.Uint64("seed", 0, "run the simulation of this seed alone, and print what happens")
	nodeLog = flag.Bool("nodelog", false, "with -seed: print also what the nodes log")
)

const (
	convergeIn = 60 * time.Second // after the last fault, all is well within this
	calmFor    = 12 * time.Second // … and stays so for this
	maxReigns  = 6                // … and so often at most a node becomes the relay until then
)

func TestSimulation(t *testing.T) { simulate(t, "Simulation", 1, anything) }

// TestSimulationBadCable: only one node has a bad cable, which is not the relay. So the relay stays.
func TestSimulationBadCable(t *testing.T) { simulate(t, "SimulationBadCable", 1<<32, badCable) }

// TestSimulationNewcomers: a few nodes that start out of sight of a larger mesh do not depose its relay when they meet.
func TestSimulationNewcomers(t *testing.T) { simulate(t, "SimulationNewcomers", 1<<33, newcomers) }

// outcome is what a run tells about itself.
type outcome struct {
	seed                                  uint64
	nodes, sent, got, undelivered, reigns int
	virtual, converged                    time.Duration
}

func simulate(t *testing.T, name string, first uint64, script func(*world)) {
	n := 10
	switch {
	case *seed != 0:
		first, n = *seed, 1
	case *seeds != 0:
		n = *seeds
	case *long:
		n = 2000
	}
	if *seed == 0 && (*long || *seeds != 0) {
		first += uint64(time.Now().UnixNano()) & 0xffffffff
	}
	var mu sync.Mutex
	var all []outcome
	began := time.Now()
	t.Run("runs", func(t *testing.T) {
		for s := first; s < first+uint64(n); s++ {
			t.Run(fmt.Sprint(s), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					o := newWorld(t, name, s).run(script)
					mu.Lock()
					defer mu.Unlock()
					all = append(all, o)
				})
			})
		}
	})
	var sum, worst outcome
	var times []time.Duration
	for _, o := range all {
		sum.sent, sum.got, sum.undelivered, sum.nodes = sum.sent+o.sent, sum.got+o.got, sum.undelivered+o.undelivered, sum.nodes+o.nodes
		sum.virtual += o.virtual
		sum.reigns = max(sum.reigns, o.reigns)
		times = append(times, o.converged)
		if o.converged >= worst.converged {
			worst = o
		}
	}
	if len(all) == 0 {
		return
	}
	slices.Sort(times)
	t.Logf("%d runs, %d nodes, %v of virtual time in %v", len(all), sum.nodes, sum.virtual.Round(time.Second), time.Since(began).Round(time.Millisecond))
	t.Logf("%d messages sent, %d arrived, %d reported undelivered", sum.sent, sum.got, sum.undelivered)
	t.Logf("well again after the last fault: median %v, worst %v (seed %d); at most %d new relays until then",
		times[len(times)/2].Round(10*time.Millisecond), worst.converged.Round(10*time.Millisecond), worst.seed, sum.reigns)
}

// world is one run.
type world struct {
	t         *testing.T
	seed      uint64
	rng       *rand.Rand // of the script
	m         *meshtest.Mesh
	began     time.Time
	retention time.Duration
	inbox     int
	secret    []byte
	pace      time.Duration // between two messages of one node, on average

	traffic context.Context // ends when sending does
	silence context.CancelFunc
	lives   sync.WaitGroup

	mu       sync.Mutex
	story    []string
	programs []*program
	broken   int             // how many promises were broken
	calm     time.Time       // when the last fault ended; zero: there are some
	reigns   int             // since calm
	relay    string          // the only one that there may be; "": any
	but      map[string]bool // these nodes may have another
}

func newWorld(t *testing.T, test string, seed uint64) *world {
	w := &world{t: t, seed: seed, rng: rand.New(rand.NewPCG(seed, 1)), began: time.Now()}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("seed %d:\n%s\nrepeat: go test ./mesh/meshtest -run '%s$' -seed %d -v", seed, strings.Join(w.story, "\n"), test, seed)
		}
	})
	w.traffic, w.silence = context.WithCancel(context.Background())
	w.retention = pick(w.rng, 15*time.Second, time.Minute, time.Minute)
	w.inbox = pick(w.rng, 64<<10, 0)
	if w.rng.IntN(8) == 0 {
		w.secret = mesh.NewSecret()
	}
	w.m = meshtest.NewInMemory(t, w.adapt)
	return w
}

func pick[T any](r *rand.Rand, from ...T) T { return from[r.IntN(len(from))] }

func (w *world) adapt(c *mesh.Config) {
	p := w.program(c.Name)
	c.Retention, c.Secret, c.InboxBytes = w.retention, w.secret, w.inbox
	switch p.kind {
	case "peer":
		c.Role = mesh.RolePeer
	case "server":
		c.Role = mesh.RoleServer
	}
	if p.kind != "light" {
		c.Listen = p.addr
		c.Seeds = nil
		for _, other := range w.programs {
			if other.kind != "light" && other != p && len(c.Seeds) < 5 {
				c.Seeds = append(c.Seeds, other.addr)
			}
		}
	}
	if *seed != 0 && *nodeLog {
		c.Logger = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug})).With("at", c.Name)
	}
}

func (w *world) program(name string) *program {
	i := slices.IndexFunc(w.programs, func(p *program) bool { return p.name == name })
	return w.programs[i]
}

func (w *world) say(format string, args ...any) {
	line := fmt.Sprintf("%8.3f  ", time.Since(w.began).Seconds()) + fmt.Sprintf(format, args...)
	w.mu.Lock()
	w.story = append(w.story, line)
	w.mu.Unlock()
	if *seed != 0 {
		fmt.Fprintln(os.Stderr, line)
	}
}

// fail reports a broken promise.
func (w *world) fail(format string, args ...any) {
	w.say("BROKEN: "+format, args...)
	w.mu.Lock()
	w.broken++
	n := w.broken
	w.mu.Unlock()
	if n <= 20 {
		w.t.Errorf(format, args...)
	}
}

// run makes the mesh, lets the script make its faults, and checks.
func (w *world) run(script func(*world)) (o outcome) {
	defer w.end()
	script(w)
	o.converged = w.converge(calmFor)
	if w.reigns > maxReigns {
		w.fail("a node became the relay %d times after the last fault", w.reigns)
	}
	if w.t.Failed() {
		return o
	}
	w.silence()
	w.ask()
	w.flush()
	w.check(&o)
	o.seed, o.virtual, o.reigns, o.nodes = w.seed, time.Since(w.began), w.reigns, len(w.programs)
	return o
}

// end ends all programs.
func (w *world) end() {
	w.silence()
	w.mu.Lock()
	w.relay = "" // what they make of each other's end is not looked at
	w.mu.Unlock()
	for _, p := range w.programs {
		for _, l := range p.all {
			l.kill()
		}
	}
	w.lives.Wait()
}

// populate makes the programs of a mesh of n nodes; none runs yet.
func (w *world) populate(n int) {
	w.pace = time.Duration(n) * 40 * time.Millisecond
	peers, light := w.rng.IntN(1+n/3), w.rng.IntN(1+n/3)
	servers := pick(w.rng, 0, 0, 0, 1, 1, 2)
	for i := range n {
		p := &program{name: fmt.Sprintf("n%d", i), kind: "auto"}
		switch {
		case i < 2: // there is always somebody who may be the relay
		case i < 2+peers:
			p.kind = "peer"
		case i < 2+peers+light:
			p.kind = "light"
		case i < 2+peers+light+servers:
			p.kind = "server"
		}
		w.programs = append(w.programs, p)
		if p.addr = net.JoinHostPort(w.m.Config(p.name).Bind, "7000"); p.kind == "light" {
			p.addr = w.programs[w.rng.IntN(2)].addr
		}
	}
	w.say("%d nodes, %d peers, %d light, at most %d servers, retention %v, inbox %d, secret: %v", n, peers, light, servers, w.retention, w.inbox, w.secret != nil)
}

// alive are the lives that are not over, in the order of their names. Of two of one name only one can be in the mesh: the
// other is none of them.
func (w *world) alive() (all []*life) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, p := range w.programs {
		in := slices.ContainsFunc(p.all, func(l *life) bool { return l.how == "" && l.node != nil })
		for _, l := range p.all {
			if l.how == "" && (l.node != nil || !in && !l.second) {
				all = append(all, l)
			}
		}
	}
	return all
}

// settled tells whether all are linked, have one relay, and see each other; else why not.
func (w *world) settled() (relay string, err error) {
	all := w.alive()
	relays := map[string][]string{}
	for _, l := range all {
		w.mu.Lock()
		n := l.node
		w.mu.Unlock()
		r := "(not in)"
		if n != nil {
			r = n.Relay()
		}
		relays[r] = append(relays[r], l.of.name)
		relay = r
	}
	if len(relays) > 1 || relay == "" || relay == "(not in)" {
		return "", fmt.Errorf("relays: %v", relays)
	}
	if i := slices.IndexFunc(all, func(l *life) bool { return l.of.name == relay }); i < 0 {
		return "", fmt.Errorf("the relay %s is not alive", relay)
	}
	for _, l := range all {
		here := make(map[string]bool)
		for _, p := range l.node.Peers() {
			here[p.Name] = true
		}
		for _, other := range all {
			if !here[other.of.name] {
				return "", fmt.Errorf("%v does not see %v", l, other)
			}
		}
	}
	return relay, nil
}

// converge waits until all is well for that long, and tells when that began.
func (w *world) converge(calm time.Duration) time.Duration {
	began := time.Now()
	since, last := time.Duration(0), "" // the relay, and since when it is that and all is well
	for {
		relay, err := w.settled()
		now := time.Since(began)
		switch {
		case err != nil && now > convergeIn:
			w.fail("not well after %v: %v", now, err)
			return now
		case err != nil:
			last = ""
		case relay != last:
			since, last = now, relay
		}
		if last != "" && now-since >= calm {
			w.say("all is well since %v, relay %s", since, relay)
			return since
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// ask has every node ask another: now all are answered.
func (w *world) ask() {
	ctx, cancel := context.WithTimeout(context.Background(), convergeIn)
	defer cancel()
	all := w.alive()
	var asks sync.WaitGroup
	for i, l := range all {
		asks.Go(func() {
			to := all[(i+1)%len(all)].of.name
			if m, err := l.node.Request(ctx, to, l.String()); err != nil || m.Text() != l.String() {
				w.fail("%v asked %s in vain: %q %v", l, to, m.Text(), err)
			}
		})
	}
	asks.Wait()
}

// flush lets everything arrive, or be reported.
func (w *world) flush() {
	ctx, cancel := context.WithTimeout(context.Background(), w.retention+convergeIn)
	defer cancel()
	var flushes sync.WaitGroup
	for _, l := range w.alive() {
		flushes.Go(func() {
			err := l.node.Flush(ctx)
			if ctx.Err() != nil {
				w.fail("%v: what it sent has neither arrived nor been reported: %v", l, err)
			}
		})
	}
	flushes.Wait()
	time.Sleep(2 * time.Second) // for the slowest reader to take what has arrived
}
