package mesh

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestReceiveAgainAndAgain: whoever waits for messages with little patience gets all of them, in order, with a secret as without;
// and one that waits for replies meanwhile gets those.
func TestReceiveAgainAndAgain(t *testing.T) {
	for _, secret := range [][]byte{nil, bytes.Repeat([]byte{7}, SecretSize)} {
		t.Run(fmt.Sprintf("secret %v", secret != nil), func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			server, err := Listen(ctx, "127.0.0.1:0", Config{Name: "server", Secret: secret})
			if err != nil {
				t.Fatal(err)
			}
			defer server.Close()
			server.Handle(func(_ context.Context, m Message) (any, error) { return m.Bytes(), nil })
			var a, b *Node
			for name, n := range map[string]**Node{"a": &a, "b": &b} {
				if *n, err = Dial(ctx, server.Addr().String(), Config{Name: name, Secret: secret}); err != nil {
					t.Fatal(err)
				}
				defer (*n).Close()
			}
			if err := a.WaitFor(ctx, "b"); err != nil {
				t.Fatal(err)
			}
			const count = 1500
			asked := make(chan error, 1)
			go func() {
				for i := range count / 5 {
					if reply, err := b.Request(ctx, "server", []byte{byte(i)}); err != nil || reply.Bytes()[0] != byte(i) {
						asked <- fmt.Errorf("request %d: %v, %w", i, reply, err)
						return
					}
				}
				asked <- nil
			}()
			go func() {
				for i := range count {
					if a.Send(ctx, "b", i) != nil {
						return
					}
					switch {
					case i%100 == 99:
						time.Sleep(20 * time.Millisecond)
					case i%3 == 0:
						time.Sleep(300 * time.Microsecond)
					}
				}
			}()
			inVain := 0
			for i := 0; i < count; {
				short, stop := context.WithTimeout(ctx, time.Duration(inVain%5)*time.Millisecond)
				m, err := b.Receive(short)
				stop()
				if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
					inVain++
					continue
				}
				var got int
				if err != nil || m.Decode(&got) != nil || got != i {
					t.Fatalf("message %d: %v, %v", i, m, err)
				}
				i++
			}
			if err := <-asked; err != nil {
				t.Error(err)
			}
			if inVain == 0 {
				t.Error("nobody had to wait")
			}
		})
	}
}

// TestWhyARequestFailed: the reply counts before all else, then that the request itself was given up, then that its receiver
// has gone.
func TestWhyARequestFailed(t *testing.T) {
	for _, c := range []struct {
		replied, expired, gone bool
		want                   error
	}{
		{true, false, false, nil},
		{true, true, false, nil},
		{false, true, false, ErrExpired},
		{false, false, true, ErrOutcomeUnknown},
		{false, true, true, ErrExpired},
	} {
		n := newTestNode(t)
		a := &asked{to: "b", done: make(chan struct{}, 2)}
		lost := &receipt{lossOnly: true, done: a.done}
		n.asks.waiting[7] = a
		if c.expired {
			lost.finish(ErrExpired)
		} else {
			lost.finish(nil)
		}
		if c.replied {
			n.asks.replied(reply{from: "b", id: [8]byte{7: 7}, body: []byte{0x40}})
		}
		if c.gone {
			n.asks.gone("b", 1)
		}
		if m, err := (&Answer{n.asks, a, 7, lost}).Wait(t.Context()); !errors.Is(err, c.want) || c.want == nil && m.From != "b" {
			t.Errorf("%+v: %v, %v", c, m, err)
		}
	}
}

// TestHandlersTogether: whether or not a handler's goroutine reads for the next request, handlers run side by side: each of
// several waits for the others.
func TestHandlersTogether(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	server, err := Listen(ctx, "127.0.0.1:0", Config{Name: "server"})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	var asker, served *Node
	for name, n := range map[string]**Node{"asker": &asker, "served": &served} {
		if *n, err = Dial(ctx, server.Addr().String(), Config{Name: name}); err != nil {
			t.Fatal(err)
		}
		defer (*n).Close()
	}
	if err := asker.WaitFor(ctx, "served"); err != nil {
		t.Fatal(err)
	}
	const together = 8
	var meeting atomic.Pointer[sync.WaitGroup]
	served.Handle(func(ctx context.Context, m Message) (any, error) {
		if m.Text() == "meet" {
			met := meeting.Load()
			met.Done()
			met.Wait()
		}
		return nil, nil
	})
	visits := 0
	const rounds = 40
	for round := range rounds {
		for range 50 { // so that one reads for itself
			if _, err := asker.Request(ctx, "served", "quick"); err != nil {
				t.Fatal(err)
			}
		}
		served.asks.mu.Lock()
		if served.asks.visits {
			visits++
		}
		served.asks.mu.Unlock()
		met := new(sync.WaitGroup)
		met.Add(together)
		meeting.Store(met)
		failed := make(chan error, together)
		for i := range together {
			from := asker
			if i%4 == 3 {
				from = served // to itself
			}
			go func() {
				_, err := from.Request(ctx, "served", "meet")
				failed <- err
			}()
		}
		for range together {
			if err := <-failed; err != nil {
				t.Fatalf("round %d: %v", round, err)
			}
		}
	}
	t.Logf("in %d of %d rounds one read", visits, rounds)
}

// TestWhoHandles: a request that has been read goes to the handler's goroutine that reads, if there is one and it has none;
// one of this node itself never: nobody would notice soon.
func TestWhoHandles(t *testing.T) {
	for _, c := range []struct {
		name        string
		visits      bool
		from        []string
		wantStarted int
	}{
		{"nobody reads", false, []string{"b", "c"}, 2},
		{"one reads", true, []string{"b"}, 0},
		{"two for one who reads", true, []string{"b", "c"}, 1},
		{"its own", true, []string{"a"}, 1},
		{"both", true, []string{"a", "b"}, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := newTestNode(t)
			release, started := make(chan struct{}), make(chan struct{}, len(c.from))
			n.Handle(func(context.Context, Message) (any, error) {
				started <- struct{}{}
				<-release
				return nil, nil
			})
			n.asks.visits = c.visits
			for _, from := range c.from {
				n.asks.serve(request{Message: Message{From: from, To: "a"}})
			}
			for range c.wantStarted {
				<-started
			}
			queued, told := len(n.asks.queue), len(n.asks.more)
			if queued != len(c.from)-c.wantStarted || told != queued || n.asks.running != c.wantStarted {
				t.Errorf("%d are queued, told %d, %d run", queued, told, n.asks.running)
			}
			close(release)
			n.asks.close(ErrClosed)
			n.tasks.Wait()
		})
	}
}
