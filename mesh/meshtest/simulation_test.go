package meshtest_test

import (
	"context"
	"errors"
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
// same mesh and the same faults, though not the same order of what happens at the same time.

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

// program is what runs under one name, again and again.
type program struct {
	name string
	kind string // auto, peer, server, light
	addr string // where it listens; of a light node, what it dials

	life     *life // the one that runs; nil: none
	impostor *life // likewise
	all      []*life
	shared   bool // there were two at a time: a receiver may take a stream of either for a new one
}

// life is one of its runs.
type life struct {
	of     *program
	second bool // an impostor: another under the same name, at the same time
	number int
	rng    *rand.Rand
	kill   context.CancelFunc
	stay   context.Context // until stop
	stop   context.CancelFunc
	ended  chan struct{}

	// guarded by world.mu
	node     *mesh.Node
	how      string                     // it ended; "": it lives
	sent     map[string][]time.Duration // by name: when each message was
	got      map[*life][]int            // by sender: numbers
	gotGroup map[*life]int              // the last number
	extra    int                        // what else it sent, to anybody
	handled  map[string]bool            // requests
	lost     map[string]mesh.UndeliveredError
	group    int
}

func (l *life) String() string { return fmt.Sprintf("%s#%d", l.of.name, l.number) }

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

// start starts a program. It joins for as long as it takes.
func (w *world) start(p *program) { p.life = w.begin(p, false) }

func (w *world) begin(p *program, second bool) *life {
	ctx, kill := context.WithCancel(context.Background())
	stay, stop := context.WithCancel(ctx)
	l := &life{
		of: p, second: second, number: len(p.all) + 1, kill: kill, stay: stay, stop: stop, ended: make(chan struct{}),
		rng:  rand.New(rand.NewPCG(w.seed, uint64(len(p.all)+1)<<32|uint64(slices.Index(w.programs, p)))),
		sent: make(map[string][]time.Duration), got: make(map[*life][]int), gotGroup: make(map[*life]int),
		handled: make(map[string]bool), lost: make(map[string]mesh.UndeliveredError),
	}
	w.mu.Lock()
	p.all = append(p.all, l)
	p.shared = p.shared || second
	w.mu.Unlock()
	w.lives.Go(func() {
		defer close(l.ended)
		defer kill()
		w.live(ctx, l)
	})
	return l
}

// live is the life of a program: it joins, and talks to the others until it is killed or stopped.
func (w *world) live(ctx context.Context, l *life) {
	for l.node == nil {
		join := mesh.Join
		if l.of.kind == "light" {
			join = func(ctx context.Context, c mesh.Config) (*mesh.Node, error) { return mesh.Dial(ctx, l.of.addr, c) }
		}
		patience, cancel := context.WithTimeout(l.stay, 30*time.Second)
		cfg := w.m.Config(l.of.name)
		if l.second {
			cfg.Listen = "" // that port is taken
			cfg.Seeds = append(cfg.Seeds, l.of.addr)
		}
		n, err := join(patience, cfg)
		cancel()
		if err != nil {
			if l.stay.Err() != nil {
				w.ended(l, "killed")
				return
			}
			if !l.second {
				w.say("%v cannot join: %v", l, err)
			}
			time.Sleep(200 * time.Millisecond)
			continue
		}
		w.mu.Lock()
		l.node = n
		w.mu.Unlock()
	}
	w.say("%v is in, relay %s", l, l.node.Relay())
	l.node.Handle(func(_ context.Context, m mesh.Message) (any, error) { return w.handle(l, m) })
	var talks sync.WaitGroup
	events := l.node.Events(context.Background())
	talks.Go(func() {
		for e := range events {
			w.happened(l, e)
		}
	})
	slow := pick(l.rng, 0, 0, 0, 20*time.Millisecond, time.Second) // to take a message
	talks.Go(func() {
		for m := range l.node.Messages(context.Background()) {
			w.arrived(l, m)
			if slow > 0 && w.traffic.Err() == nil && l.stay.Err() == nil && l.node.Err() == nil {
				time.Sleep(slow)
			}
		}
	})
	talks.Go(func() { w.talk(ctx, l) })
	how := ""
	select {
	case <-l.stay.Done():
		if ctx.Err() != nil {
			how = "killed"
			l.node.Close()
			break
		}
		how = "stopped"
		patience, cancel := context.WithTimeout(ctx, 10*time.Second)
		if err := l.node.Shutdown(patience); err != nil {
			w.say("%v leaves: %v", l, err)
		}
		cancel()
	case <-l.node.Done():
		how = "put out"
		w.say("%v was put out: %v", l, l.node.Err())
		if !errors.Is(l.node.Err(), mesh.ErrNameTaken) {
			w.fail("%v was put out: %v", l, l.node.Err())
		}
	}
	talks.Wait()
	w.ended(l, how)
}

func (w *world) ended(l *life, how string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	l.how = how
}

// runs tells whether a program runs.
func (w *world) runs(p *program) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return p.life != nil && p.life.how == ""
}

// talk sends to all others, whoever is there.
func (w *world) talk(ctx context.Context, l *life) {
	filler := strings.Repeat("x", 40_000)
	for {
		select {
		case <-time.After(time.Duration(l.rng.Int64N(int64(2 * w.pace)))):
		case <-l.node.Done():
			return
		case <-l.stay.Done():
			return
		case <-w.traffic.Done():
			return
		}
		to := w.programs[l.rng.IntN(len(w.programs))].name
		if to == l.of.name {
			continue
		}
		switch l.rng.IntN(40) {
		case 0:
			l.extra++
			id := l.rng.Uint64()
			w.lives.Go(func() { w.request(ctx, l, to, id) })
			continue
		case 1:
			l.group++
			l.extra++
			l.node.Send(ctx, mesh.ToAll, fmt.Sprintf("%s %d group %d", l.of.name, l.number, l.group))
			continue
		}
		n := len(l.sent[to]) + 1
		size := 0
		if l.rng.IntN(50) == 0 {
			size = l.rng.IntN(len(filler))
		}
		// Noted before it is sent: it may arrive before Send returns.
		w.mu.Lock()
		l.sent[to] = append(l.sent[to], time.Since(w.began))
		w.mu.Unlock()
		if err := l.node.Send(ctx, to, fmt.Sprintf("%s %d %d %s", l.of.name, l.number, n, filler[:size])); err != nil {
			w.mu.Lock()
			l.sent[to] = l.sent[to][:n-1]
			w.mu.Unlock()
			if !errors.Is(err, mesh.ErrClosed) && !errors.Is(err, mesh.ErrNameTaken) { // else it is put out
				w.fail("%v cannot send: %v", l, err)
			}
		}
	}
}

// request asks a node for the number that it is asked with.
func (w *world) request(ctx context.Context, l *life, to string, id uint64) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	m, err := l.node.Request(ctx, to, fmt.Sprint(id))
	if err == nil && m.Text() != fmt.Sprint(id) {
		w.fail("%v asked %s for %d and got %q", l, to, id, m.Text())
	}
}

func (w *world) handle(l *life, m mesh.Message) (any, error) {
	w.mu.Lock()
	twice := l.handled[m.Text()]
	l.handled[m.Text()] = true
	w.mu.Unlock()
	if twice {
		w.fail("%v handled request %s of %s twice", l, m.Text(), m.From)
	}
	return m.Text(), nil
}

// arrived notes a message.
func (w *world) arrived(l *life, m mesh.Message) {
	var name, rest string
	var number, n int
	text := m.Text()
	if _, err := fmt.Sscan(text[:min(len(text), 60)], &name, &number, &rest); err != nil || name != m.From {
		w.fail("%v got %.60q from %s", l, text, m.From)
		return
	}
	w.mu.Lock()
	from := w.program(name).all[number-1]
	if rest == "group" {
		fmt.Sscan(strings.Fields(text)[3], &n)
		last := l.gotGroup[from]
		l.gotGroup[from] = n
		shared := from.of.shared
		w.mu.Unlock()
		if n <= last && !shared {
			w.fail("%v got %d of %v to all after %d", l, n, from, last)
		}
		return
	}
	fmt.Sscan(rest, &n)
	list := l.got[from]
	last := 0
	if len(list) > 0 {
		last = list[len(list)-1]
	}
	l.got[from] = append(list, n)
	shared := from.of.shared
	w.mu.Unlock()
	if n <= last && !shared {
		w.fail("%v got %d of %v after %d", l, n, from, last)
	}
}

// happened notes an event.
func (w *world) happened(l *life, e mesh.Event) {
	switch e.Kind {
	case mesh.EventLinked:
		if e.Self {
			w.say("%v is the relay", l)
		} else {
			w.say("%v: linked to %s", l, e.Name)
		}
		w.mu.Lock()
		if e.Self && !w.calm.IsZero() {
			w.reigns++
		}
		wrong := w.relay != "" && e.Name != w.relay && !w.but[l.of.name]
		w.mu.Unlock()
		if wrong {
			w.fail("%v has the relay %s now, though %s is healthy", l, e.Name, w.relay)
		}
	case mesh.EventUnlinked:
		w.say("%v: lost %s: %s", l, e.Name, e.Reason)
	case mesh.EventUndelivered:
		var u *mesh.UndeliveredError
		errors.As(e.Err, &u)
		w.mu.Lock()
		sum := l.lost[u.To]
		sum.Count, sum.Unsent = sum.Count+u.Count, sum.Unsent+u.Unsent
		l.lost[u.To] = sum
		w.mu.Unlock()
		w.say("%v: %v", l, u)
	case mesh.EventLagged:
		w.fail("%v missed %d events", l, e.Count)
	}
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

// check goes through the books: what was sent is what has arrived and what was reported. What a killed program had
// queued is lost with it.
func (w *world) check(o *outcome) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, p := range w.programs {
		for _, from := range p.all {
			for to, sent := range from.sent {
				seen := make([]bool, len(sent)+1)
				count := 0
				for _, l := range w.program(to).all {
					for _, n := range l.got[from] {
						if !seen[n] {
							seen[n] = true
							count++
						}
					}
				}
				lost := from.lost[to]
				o.sent, o.got, o.undelivered = o.sent+len(sent), o.got+count, o.undelivered+lost.Count
				missing := len(sent) - count
				if from.how == "killed" || from.how == "put out" {
					continue
				}
				if missing > lost.Count || missing+from.extra < lost.Unsent {
					w.mu.Unlock()
					w.fail("%v sent %d to %s: %d arrived, %d were reported, %d of them as never sent; missing %v", from, len(sent), to, count, lost.Count, lost.Unsent, absent(seen))
					w.mu.Lock()
				}
			}
		}
	}
}

func absent(seen []bool) (list []int) {
	for n := 1; n < len(seen); n++ {
		if !seen[n] {
			list = append(list, n)
		}
	}
	return list
}
