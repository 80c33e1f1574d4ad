package meshtest_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"ultrasockets/mesh"
)

// The programs of a simulation: what they do, and the books of what they sent and got.

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
	got := func(m mesh.Message) {
		w.arrived(l, m)
		if slow > 0 && w.traffic.Err() == nil && l.stay.Err() == nil && l.node.Err() == nil {
			time.Sleep(slow)
		}
	}
	talks.Go(func() {
		if l.number%2 == 0 {
			for batch := range l.node.Batches(context.Background()) {
				for _, m := range batch {
					got(m)
				}
			}
			return
		}
		for m := range l.node.Messages(context.Background()) {
			got(m)
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
		// Noted before they are sent: they may arrive before SendBatch returns.
		batch := [][]byte{fmt.Appendf(nil, "%s %d %d %s", l.of.name, l.number, n, filler[:size])}
		for range l.rng.IntN(3) {
			batch = append(batch, fmt.Appendf(nil, "%s %d %d", l.of.name, l.number, n+len(batch)))
		}
		w.mu.Lock()
		for range batch {
			l.sent[to] = append(l.sent[to], time.Since(w.began))
		}
		w.mu.Unlock()
		queued, err := 1, error(nil)
		if len(batch) == 1 {
			if err = l.node.Send(ctx, to, string(batch[0])); err != nil {
				queued = 0
			}
		} else {
			queued, err = l.node.SendBatch(ctx, to, batch)
		}
		if err != nil {
			w.mu.Lock()
			l.sent[to] = l.sent[to][:n-1+queued]
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
