package mesh_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"ultrasockets/mesh"
)

// Many messages at a time: SendBatch, and Batches, whose messages are only lent.

// trio is a relay and two nodes with a link to it.
func trio(t *testing.T, adapt func(*mesh.Config)) (relay, a, b *mesh.Node) {
	t.Helper()
	var nodes []*mesh.Node
	for _, name := range []string{"relay", "a", "b"} {
		cfg := mesh.Config{Name: name}
		if adapt != nil {
			adapt(&cfg)
		}
		var n *mesh.Node
		var err error
		if len(nodes) == 0 {
			n, err = mesh.Listen(t.Context(), "127.0.0.1:0", cfg)
		} else {
			n, err = mesh.Dial(t.Context(), nodes[0].Addr().String(), cfg)
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { n.Close() })
		nodes = append(nodes, n)
	}
	if err := nodes[1].WaitFor(t.Context(), "b"); err != nil {
		t.Fatal(err)
	}
	return nodes[0], nodes[1], nodes[2]
}

// numbered is message number n: of what size and with what bytes follows from that.
func numbered(n int) []byte {
	size := 4 + n*37%600
	if n%97 == 0 {
		size = 4 + n*7919%90_000
	}
	m := bytes.Repeat([]byte{byte(n), byte(n >> 8), byte(n ^ n>>5)}, size/3+1)[:size]
	binary.BigEndian.PutUint32(m, uint32(n))
	return m
}

// number is the number of a message; false: its bytes are not those that were sent.
func number(m []byte) (int, bool) {
	if len(m) < 4 {
		return 0, false
	}
	n := int(binary.BigEndian.Uint32(m))
	return n, n < 1<<20 && bytes.Equal(m, numbered(n))
}

// TestBatchesAmongOthers: messages that are lent, and messages that are given away by Receive, Messages and Get meanwhile, are each
// what was sent, once; and what was given away, or cloned, stays what it was while memory is used again.
func TestBatchesAmongOthers(t *testing.T) {
	_, a, b := trio(t, nil)
	const messages = 20_000
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var mu sync.Mutex
	seen := make(map[int]int)
	var kept []mesh.Message
	count := func(m mesh.Message, keep bool) {
		n, sound := number(m.Bytes())
		mu.Lock()
		defer mu.Unlock()
		if !sound {
			t.Errorf("message %d came with other bytes", n)
		}
		if seen[n]++; len(seen) == messages {
			cancel()
		}
		if keep {
			kept = append(kept, m)
		}
	}
	var all sync.WaitGroup
	all.Go(func() {
		var batch [][]byte
		for n := range messages {
			if batch = append(batch, numbered(n)); len(batch) < 50 && n+1 < messages {
				continue
			}
			if queued, err := a.SendBatch(ctx, "b", batch); err != nil || queued != len(batch) {
				t.Errorf("%d of %d are queued: %v", queued, len(batch), err)
			}
			for _, m := range batch {
				clear(m) // they were copied
			}
			batch = batch[:0]
		}
	})
	lent, batches := 0, 0
	all.Go(func() {
		for ctx.Err() == nil {
			last := -1
			for batch := range b.Batches(ctx) {
				for i, m := range batch {
					n, _ := number(m.Bytes())
					if n <= last {
						t.Errorf("%d was lent after %d", n, last)
					}
					last = n
					count(m, false)
					if i == 0 {
						m = m.Clone()
						count(m, true)
						count(m, true)
						mu.Lock()
						seen[n] -= 2
						mu.Unlock()
					}
				}
				lent += len(batch)
				if batches++; batches%100 == 0 {
					break // the rest stays where it is
				}
			}
		}
	})
	all.Go(func() {
		for {
			m, err := b.Receive(ctx)
			if err != nil {
				return
			}
			count(m, true)
		}
	})
	all.Go(func() {
		for ctx.Err() == nil {
			taken := 0
			for m := range b.Messages(ctx) {
				if count(m, true); taken == 10 {
					break
				}
				taken++
			}
			for _, m := range b.Get(3) {
				count(m, true)
			}
		}
	})
	all.Wait()
	for _, m := range kept {
		if n, sound := number(m.Bytes()); !sound {
			t.Fatalf("message %d has other bytes than when it was taken", n)
		}
	}
	for n := range messages {
		if seen[n] != 1 {
			t.Fatalf("message %d came %d times", n, seen[n])
		}
	}
	if lent == 0 || len(kept) == 0 {
		t.Errorf("%d were lent, %d given away", lent, len(kept))
	}
	t.Logf("%d in %d batches; %d given away or cloned", lent, batches, len(kept))
}

// TestSendBatch: what it says it has queued is on its way, and nothing else.
func TestSendBatch(t *testing.T) {
	relay, a, b := trio(t, func(c *mesh.Config) { c.MaxMessage, c.SendBytes = 5000, 20_000 })
	small, large := make([]byte, 100), make([]byte, 6000)
	for name, c := range map[string]struct {
		batch [][]byte
		to    string
		want  int
		err   error
	}{
		"nothing":       {nil, "b", 0, nil},
		"an empty one":  {[][]byte{{}}, "b", 1, nil},
		"one too large": {[][]byte{small, small, large, small}, "b", 2, mesh.ErrTooLarge},
		"not a name":    {[][]byte{small}, "b b", 0, mesh.ErrBadName},
		"itself":        {[][]byte{small, small}, "a", 2, nil},
		"all":           {[][]byte{small, small}, mesh.ToAll, 2, nil},
		"more than SendBytes": {func() (list [][]byte) {
			for range 1000 {
				list = append(list, small)
			}
			return list
		}(), "b", 1000, nil},
	} {
		t.Run(name, func(t *testing.T) {
			to := []*mesh.Node{b}
			switch c.to {
			case "a":
				to = []*mesh.Node{a}
			case mesh.ToAll:
				to = append(to, relay)
			}
			queued, err := a.SendBatch(t.Context(), c.to, c.batch)
			if queued != c.want || !errors.Is(err, c.err) || (c.err == nil) != (err == nil) {
				t.Errorf("%d are queued, %v; want %d, %v", queued, err, c.want, c.err)
			}
			for _, n := range to {
				for i := range queued {
					m, err := n.Receive(t.Context())
					if err != nil || !bytes.Equal(m.Bytes(), c.batch[i]) {
						t.Fatalf("message %d of %d: %v", i, queued, err)
					}
				}
			}
			if err := a.Flush(t.Context()); err != nil {
				t.Error(err)
			}
			if more := b.Get(mesh.All); len(more) > 0 {
				t.Errorf("%d more arrive than were queued", len(more))
			}
		})
	}
	a.Close()
	if queued, err := a.SendBatch(t.Context(), "b", [][]byte{small}); queued != 0 || !errors.Is(err, mesh.ErrClosed) {
		t.Errorf("a closed node queues %d, %v", queued, err)
	}
}

// TestSendBatchWaits: a batch that its receiver takes no more of waits, and tells how far it came.
func TestSendBatchWaits(t *testing.T) {
	_, a, b := trio(t, func(c *mesh.Config) { c.SendBytes, c.InboxBytes = 20_000, 20_000 })
	batch := make([][]byte, 2000)
	for i := range batch {
		batch[i] = numbered(i * 97)[:4]
	}
	if err := b.Pause(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	total := 0
	for total < 1_000_000 {
		queued, err := a.SendBatch(ctx, "b", batch)
		if total += queued; err != nil {
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("it ends with %v", err)
			}
			break
		}
	}
	if err := b.Resume(); err != nil {
		t.Fatal(err)
	}
	for i := range total {
		if m, err := b.Receive(t.Context()); err != nil || !bytes.Equal(m.Bytes(), batch[i%len(batch)]) {
			t.Fatalf("message %d of %d: %v", i, total, err)
		}
	}
	if err := a.Flush(t.Context()); err != nil {
		t.Error(err)
	}
	if more := b.Get(mesh.All); len(more) > 0 {
		t.Errorf("%d more arrive than were queued", len(more))
	}
}

// TestBatchIsTaken: who waits until a message is taken waits until its batch is handed out, not until that is done with; also if
// others came before it and behind it.
func TestBatchIsTaken(t *testing.T) {
	_, a, b := trio(t, nil)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	waiting := make(chan error, 1)
	for i := range 7 {
		if i == 3 {
			go func() { waiting <- a.Deliver(ctx, "b", "wait", mesh.UntilTaken()) }() // ends with ctx
			continue
		}
		if err := a.Deliver(ctx, "b", i); err != nil {
			t.Fatal(err)
		}
	}
	taken := 0
	for batch := range b.Batches(ctx) {
		taken += len(batch)
		if slices.ContainsFunc(batch, func(m mesh.Message) bool { return m.Text() == "wait" }) {
			if err := <-waiting; err != nil {
				t.Error(err)
			}
			break
		}
	}
	if taken == 0 {
		t.Error("nothing came")
	}
}

// TestBatchLimit: a batch is what is there, 64 messages at most, and the rest of a frame is the next batch, or somebody else's.
func TestBatchLimit(t *testing.T) {
	_, a, b := trio(t, nil)
	const messages = 300
	for i := range messages {
		if err := a.Send(t.Context(), "b", i); err != nil {
			t.Fatal(err)
		}
	}
	if err := a.Flush(t.Context()); err != nil { // they are in the inbox
		t.Fatal(err)
	}
	next := int64(0)
	for batch := range b.Batches(t.Context()) {
		if len(batch) > 64 {
			t.Fatalf("a batch has %d messages", len(batch))
		}
		for _, m := range batch {
			if m.Value() != next {
				t.Fatalf("%v was taken, want %d", m.Value(), next)
			}
			next++
		}
		m, err := b.Receive(t.Context()) // from within the loop: the one behind the batch
		if err != nil || m.Value() != next {
			t.Fatalf("%v was received behind a batch, %v; want %d", m.Value(), err, next)
		}
		if next++; next > messages/2 {
			break
		}
	}
	rest := b.Get(mesh.All)
	if len(rest) != int(messages-next) || rest[len(rest)-1].Value() != next {
		t.Errorf("%d are left of %d, of which %d were taken", len(rest), messages, next)
	}
}

// TestManyShareFrames: many small messages share frames on their way, from whichever node: also from the relay's own, whose
// messages pass no link that would be busy.
func TestManyShareFrames(t *testing.T) {
	t.Run("open", func(t *testing.T) { manyShareFrames(t, nil) })
	t.Run("secret", func(t *testing.T) {
		secret := mesh.NewSecret()
		manyShareFrames(t, func(cfg *mesh.Config) { cfg.Secret = secret })
	})
}

func manyShareFrames(t *testing.T, adapt func(*mesh.Config)) {
	relay, a, b := trio(t, adapt)
	const count = 20_000
	small := make([][]byte, count)
	for i := range small {
		small[i] = []byte{1, 2, 3}
	}
	for _, way := range []struct {
		from, to *mesh.Node
	}{{a, b}, {a, relay}, {relay, b}} {
		name := way.from.Name() + " to " + way.to.Name()
		done := make(chan error, 1)
		go func() {
			_, err := way.from.SendBatch(t.Context(), way.to.Name(), small)
			done <- err
		}()
		for range count {
			if _, err := way.to.Receive(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if frames := way.from.Status().Sent.Frames; frames > count/4 {
			t.Errorf("%s: %d messages left in %d frames", name, count, frames)
		}
	}
}
