package mesh_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"ultrasockets/mesh"
	"ultrasockets/mesh/meshtest"
)

// flow sends numbers from one node to another, 100 a second, until it is stopped, and checks that they arrive in order and
// once. stop waits until all have arrived, and gives how many there were.
func flow(t *testing.T, from, to *mesh.Node) (stop func() int) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var both sync.WaitGroup
	sent := 0
	both.Go(func() {
		for ctx.Err() == nil {
			if err := from.Send(context.Background(), to.Name(), sent); err != nil {
				t.Errorf("message %d: %v", sent, err)
				return
			}
			sent++
			time.Sleep(10 * time.Millisecond)
		}
		if err := from.Send(context.Background(), to.Name(), fmt.Sprint("last after ", sent)); err != nil {
			t.Error(err)
		}
	})
	both.Go(func() {
		patience, done := context.WithTimeout(context.Background(), 5*time.Minute)
		defer done()
		for want := 0; ; want++ {
			m, err := to.Receive(patience)
			if err != nil {
				t.Errorf("message %d: %v", want, err)
				return
			}
			if m.Text() == fmt.Sprint("last after ", want) {
				return
			}
			if m.Value() != int64(want) {
				t.Errorf("message %v arrived, want %d", m.Value(), want)
				return
			}
		}
	})
	return func() int {
		cancel()
		both.Wait()
		return sent
	}
}

// TestFaultsOneBadCable: whatever is wrong with the link of one node, or with all of its cable, the relay stays who it is.
func TestFaultsOneBadCable(t *testing.T) {
	// On one processor: the race detector crashes when timers of a bubble, here those of gossip, run on two (go.dev/issue/78156).
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	for name, c := range map[string]meshtest.Cable{
		"link cut":       {Only: meshtest.Links, Cut: meshtest.Both},
		"link hears":     {Only: meshtest.Links, Cut: meshtest.Out},
		"link speaks":    {Only: meshtest.Links, Cut: meshtest.In},
		"link late":      {Only: meshtest.Links, Latency: 2 * time.Second, Jitter: 2 * time.Second},
		"link lossy":     {Only: meshtest.Links, Loss: 0.5},
		"all cut":        {Cut: meshtest.Both},
		"all lossy":      {Loss: 0.5, Jitter: time.Second},
		"gossip cut":     {Only: meshtest.Gossip, Cut: meshtest.Both},
		"gossip is deaf": {Only: meshtest.Gossip, Cut: meshtest.In},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := meshtest.NewInMemory(t, nil, "a", "b", "c", "d")
				relay := m.Relay()
				links := linksOf(context.Background(), m.Node(relay))
				stop := flow(t, m.Node("b"), m.Node("d"))
				healthy := flow(t, m.Node("c"), m.Node("a"))
				m.Cable(c, "d")
				time.Sleep(10 * time.Second)
				m.Heal()
				time.Sleep(20 * time.Second)
				if now := m.Relay(); now != relay {
					t.Errorf("the relay was %s and is %s", relay, now)
				}
				sent := stop() + healthy()
				if n := links(); n > 0 {
					t.Errorf("%s became the relay %d times more", relay, n)
				}
				t.Logf("%d messages: 0 lost, 0 twice, 0 out of order; %s was the relay all the time", sent, relay)
			})
		})
	}
}

// TestClockSetForwardAndBack: the time of day is put on messages, and nothing else depends on it.
func TestClockSetForwardAndBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var wrong sync.Map // by how much the clock of a node is wrong
		adapt := func(c *mesh.Config) {
			name := c.Name
			c.Now = func() time.Time {
				by, _ := wrong.LoadOrStore(name, time.Duration(0))
				return time.Now().Add(by.(time.Duration))
			}
		}
		m := meshtest.NewInMemory(t, adapt, "a", "b", "c")
		relay := m.Relay()
		ctx, cancel := context.WithCancel(context.Background())
		events := m.Node("b").Events(ctx)
		go func() { // ends with ctx
			for e := range events {
				t.Errorf("something happened: %+v", e)
			}
		}()
		stop := flow(t, m.Node("b"), m.Node("c"))
		for i := range 20 {
			for _, name := range []string{"a", "b", "c"} {
				wrong.Store(name, time.Duration(1-2*(i%2))*time.Hour)
			}
			time.Sleep(time.Second)
		}
		sent := stop()
		cancel()
		if m.Relay() != relay {
			t.Error("the relay changed")
		}
		if err := m.Node("a").Send(context.Background(), "a", "what time is it"); err != nil {
			t.Fatal(err)
		}
		if at := m.Node("a").Get(1)[0].Time; time.Until(at) > -59*time.Minute {
			t.Errorf("the message says %v: the clock was not set at all", at)
		}
		t.Logf("%d messages while the clocks were set forward and back by an hour 20 times", sent)
	})
}

// TestReceiverCrashes: a receiver's process is killed and started again, under traffic that never stops. What its dead
// instance had acknowledged and its program had not taken is lost, what it had taken and not acknowledged comes again, and that is all.
func TestReceiverCrashes(t *testing.T) {
	parallel(t)
	ctx := within(t, time.Minute)
	s, err := mesh.Listen(ctx, "127.0.0.1:0", mesh.Config{Name: "relay"})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	a, err := mesh.Dial(ctx, s.Addr().String(), mesh.Config{Name: "a", Logger: testLog(t)})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	crashes := pick(3, 20)
	sent := 0
	send := func(d time.Duration) {
		for until := time.Now().Add(d); time.Now().Before(until); time.Sleep(time.Millisecond) {
			for range 10 {
				if err := a.Send(ctx, "p", sent); err != nil {
					t.Fatal(err)
				}
				sent++
			}
		}
	}
	next, lost, again := 0, 0, 0
	for i := range crashes + 1 {
		p := startProcess(t, childConfig{Name: "p", Hostname: s.Addr().String()})
		send(200 * time.Millisecond)
		if i < crashes {
			p.kill()
			send(100 * time.Millisecond)
		} else {
			if err := a.Flush(ctx); err != nil {
				t.Fatalf("something was given up: %v", err)
			}
			if err := a.Deliver(ctx, "p", "last"); err != nil {
				t.Fatal(err)
			}
			p.until(20*time.Second, "the last message is there", func() bool {
				got := p.arrivals["a"]
				return len(got) > 0 && got[len(got)-1] == "last"
			})
		}
		for j, text := range p.got("a") {
			if text == "last" {
				break
			}
			n, err := strconv.Atoi(text)
			if err != nil {
				t.Fatal(err)
			}
			switch {
			case j > 0 && n != next:
				t.Fatalf("instance %d took %d, want %d", i, n, next)
			case j == 0 && n > next:
				lost += n - next
			case j == 0:
				again += next - n
			}
			next = n + 1
		}
	}
	if next != sent {
		t.Errorf("%d of %d arrived in the end", next, sent)
	}
	t.Logf("%d messages, %d crashes: %d were acknowledged and not taken, %d were taken and came again, nothing else is missing or twice", sent, crashes, lost, again)
}

// TestDiesWithTheRelay: a node that died together with the relay comes back under its name as soon as the new relay expects
// its former self no more, and begins no mesh of its own. Who does not wait so long is told why.
func TestDiesWithTheRelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := meshtest.NewInMemory(t, nil, "a", "b", "c", "d")
		relay := m.Relay()
		var others []string
		for _, name := range m.Names() {
			if name != relay {
				others = append(others, name)
			}
		}
		died := others[0]
		m.Partition([]string{died}, append(others[1:], relay)) // lest the relay tells before it dies
		m.Kill(died)
		m.Kill(relay)
		m.Heal()
		for m.Node(others[1]).Relay() == "" || m.Node(others[1]).Relay() == relay {
			time.Sleep(10 * time.Millisecond)
		}
		hasty, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if n, err := mesh.Join(hasty, m.Config(died)); !errors.Is(err, mesh.ErrNameTaken) || !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("joined: %v, %v", n != nil, err)
		}
		began := time.Now()
		n, err := mesh.Join(t.Context(), m.Config(died))
		if err != nil {
			t.Fatal(err)
		}
		if took, next := time.Since(began), m.Node(others[1]).Relay(); n.Relay() != next || took > 6*time.Second {
			t.Errorf("linked to %s after %v; the relay is %s", n.Relay(), took, next)
		}
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
}
