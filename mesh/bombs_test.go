package mesh

import (
	"context"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"ultrasockets/codec"
	"ultrasockets/relay"
)

// told counts what a member is told of the frames that it sent.
type told struct {
	unsupported atomic.Int64
	news        chan struct{} // capacity 1
}

func (h *told) HandleFrame(f codec.Raw, _ *relay.Memory) {
	if f.Kind() != codec.KindUnreachable {
		return
	}
	if u, err := codec.ParseUnreachable(f.Payload()); err == nil && u.Reason == codec.Unsupported {
		h.unsupported.Add(1)
		select {
		case h.news <- struct{}{}:
		default:
		}
	}
}
func (h *told) HandleBatchEnd() (int, int) { return 0, 0 }
func (h *told) HandleWritable()            {}

// TestBombsFromAMember: a member sends 10,000 frames of 7 bytes that ask for 1 GiB each when they are unpacked. Nobody makes
// room for them, the member is told, and others deliver to the same receiver as before.
func TestBombsFromAMember(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	s, dial := loadStar(t)
	victim, friend := dial("victim", Config{}), dial("friend", Config{})
	if t.Failed() {
		t.FailNow()
	}
	link, err := relay.Dial(ctx, s.Addr().String(), relay.DialConfig{Hello: codec.Hello{
		Mesh: DefaultMesh, Name: "mallory", Instance: 7, Token: make([]byte, 16), MaxMessage: 1 << 20,
	}})
	if err != nil {
		t.Fatal(err)
	}
	h := &told{news: make(chan struct{}, 1)}
	var running sync.WaitGroup
	running.Go(func() { link.Run(h) })
	defer running.Wait()
	defer link.Close()
	if err := friend.Deliver(ctx, "victim", "before"); err != nil {
		t.Fatal(err)
	}
	const bombs, batch = 10_000, 100
	bomb := []byte("\x80\x80\x80\x80\x04\x00\x00") // snappy of 1 GiB
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	begun := time.Now()
	for i := range bombs {
		f := codec.Frame{Kind: codec.KindData, Flags: codec.FlagFirst, Packing: 1, To: "victim", From: "mallory", Stream: 7, Seq: uint32(i + 1), Payload: bomb}
		if !link.Write(f.Append(nil), false) {
			t.Fatal("the line is full")
		}
		if i%batch != batch-1 {
			continue
		}
		for h.unsupported.Load() < int64(i/batch) { // not each needs an answer of its own
			select {
			case <-h.news:
			case <-ctx.Done():
				t.Fatalf("%d answers to %d bombs", h.unsupported.Load(), i)
			}
		}
		if err := friend.Deliver(ctx, "victim", i); err != nil {
			t.Fatal(err)
		}
	}
	took := time.Since(begun)
	runtime.ReadMemStats(&after)
	allocated := after.TotalAlloc - before.TotalAlloc
	t.Logf("%d bombs and %d messages beside them in %v: %d KiB allocated in all, by all; %d times it was told", bombs, bombs/batch, took, allocated>>10, h.unsupported.Load())
	if allocated > 50<<20 {
		t.Error("too much memory")
	}
	for i, m := range victim.Get(All) {
		if i < bombs/batch && (m.From != "friend" || m.Value() != int64(bombs-1-i*batch)) {
			t.Fatalf("message %d is %v from %s", i, m.Value(), m.From)
		}
	}
}
