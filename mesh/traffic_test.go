package mesh_test

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"ultrasockets/mesh"
	"ultrasockets/mesh/meshtest"
)

// TestRequestsWhileRelaysDie: a request is handled once and answered once, whatever happens to the relay in between.
func TestRequestsWhileRelaysDie(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		adapt := func(c *mesh.Config) {
			if c.Name == "asker" || c.Name == "server" {
				c.Role = mesh.RolePeer
			}
		}
		m := meshtest.NewInMemory(t, adapt, "r0", "r1", "asker", "server")
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
		defer cancel()
		var mu sync.Mutex
		handled := map[int64]int{}
		m.Node("server").Handle(func(_ context.Context, q mesh.Message) (any, error) {
			n := q.Value().(int64)
			time.Sleep(time.Duration(n%40) * time.Millisecond)
			mu.Lock()
			defer mu.Unlock()
			handled[n]++
			if n%10 == 9 {
				return nil, errors.New("nine")
			}
			return -n, nil
		})
		stop := make(chan struct{})
		var killer sync.WaitGroup
		kills := 0
		killer.Go(func() {
			for {
				select {
				case <-stop:
					return
				case <-time.After(700 * time.Millisecond):
				}
				m.Restart(m.Relay())
				kills++
			}
		})
		const requests = 3000
		answers := make(chan error, requests)
		for i := range int64(requests) {
			go func() { // the loop below waits for it
				a, err := m.Node("asker").Request(ctx, "server", i)
				var remote *mesh.RemoteError
				switch {
				case i%10 == 9 && !errors.As(err, &remote):
					answers <- errors.Join(errors.New("the handler's error did not come back"), err)
				case i%10 != 9 && err == nil && a.Value() != -i:
					answers <- errors.New("another request's answer")
				case i%10 != 9:
					answers <- err
				default:
					answers <- nil
				}
			}()
			time.Sleep(5 * time.Millisecond)
		}
		for range requests {
			if err := <-answers; err != nil {
				t.Error(err)
			}
		}
		close(stop)
		killer.Wait()
		for i := range int64(requests) {
			if handled[i] != 1 {
				t.Errorf("request %d was handled %d times", i, handled[i])
			}
		}
		t.Logf("%d requests, relay killed %d times: each handled once and answered", requests, kills)
		if kills == 0 {
			t.Error("no relay was killed")
		}
	})
}

// TestSmallAmongLarge: while a message of 64 MiB is on its way over a cable of 20 MiB a second, small messages of other streams
// pass in between, and no link is taken for dead. Times are virtual, so they are the mesh's own.
func TestSmallAmongLarge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := meshtest.NewInMemory(t, nil, "relay", "a", "b", "c")
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
		defer cancel()
		links := linksOf(ctx, m.Node("a"))
		m.Cable(meshtest.Cable{Rate: 20 << 20}, "a", "b")
		large := make([]byte, mesh.DefaultMaxMessage-100)
		rand.NewChaCha8([32]byte{}).Read(large)
		start := time.Now()
		if err := m.Node("a").Send(ctx, "b", large); err != nil {
			t.Fatal(err)
		}
		arrived := make(chan time.Duration)
		go func() { // the loop below waits for it
			for {
				msg, err := m.Node("b").Receive(ctx)
				if err != nil {
					t.Error(err)
				}
				if msg.Text() != "small" || err != nil {
					if !bytes.Equal(msg.Bytes(), large) {
						t.Error("the large message is not what was sent")
					}
					arrived <- time.Since(start)
					return
				}
			}
		}()
		var waits []time.Duration
		for took := time.Duration(0); took == 0; {
			for _, pair := range [][2]string{{"a", "c"}, {"c", "a"}, {"c", "b"}} {
				before := time.Now()
				if err := m.Node(pair[0]).Deliver(ctx, pair[1], "small"); err != nil {
					t.Fatal(err)
				}
				waits = append(waits, time.Since(before))
			}
			select {
			case took = <-arrived:
			case <-time.After(10 * time.Millisecond):
			}
		}
		slices.Sort(waits)
		t.Logf("64 MiB took %v; %d small messages meanwhile, acknowledged after p50 %v, worst %v", time.Since(start), len(waits), waits[len(waits)/2], waits[len(waits)-1])
		if worst := waits[len(waits)-1]; worst > 500*time.Millisecond {
			t.Errorf("a small message waited %v", worst)
		}
		if n := links(); n > 0 {
			t.Errorf("a lost its link %d times", n)
		}
	})
}

// TestRequestForEachMessage: a worker with a full inbox asks another node about each message before it takes the next.
func TestRequestForEachMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		adapt := func(c *mesh.Config) {
			if c.Name == "worker" {
				c.InboxBytes = 256 << 10
			}
		}
		m := meshtest.NewInMemory(t, adapt, "relay", "worker", "source", "db")
		m.Node("db").Handle(func(context.Context, mesh.Message) (any, error) { return "row", nil })
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		for range 4000 {
			if err := m.Node("source").Send(ctx, "worker", make([]byte, 1000)); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(3 * time.Second) // the inbox is full by now
		start := time.Now()
		for i := range 4000 {
			if _, err := m.Node("worker").Receive(ctx); err != nil {
				t.Fatal(err)
			}
			if _, err := m.Node("worker").Request(ctx, "db", i); err != nil {
				t.Fatalf("request %d: %v", i, err)
			}
		}
		if took := time.Since(start); took > 10*time.Second {
			t.Errorf("4000 requests took %v", took)
		}
	})
}

// TestTakenWithoutALink: a message is taken while its receiver has no link. Who waits for that hears of it when there is one.
func TestTakenWithoutALink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := meshtest.NewInMemory(t, nil, "relay", "a", "b")
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		done := make(chan error, 1)
		go func() { done <- m.Node("a").Deliver(ctx, "b", "x", mesh.UntilTaken()) }()
		time.Sleep(time.Second) // it is in b's inbox, and acknowledged
		m.Partition([]string{"relay", "a"}, []string{"b"})
		time.Sleep(10 * time.Second)
		if got := m.Node("b").Get(mesh.All); len(got) != 1 {
			t.Fatal(got)
		}
		m.Heal()
		start := time.Now()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		t.Logf("known %v after the cable was whole again", time.Since(start))
	})
}
