package relay

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"ultrasockets/codec"
)

func TestBucket(t *testing.T) {
	type step struct {
		at   time.Duration
		take int
		want time.Duration
	}
	const s, ms = time.Second, time.Millisecond
	for name, c := range map[string]struct {
		rate, burst float64
		steps       []step
	}{
		"full at the start":      {10, 5, []step{{0, 5, 0}, {0, 0, 0}, {0, 1, 100 * ms}}},
		"a debt is paid in time": {10, 5, []step{{0, 15, s}, {500 * ms, 0, 500 * ms}, {s, 0, 0}, {s, 1, 100 * ms}}},
		"debts add up":           {10, 0, []step{{0, 10, s}, {0, 10, 2 * s}, {s, 10, 2 * s}}},
		"no more than the burst": {10, 5, []step{{0, 5, 0}, {time.Hour, 5, 0}, {time.Hour, 1, 100 * ms}}},
		"fills between":          {1000, 100, []step{{0, 100, 0}, {50 * ms, 50, 0}, {50 * ms, 1, ms}}},
		"a clock that goes back": {10, 5, []step{{s, 15, s}, {0, 0, s}, {2 * s, 0, 0}}},
		"nothing is free":        {1, 0, []step{{0, 0, 0}, {0, 1, s}, {s, 1, s}}},
	} {
		b := newBucket(c.rate, c.burst, 0)
		for i, st := range c.steps {
			if got := b.take(st.take, st.at); (got - st.want).Abs() > time.Microsecond {
				t.Errorf("%s: step %d: wait %v, want %v", name, i, got, st.want)
			}
		}
	}
}

// viewer is a Handler that knows the mesh as it is told of it, and fails at whatever makes no sense.
type viewer struct {
	ignore
	t *testing.T

	mu      sync.Mutex
	nodes   map[string]uint64 // name to instance
	state   map[string]codec.State
	updates int
	last    time.Time // of the last update
}

func (v *viewer) HandleFrame(f codec.Raw, _ *Memory) {
	v.mu.Lock()
	defer v.mu.Unlock()
	switch f.Kind() {
	case codec.KindRoster:
		r, err := codec.ParseRoster(f.Payload())
		if err != nil {
			v.t.Error(err)
		}
		if f.Flags()&codec.FlagFirst != 0 {
			v.nodes, v.state = make(map[string]uint64), make(map[string]codec.State)
		}
		for _, e := range r.Entries {
			v.nodes[e.Name], v.state[e.Name] = e.Instance, e.State
		}
	case codec.KindUpdate:
		u, err := codec.ParseUpdate(f.Payload())
		if err != nil {
			v.t.Error(err)
		}
		v.updates, v.last = v.updates+1, time.Now()
		for _, c := range u.Changes {
			known, ok := v.nodes[c.Entry.Name]
			if joined := c.Op == codec.Joined; joined == ok || ok && known != c.Entry.Instance {
				v.t.Errorf("%v %s %d, known before: %v %d", c.Op, c.Entry.Name, c.Entry.Instance, ok, known)
			}
			if c.Op == codec.Left {
				delete(v.nodes, c.Entry.Name)
				delete(v.state, c.Entry.Name)
			} else {
				v.nodes[c.Entry.Name], v.state[c.Entry.Name] = c.Entry.Instance, c.Entry.State
			}
		}
	}
}

// runIdle runs a port at which nobody looks.
func (s *star) runIdle(p Port) { s.wg.Go(func() { p.Run(ignore{}) }) }

func (s *star) view(name string, change func(*codec.Hello)) (*Link, *viewer) {
	s.t.Helper()
	l, err := s.dial(name, change)
	if err != nil {
		s.t.Fatal(err)
	}
	v := &viewer{t: s.t}
	s.wg.Go(func() { l.Run(v) })
	return l, v
}

// TestNews has nodes come, change, be replaced and go, faster than it may be told: whoever is there at the end knows the mesh as it
// is, and was told of nothing twice.
func TestNews(t *testing.T) {
	for _, rate := range []float64{1, 100, newsRate} {
		t.Run(fmt.Sprint(rate), func(t *testing.T) {
			inBubble(t, HubConfig{Heartbeat: time.Hour}, func(s *star) {
				s.runIdle(s.hub.Reign(Reign{}))
				s.hub.mu.Lock()
				s.hub.news.pace = newBucket(rate, 3, s.now())
				s.hub.mu.Unlock()
				rnd := rand.New(rand.NewPCG(uint64(rate), 5))
				links, views := map[string]*Link{}, map[string]*viewer{}
				for range 400 {
					name := fmt.Sprint("n", rnd.IntN(12))
					l := links[name]
					switch act := rnd.IntN(10); {
					case l == nil || act == 0: // joins, or replaces its own link
						links[name], views[name] = s.view(name, func(h *codec.Hello) { h.Instance = rnd.Uint64() | 1 })
					case act == 1:
						l.Close()
						delete(links, name)
						delete(views, name)
					default:
						u := codec.Update{Changes: []codec.Change{{Op: codec.Changed, Entry: codec.Entry{State: codec.State(act % 2)}}}}
						f := codec.Frame{Kind: codec.KindUpdate, Payload: u.Append(nil)}
						l.Write(f.Append(nil), true)
					}
					if rnd.IntN(3) == 0 {
						time.Sleep(time.Duration(rnd.IntN(2000)) * time.Millisecond)
					}
					synctest.Wait()
				}
				time.Sleep(time.Minute)
				synctest.Wait()
				nodes, state := map[string]uint64{}, map[string]codec.State{}
				s.hub.mu.Lock()
				nodes["relay"] = s.hub.cfg.Own.Instance
				state["relay"] = codec.StateReady
				for name, p := range s.hub.names {
					nodes[name], state[name] = p.instance, p.entry.State
				}
				s.hub.mu.Unlock()
				for name, v := range views {
					if !maps.Equal(v.nodes, nodes) || !maps.Equal(v.state, state) {
						t.Errorf("%s knows\n%v %v, there is\n%v %v", name, v.nodes, v.state, nodes, state)
					}
				}
				if len(views) < 3 {
					t.Fatalf("only %d nodes are left", len(views))
				}
			})
		})
	}
}

// TestNewsInAQuietMesh: a change is told at once, and so are the next few hundred of a small mesh.
func TestNewsInAQuietMesh(t *testing.T) {
	inBubble(t, HubConfig{Heartbeat: time.Hour}, func(s *star) {
		s.runIdle(s.hub.Reign(Reign{}))
		_, a := s.view("a", nil)
		begun := time.Now()
		for i := range 20 {
			s.view(fmt.Sprint("n", i), nil)
		}
		synctest.Wait()
		if !a.last.Equal(begun) || a.updates != 20 || len(a.nodes) != 22 {
			t.Fatalf("%d updates until %v, %d nodes", a.updates, a.last.Sub(begun), len(a.nodes))
		}
	})
}

// TestNewsFlood: a node that changes its state at full speed costs the others a bounded number of updates, and the last one is right.
func TestNewsFlood(t *testing.T) {
	inBubble(t, HubConfig{Heartbeat: time.Hour}, func(s *star) {
		s.runIdle(s.hub.Reign(Reign{}))
		l, _ := s.view("flood", nil)
		const others = 40
		var views []*viewer
		for i := range others {
			_, v := s.view(fmt.Sprint("n", i), nil)
			views = append(views, v)
		}
		const changes = 10_000
		for i := range changes {
			u := codec.Update{Changes: []codec.Change{{Op: codec.Changed, Entry: codec.Entry{State: codec.State(i % 2)}}}}
			f := codec.Frame{Kind: codec.KindUpdate, Payload: u.Append(nil)}
			for !l.Write(f.Append(nil), true) {
				synctest.Wait()
			}
		}
		synctest.Wait()
		s.hub.mu.Lock()
		waiting := len(s.hub.news.since(0))
		s.hub.mu.Unlock()
		time.Sleep(time.Minute)
		synctest.Wait()
		for _, v := range views {
			if most := others + newsBurst; v.updates > most || v.state["flood"] != codec.StatePaused {
				t.Fatalf("%d updates, at most %d; state %v", v.updates, most, v.state["flood"])
			}
		}
		if s.hub.Stats().Slowed == 0 {
			t.Error("it was not slowed down")
		}
		t.Logf("%d changes: %d updates to each of %d nodes; at most %d changes waited", changes, views[0].updates, others, waiting)
	})
}

// TestCatchUp: a roster that is due is sent when half of the outbox is free, not only when all of it is.
func TestCatchUp(t *testing.T) {
	called := 0
	o := &outbox{limit: 100, clock: new(coarse), drain: func() {}, onCaughtUp: func() { called++ }}
	for _, c := range []struct {
		held int
		want int
	}{{101, 0}, {51, 0}, {50, 1}, {1, 1}} {
		o.state, o.rosterDue, o.held, called = busy, true, c.held, 0
		o.queue = []piece{{chunk: newChunk(1)}}
		if !o.next() || called != c.want {
			t.Errorf("%d of %d bytes held: %d calls, want %d", c.held, o.limit, called, c.want)
		}
	}
}
