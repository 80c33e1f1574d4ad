package mesh

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"testing"
	"time"

	"pgregory.net/rapid"

	"ultrasockets/codec"
	"ultrasockets/relay"
)

// What SendBatch says is queued, checked against the queue.

// fickle is a port that is busy, or full, as it is told.
type fickle struct {
	relay.Port
	busy, full bool
}

func (f *fickle) Busy() bool { return f.busy }

func (f *fickle) WriteAll(w *relay.Writing, _ bool) bool {
	if !f.full {
		w.Reset()
	}
	return !f.full
}

func (f *fickle) Write([]byte, bool) bool { return !f.full }

// byteStrings are the messages that a sender holds, all byte strings, and what they cost.
func byteStrings(t *rapid.T, s *sender) (list [][]byte, cost int) {
	add := func(item []byte) {
		b, ok := codec.AsBytes(item)
		if !ok {
			t.Fatalf("an item of %d bytes is no byte string", len(item))
		}
		list = append(list, b)
	}
	for i := range s.queue.len() {
		e := s.queue.at(i)
		cost += len(e.data) + messageCost
		if e.count == 0 {
			add(e.data)
			continue
		}
		for rest := e.data; len(rest) > 0; {
			n := codec.SeveralLength + int(binary.BigEndian.Uint16(rest))
			add(rest[codec.SeveralLength:n])
			rest = rest[n:]
		}
	}
	return list, cost
}

// TestQueuedIsHeld: whatever happens to a stream, it holds just what SendBatch said is queued, which its receiver and this node
// take; what is not queued was too large, or found no room.
func TestQueuedIsHeld(whole *testing.T) {
	rapid.Check(whole, func(t *rapid.T) {
		n := newTestNode(whole)
		n.out.set.MaxMessage = rapid.SampledFrom([]int{3, 900, 20_000, 1 << 20}).Draw(t, "MaxMessage")
		n.out.set.SendBytes = rapid.SampledFrom([]int{codec.MaxFrame, 40_000, 1 << 20}).Draw(t, "SendBytes")
		now := time.Hour
		n.out.clock = func() time.Duration { return now }
		port := new(fickle)
		n.out.port.Store(&portRef{port})
		s, err := n.out.stream("b")
		if err != nil {
			t.Fatal(err)
		}
		instance, takes := uint64(2), 1<<20 // of the receiver
		var queued [][]byte
		noRoom, cancel := context.WithCancel(context.Background())
		cancel() // nobody waits
		size := rapid.OneOf(rapid.IntRange(0, 50), rapid.IntRange(0, 2000), rapid.IntRange(shareMost-8, shareMost+3), rapid.IntRange(8000, 30_000))
		t.Repeat(map[string]func(*rapid.T){
			"": func(t *rapid.T) {
				held, cost := byteStrings(t, &s.sender)
				if s.bytes != cost || s.pushed != uint64(len(queued)) || s.held() != len(held) {
					t.Fatalf("%d bytes of %d, %d pushed of %d, %d held of %d", s.bytes, cost, s.pushed, len(queued), s.held(), len(held))
				}
				if s.held() > 1 && s.bytes-s.queue.len()*messageCost > n.out.set.SendBytes {
					t.Fatalf("%d bytes are held, SendBytes is %d", s.bytes, n.out.set.SendBytes)
				}
				for i, b := range queued[s.done:] {
					if !bytes.Equal(held[i], b) {
						t.Fatalf("message %d of %d held has %d bytes, want %d", i, len(held), len(held[i]), len(b))
					}
				}
			},
			"send": func(t *rapid.T) {
				var batch [][]byte
				for i, size := range rapid.SliceOfN(size, 0, 100).Draw(t, "sizes") {
					batch = append(batch, bytes.Repeat([]byte{byte(len(queued) + i)}, size))
				}
				q, err := n.SendBatch(noRoom, "b", batch)
				if (q < len(batch)) != (err != nil) {
					t.Fatalf("%d of %d are queued: %v", q, len(batch), err)
				}
				for i, b := range batch[:min(q+1, len(batch))] {
					item := len(codec.AppendBytes(nil, b))
					tooLarge := item > n.out.set.MaxMessage || item > takes
					if i < q && tooLarge || i == q && errors.Is(err, ErrTooLarge) != tooLarge {
						t.Fatalf("message %d of %d bytes, %d are queued: %v", i, item, q, err)
					}
					if i < q {
						queued = append(queued, bytes.Clone(b))
						clear(b) // it is the caller's
					}
				}
			},
			"acknowledge": func(t *rapid.T) {
				s.lock()
				sent := int32(s.sent - s.ack.seq)
				a := codec.Ack{
					Window:   uint32(rapid.SampledFrom([]int{0, 1, 500, 3000, 20_000, 1 << 20}).Draw(t, "window")),
					Messages: uint32(rapid.IntRange(0, 20).Draw(t, "messages")),
				}
				s.onAck(now, s.ack.seq+uint32(rapid.Int32Range(0, max(0, sent)).Draw(t, "frames")), a)
				n.out.pump(s)
				n.out.settle(s)
			},
			"receiver": func(t *rapid.T) { // as the relay lists it
				takes = rapid.SampledFrom([]int{4, 1000, 9000, 1 << 20}).Draw(t, "takes")
				instance += uint64(rapid.IntRange(0, 1).Draw(t, "another"))
				n.out.peerHere(codec.Entry{Name: "b", Instance: instance, MaxMessage: uint64(takes)})
			},
			"port": func(t *rapid.T) {
				port.busy, port.full = rapid.Bool().Draw(t, "busy"), rapid.Bool().Draw(t, "full")
				n.out.writable()
			},
			"time": func(t *rapid.T) {
				now += time.Duration(rapid.IntRange(0, 3000).Draw(t, "ms")) * time.Millisecond
				n.out.tick(now)
			},
		})
	})
}
