package mesh_test

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"ultrasockets/mesh"
	"ultrasockets/mesh/internal/ports"
)

// long makes the fault tests as long as the guarantees ask for; .ci/long sets it.
var long = flag.Bool("long", false, "run the fault tests at full length")

// pick gives the short or the long measure of a test.
func pick[T any](short, full T) T {
	if *long {
		return full
	}
	return short
}

// parallel lets a test that mostly waits run beside others; at full length each has the machine for itself.
func parallel(t *testing.T) {
	if !*long {
		t.Parallel()
	}
}

// longest is what a step may take on a machine that has time for everything but this test.
const longest = time.Minute

// fleet is relay processes, which may be killed, and pairs of nodes in this process, whose traffic never stops.
type fleet struct {
	t      *testing.T
	mesh   string
	addrs  []string
	relays []*process
	pairs  []*pair
}

type pair struct {
	from, to *mesh.Node
	sent     int
	err      error
	arrived  chan time.Time // of each message
}

func newFleet(t *testing.T, relays, pairs int, light bool) *fleet {
	f := &fleet{t: t, mesh: fmt.Sprintf("fleet-%08x", rand.Uint32())}
	for range relays {
		f.addrs = append(f.addrs, ports.Free(t))
	}
	f.relays = make([]*process, relays)
	for i := range f.relays {
		f.start(i)
	}
	ctx := within(t, longest)
	node := func(name string) *mesh.Node {
		cfg := mesh.Config{Name: name, Mesh: f.mesh, Bind: "127.0.0.1", NoMDNS: true, Role: mesh.RolePeer, Logger: testLog(t)}
		var n *mesh.Node
		var err error
		if light {
			n, err = mesh.Dial(ctx, f.addrs[0], cfg)
		} else {
			cfg.Seeds = f.addrs
			n, err = mesh.Join(ctx, cfg)
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { n.Close() })
		return n
	}
	for i := range pairs {
		f.pairs = append(f.pairs, &pair{from: node(fmt.Sprint("a", i)), to: node(fmt.Sprint("b", i)), arrived: make(chan time.Time, 1<<20)})
	}
	return f
}

func (f *fleet) start(i int) {
	c := childConfig{Name: fmt.Sprint("r", i), Mesh: f.mesh, Listen: f.addrs[i]}
	for j, a := range f.addrs {
		if j != i {
			c.Seeds = append(c.Seeds, a)
		}
	}
	f.relays[i] = startProcess(f.t, c)
}

// traffic sends at a rate (messages a second, over all pairs) until ctx ends; then everything must arrive.
func (f *fleet) traffic(ctx context.Context, rate int) *sync.WaitGroup {
	var all sync.WaitGroup
	for _, p := range f.pairs {
		stopped := make(chan struct{})
		all.Go(func() {
			defer close(stopped)
			start := time.Now()
			for ctx.Err() == nil {
				due := int(time.Since(start).Seconds() * float64(rate) / float64(len(f.pairs)))
				for ; p.sent < due; p.sent++ {
					if err := p.from.Send(context.Background(), p.to.Name(), p.sent); err != nil {
						p.err = err
						return
					}
				}
				time.Sleep(2 * time.Millisecond)
			}
		})
		all.Go(func() {
			// Once sending has stopped, the rest has so long to arrive.
			wait, cancel := context.WithCancel(context.Background())
			defer cancel()
			go func() { // ends with the traffic, at the latest
				<-stopped
				if p.err == nil && p.sent > 0 {
					f.last(p)
				}
				time.AfterFunc(30*time.Second, cancel)
			}()
			for want := 0; ; want++ {
				m, err := p.to.Receive(wait)
				if err == nil && m.Text() == fmt.Sprint("last after ", want) {
					return
				}
				if err != nil {
					f.t.Errorf("%s: message %d: %v", p.to.Name(), want, err)
					return
				}
				if got := m.Value(); got != int64(want) {
					f.t.Errorf("%s: got %v, want %d or the last", p.to.Name(), got, want)
					return
				}
				p.arrived <- time.Now()
			}
		})
	}
	return &all
}

// last ends a pair's traffic: it must arrive after everything else.
func (f *fleet) last(p *pair) {
	if err := p.from.Send(context.Background(), p.to.Name(), fmt.Sprint("last after ", p.sent)); err != nil {
		f.t.Error(err)
	}
}

// TestRelayProcessKilled kills the relay process again and again under traffic that never stops.
func TestRelayProcessKilled(t *testing.T) {
	parallel(t)
	for _, light := range []bool{false, true} {
		t.Run(map[bool]string{false: "members", true: "light"}[light], func(t *testing.T) {
			kills := pick(3, 20)
			f := newFleet(t, 4, 8, light)
			ctx, stop := context.WithCancel(context.Background())
			traffic := f.traffic(ctx, 5000)
			var gaps []time.Duration
			for range kills {
				gap, ok := f.killRelay()
				if !ok {
					break
				}
				gaps = append(gaps, gap)
				f.settle(time.Second)
			}
			stop()
			traffic.Wait()
			total := 0
			for _, p := range f.pairs {
				total += p.sent
				if p.err != nil {
					t.Error(p.err)
				}
			}
			slices.Sort(gaps)
			if len(gaps) == kills {
				t.Logf("%d messages on %d pairs, %d kills: 0 lost, 0 twice, 0 out of order; first delivery through the new relay after median %v, worst %v",
					total, len(f.pairs), kills, gaps[len(gaps)/2], gaps[len(gaps)-1])
			}
		})
	}
}

// killRelay kills the relay, waits until every pair has a new one, and gives the time until the last pair's first
// delivery through it. Then it starts the killed one again.
func (f *fleet) killRelay() (time.Duration, bool) {
	p := f.pairs[0]
	name := p.from.Relay()
	for limit := time.Now().Add(longest); !f.agree(); name = p.from.Relay() {
		if time.Now().After(limit) {
			f.t.Errorf("no common relay within %v", longest)
			return 0, false
		}
		time.Sleep(time.Millisecond)
	}
	name = p.from.Relay()
	i := slices.IndexFunc(f.relays, func(r *process) bool { return r.name == name })
	f.relays[i].kill()
	killed := time.Now()
	for !f.agree() || p.from.Relay() == name {
		if time.Since(killed) > longest {
			f.t.Errorf("no new relay within %v: %q", longest, p.from.Relay())
			return 0, false
		}
		time.Sleep(time.Millisecond / 2)
	}
	linked := time.Now()
	worst := time.Duration(0)
	for _, p := range f.pairs {
		at := f.next(p)
		for ; !at.After(linked); at = f.next(p) {
			if at.IsZero() {
				return 0, false
			}
		}
		worst = max(worst, at.Sub(killed))
	}
	f.start(i)
	return worst, true
}

// settle lets the traffic run for a while.
func (f *fleet) settle(d time.Duration) {
	for until := time.Now().Add(d); time.Now().Before(until); {
		f.next(f.pairs[0])
	}
}

// next waits for a pair's next arrival; zero: none came for long.
func (f *fleet) next(p *pair) time.Time {
	limit := time.NewTimer(longest)
	defer limit.Stop()
	select {
	case at := <-p.arrived:
		return at
	case <-limit.C:
		f.t.Errorf("%s: nothing arrived for %v", p.to.Name(), longest)
		return time.Time{}
	}
}

// agree tells whether all nodes of the pairs have the same relay.
func (f *fleet) agree() bool {
	name := f.pairs[0].from.Relay()
	for _, p := range f.pairs {
		if p.from.Relay() != name || p.to.Relay() != name {
			return false
		}
	}
	return name != ""
}
