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
		if served.asks.guest.reads {
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
// one of this node itself never: nobody would notice soon. Who reads handles nothing, and takes no place from who would.
func TestWhoHandles(t *testing.T) {
	for _, c := range []struct {
		name                    string
		reads                   bool
		busy                    int // handlers
		from                    []string
		started, handed, queued int
	}{
		{"nobody reads", false, 0, []string{"b", "c"}, 2, 0, 0},
		{"one reads", true, 0, []string{"b"}, 0, 1, 0},
		{"two for one who reads", true, 0, []string{"b", "c"}, 1, 1, 0},
		{"its own", true, 0, []string{"a"}, 1, 0, 0},
		{"both", true, 0, []string{"a", "b"}, 1, 1, 0},
		{"one place is free", true, maxHandlers - 1, []string{"a", "b"}, 1, 0, 1},
		{"one place is free for who reads", true, maxHandlers - 1, []string{"b", "a"}, 0, 1, 1},
		{"none is", true, maxHandlers, []string{"b"}, 0, 0, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := newTestNode(t)
			release, started := make(chan struct{}), make(chan struct{}, len(c.from))
			n.Handle(func(context.Context, Message) (any, error) {
				started <- struct{}{}
				<-release
				return nil, nil
			})
			q := n.asks
			q.guest.reads, q.running = c.reads, c.busy
			for _, from := range c.from {
				q.serve(request{Message: Message{From: from, To: "a"}})
			}
			for range c.started {
				<-started
			}
			if len(q.guest.more) != c.handed || q.guest.has != (c.handed > 0) || len(q.queue) != c.queued || q.running != c.busy+c.started+c.handed {
				t.Errorf("%d handed over, %d queued, %d handlers", len(q.guest.more), len(q.queue), q.running)
			}
			close(release)
			q.close(ErrClosed)
			n.tasks.Wait()
		})
	}
}

// TestRoomForReplies: a reply that fills all of SendBytes finds room behind a small one that has arrived.
func TestRoomForReplies(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	const room = 64 << 10
	served, err := Listen(ctx, "127.0.0.1:0", Config{Name: "served", SendBytes: room})
	if err != nil {
		t.Fatal(err)
	}
	defer served.Close()
	served.Handle(func(_ context.Context, m Message) (any, error) {
		var size int
		err := m.Decode(&size)
		return make([]byte, size), err
	})
	asker, err := Dial(ctx, served.Addr().String(), Config{Name: "asker"})
	if err != nil {
		t.Fatal(err)
	}
	defer asker.Close()
	for i := range 200 {
		for _, size := range []int{10, room} {
			within, stop := context.WithTimeout(ctx, 10*time.Second)
			reply, err := asker.Request(within, "served", size)
			stop()
			if err != nil || len(reply.Bytes()) != size {
				t.Fatalf("%d: a reply of %d bytes: %d, %v", i, size, len(reply.Bytes()), err)
			}
		}
	}
}
