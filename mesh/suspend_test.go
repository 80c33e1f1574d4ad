//go:build unix

package mesh_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"

	"ultrasockets/mesh"
)

func (p *process) suspend() { p.cmd.Process.Signal(syscall.SIGSTOP) }
func (p *process) resume()  { p.cmd.Process.Signal(syscall.SIGCONT) }

// TestRelaySuspended stops the relay process as a laptop's lid does, and lets it go on: another takes over, then there is
// one relay, and nothing is lost.
func TestRelaySuspended(t *testing.T) {
	parallel(t)
	f := newFleet(t, 3, 4, false)
	ctx, stop := context.WithCancel(context.Background())
	traffic := f.traffic(ctx, 1000)
	defer traffic.Wait()
	defer stop()
	f.settle(500 * time.Millisecond)
	name := f.pairs[0].from.Relay()
	relay := f.relays[slices.IndexFunc(f.relays, func(r *process) bool { return r.name == name })]
	relay.suspend()
	start := time.Now()
	for !f.agree() || f.pairs[0].from.Relay() == name {
		if time.Since(start) > longest {
			t.Fatal("no new relay within ", longest)
		}
		time.Sleep(time.Millisecond)
	}
	takeover := time.Since(start)
	time.Sleep(max(0, pick(5*time.Second, 10*time.Second)-takeover))
	relay.resume()
	start = time.Now()
	relay.until(longest, "it links to the new relay", func() bool { return relay.relay != name })
	back := time.Since(start)
	f.settle(time.Second)
	for limit := time.Now().Add(longest); !f.agree(); time.Sleep(time.Millisecond) {
		if time.Now().After(limit) {
			t.Fatal("the nodes do not agree on a relay")
		}
	}
	now := f.pairs[0].from.Relay()
	for _, r := range f.relays {
		r.until(longest, "it agrees", func() bool { return r.relay == now })
	}
	stop()
	traffic.Wait()
	t.Logf("another took over after %v, the old one was back in the mesh after %v; 0 lost, 0 twice", takeover, back)
}

// TestPeerSuspended stops a receiver's process under traffic to it. Inside Retention everything arrives once and in order;
// what expired is reported, and together they are everything.
func TestPeerSuspended(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		stop, retention time.Duration
		long            bool
	}{{2 * time.Second, time.Minute, false}, {15 * time.Second, time.Minute, true}, {40 * time.Second, time.Minute, true}, {6 * time.Second, 2500 * time.Millisecond, false}, {15 * time.Second, 5 * time.Second, true}} {
		t.Run(fmt.Sprintf("%v-of-%v", c.stop, c.retention), func(t *testing.T) {
			if c.long && !*long {
				t.Skip("runs with -long")
			}
			t.Parallel()
			suspendPeer(t, c.stop, c.retention)
		})
	}
}

func suspendPeer(t *testing.T, pause, retention time.Duration) {
	ctx := within(t, pause+2*time.Minute)
	s, err := mesh.Listen(ctx, "127.0.0.1:0", mesh.Config{Name: "relay"})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	a, err := mesh.Dial(ctx, s.Addr().String(), mesh.Config{Name: "a", Retention: retention, Logger: testLog(t)})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	p := startProcess(t, childConfig{Name: "p", Hostname: s.Addr().String()})
	sent := 0
	send := func(d time.Duration) {
		for until := time.Now().Add(d); time.Now().Before(until); sent++ {
			if err := a.Send(ctx, "p", sent); err != nil {
				t.Fatal(err)
			}
			time.Sleep(2 * time.Millisecond)
		}
	}
	send(300 * time.Millisecond)
	p.suspend()
	send(pause)
	p.resume()
	send(time.Second)
	// Everything is delivered or given up by now, or will be soon.
	var lost *mesh.UndeliveredError
	given, unsent := 0, 0
	if err := a.Flush(ctx); err != nil {
		if !errors.As(err, &lost) || !errors.Is(err, mesh.ErrExpired) {
			t.Fatal(err)
		}
		given, unsent = lost.Count, lost.Unsent
	}
	if err := a.Deliver(ctx, "p", "last"); err != nil {
		t.Fatal(err)
	}
	p.until(20*time.Second, "the last message is there", func() bool {
		got := p.arrivals["a"]
		return len(got) > 0 && got[len(got)-1] == "last"
	})
	got := p.got("a")
	got = got[:len(got)-1]
	last := -1
	for _, text := range got {
		n, err := strconv.Atoi(text)
		if err != nil || n <= last {
			t.Fatalf("%q arrived after %d", text, last)
		}
		last = n
	}
	t.Logf("%d sent, %d arrived, %d given up (%d never sent)", sent, len(got), given, unsent)
	switch {
	case retention > pause && (len(got) != sent || given != 0):
		t.Error("inside Retention something is missing or was given up")
	case retention < pause && given == 0:
		t.Error("nothing expired")
	case len(got)+given < sent || len(got)+unsent > sent:
		t.Error("delivered and given up are not everything")
	}
}

// TestSoak does, for minutes, whatever may happen to a mesh of processes, under traffic that never stops. The order of
// events comes from a seed that it prints.
func TestSoak(t *testing.T) {
	if !*long {
		t.Skip("runs with -long")
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	f := newFleet(t, 4, 8, false)
	ctx, stop := context.WithCancel(context.Background())
	traffic := f.traffic(ctx, 2000)
	counts := map[string]int{}
	for end := time.Now().Add(5 * time.Minute); time.Now().Before(end) && !t.Failed(); {
		what := random.IntN(6)
		i := random.IntN(len(f.relays))
		d := time.Duration(random.IntN(6000)) * time.Millisecond
		switch what {
		case 0: // a relay process, or a candidate, crashes
			f.relays[i].kill()
			f.settle(d / 4)
			f.start(i)
			counts["killed"]++
		case 1: // is suspended
			f.relays[i].suspend()
			time.Sleep(d)
			f.relays[i].resume()
			counts["suspended"]++
		case 2: // the relay itself crashes
			f.killRelay()
			counts["relay killed"]++
		case 3: // a receiver pauses
			n := f.pairs[random.IntN(len(f.pairs))].to
			if err := n.Pause(); err != nil {
				t.Fatal(err)
			}
			time.Sleep(d)
			if err := n.Resume(); err != nil {
				t.Fatal(err)
			}
			counts["paused"]++
		case 4: // somebody comes for a moment
			n, err := mesh.Join(ctx, mesh.Config{Name: fmt.Sprint("guest", counts["guests"]), Mesh: f.mesh, Bind: "127.0.0.1", NoMDNS: true, Seeds: f.addrs})
			if err != nil {
				t.Fatal(err)
			}
			f.settle(d / 8)
			n.Close()
			counts["guests"]++
		case 5: // two at once
			j := (i + 1) % len(f.relays)
			f.relays[i].kill()
			f.relays[j].suspend()
			time.Sleep(d / 2)
			f.relays[j].resume()
			f.start(i)
			counts["two at once"]++
		}
		f.settle(time.Duration(random.IntN(1500)) * time.Millisecond)
	}
	stop()
	traffic.Wait()
	total := 0
	for _, p := range f.pairs {
		total += p.sent
	}
	t.Logf("%d messages, %v: 0 lost, 0 twice, 0 out of order", total, counts)
}
