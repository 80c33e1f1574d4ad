package mesh

import (
	"context"
	"encoding/binary"
	"fmt"
	"time"

	"ultrasockets/codec"
)

// Ping measures the round trip to another node, through the relay and back; Peers shows it from then on. A ping or its
// answer may be lost: bound ctx. The error wraps ErrNoPeer if no node of that name is here.
func (n *Node) Ping(ctx context.Context, name string) (time.Duration, error) {
	if err := n.Err(); err != nil {
		return 0, fmt.Errorf("ping %q: %w", name, err)
	}
	ref := n.port.Load()
	if _, here := n.view.lookup(name); !here || ref == nil {
		return 0, fmt.Errorf("ping %q: %w", name, n.noPeer(name))
	}
	if name == n.set.Name {
		return 0, nil
	}
	w := &pingWait{name: name, done: make(chan time.Duration, 1)}
	n.mu.Lock()
	n.pingSerial++
	serial := n.pingSerial
	if len(n.pings) >= maxPings {
		n.mu.Unlock()
		return 0, fmt.Errorf("ping %q: %d pings are under way already; wait for some", name, maxPings)
	}
	n.pings[serial] = w
	n.mu.Unlock()
	defer func() {
		n.mu.Lock()
		delete(n.pings, serial)
		n.mu.Unlock()
	}()
	f := codec.Frame{Kind: codec.KindPing, To: name, From: n.set.Name, Payload: binary.BigEndian.AppendUint64(nil, serial)}
	w.sent = n.clock()
	ref.Write(f.Append(nil), true)
	select {
	case rtt := <-w.done:
		return rtt, nil
	case <-ctx.Done():
		return 0, fmt.Errorf("ping %q: no answer: %w", name, ctx.Err())
	case <-n.done:
		return 0, fmt.Errorf("ping %q: %w", name, n.Err())
	}
}

const maxPings = 1024 // pings under way at a time

type pingWait struct {
	name string
	sent time.Duration
	done chan time.Duration
}

// ponged takes the answer to a ping.
func (n *Node) ponged(from string, payload []byte) {
	if len(payload) != 8 {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	w := n.pings[binary.BigEndian.Uint64(payload)]
	if w == nil || w.name != from {
		return
	}
	rtt := n.clock() - w.sent
	n.rtts[from] = rtt
	select {
	case w.done <- rtt:
	default:
	}
}
