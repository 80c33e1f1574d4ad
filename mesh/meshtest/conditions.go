package meshtest

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"
)

// Cable is how a node is connected to the others. The zero Cable is a good one: nothing is late, nothing is lost.
type Cable struct {
	// Only says what the cable is bad for; the rest passes as by a good one. Zero: Everything.
	Only Traffic
	// Cut says in which direction nothing passes. What a connection was given waits until it passes again; packets are
	// lost. Cut one way, a connection is half open: one side hears the other and is not heard.
	Cut Direction
	// Latency is how much later everything arrives, each way. Jitter adds a random time up to itself: it makes packets
	// overtake each other, and connections falter.
	Latency, Jitter time.Duration
	// Loss is the part of the packets that is lost, from 0 to 1. What a connection loses is sent again 200 ms later.
	Loss float64
	// Rate is how many bytes a second the node's connections carry together, each way; 0: any number. A low one makes a
	// node that is slow to read: what waits for it fills its relay's outbox, and then its senders wait. Packets are so few
	// that they always pass.
	Rate int
}

// Traffic is what a Cable may be bad for.
type Traffic uint8

const (
	Everything Traffic = iota
	Links              // connections between nodes and their relay: all messages
	Gossip             // packets and connections by which nodes tell each other who is alive
)

// Direction is seen from the node whose cable it is.
type Direction uint8

const (
	Out  Direction = 1 << iota // what it sends
	In                         // what is sent to it
	Both = Out | In
)

// resent is how much later a connection brings what was lost on the way.
const resent = 200 * time.Millisecond

// conditions are all that is wrong with the network at one moment. They are never changed, but replaced by others.
type conditions struct {
	groups    map[string]int // of a partition: nodes of different groups do not reach each other; not named: 0
	cables    map[string]Cable
	others    Cable // of those not in cables
	suspended map[string]bool
}

// but is a copy with one change. The caller owns what it then may change: the maps too.
func (c *conditions) but(change func(*conditions)) *conditions {
	next := &conditions{groups: maps.Clone(c.groups), cables: maps.Clone(c.cables), others: c.others, suspended: maps.Clone(c.suspended)}
	change(next)
	return next
}

// String says what is wrong, after a semicolon, and what ends it; "" if nothing is.
func (c *conditions) String() string {
	s := ""
	if c.groups != nil {
		s += "; a partition is on: Heal ends it"
	}
	if len(c.cables) > 0 || c.others != (Cable{}) {
		s += "; there are bad cables: Heal ends that"
	}
	if len(c.suspended) > 0 {
		s += fmt.Sprintf("; suspended are %q: Continue wakes them", slices.Sorted(maps.Keys(c.suspended)))
	}
	return s
}

// check refuses what cannot be.
func (c Cable) check() error {
	if c.Loss < 0 || c.Loss > 1 || c.Latency < 0 || c.Jitter < 0 || c.Rate < 0 {
		return fmt.Errorf("meshtest: no cable is like %+v: Loss is from 0 to 1, and nothing is negative", c)
	}
	return nil
}

func (c *conditions) cable(h *host) Cable {
	if h == nil {
		return Cable{}
	}
	if cable, own := c.cables[h.name]; own {
		return cable
	}
	return c.others
}

// way is how traffic fares from one node to another, which may be nil: somebody outside the mesh.
type way struct {
	cut           bool // nothing passes, and packets are lost
	frozen        bool // nothing passes for now, for one of them is suspended
	delay, jitter time.Duration
	loss          float64
	paces         [2]paced // of the sender's cable, and of the receiver's
}

// paced is a pace with the rate that it keeps; without a rate it does not count.
type paced struct {
	*pace
	rate int
}

func (w *way) open() bool { return !w.cut && !w.frozen }

// way finds what holds for one kind of traffic. What a node sends to itself passes no cable.
func (c *conditions) way(from, to *host, kind Traffic) (w way) {
	w.frozen = from != nil && c.suspended[from.name] || to != nil && c.suspended[to.name]
	if from == to {
		return w
	}
	if from != nil && to != nil {
		w.cut = c.groups[from.name] != c.groups[to.name]
	}
	w.pass(0, c.cable(from), Out, from, kind)
	w.pass(1, c.cable(to), In, to, kind)
	return w
}

// pass adds what one cable does.
func (w *way) pass(i int, c Cable, d Direction, h *host, kind Traffic) {
	if c == (Cable{}) || c.Only != Everything && c.Only != kind {
		return
	}
	w.cut = w.cut || c.Cut&d != 0
	w.delay += c.Latency
	w.jitter += c.Jitter
	w.loss = 1 - (1-w.loss)*(1-c.Loss)
	if c.Rate > 0 {
		w.paces[i] = paced{h.pace(d), c.Rate}
	}
}

// stamp is when something was sent, and the luck that it has on its way.
type stamp struct {
	at         time.Time
	late, lose float32 // from 0 to 1
}

func stampNow(now time.Time) stamp { return stamp{now, rand.Float32(), rand.Float32()} }

// arrival is when what was sent by a connection arrives, as things stand.
func (w *way) arrival(s stamp) time.Time {
	d := w.delay
	if w.jitter > 0 {
		d += time.Duration(float64(s.late) * float64(w.jitter))
	}
	if w.lost(s) {
		d += resent
	}
	if d == 0 {
		return s.at
	}
	return s.at.Add(d)
}

func (w *way) lost(s stamp) bool { return w.loss > 0 && float64(s.lose) < w.loss }

// paceStep is how long a cable of limited rate is taken for one read.
const paceStep = 20 * time.Millisecond

// share is how many of n bytes may be read now; 0: none before the time that it gives.
func (w *way) share(now time.Time, n int) (int, time.Time) {
	var wait time.Time
	for _, p := range w.paces {
		if p.pace == nil {
			continue
		}
		if free := p.freeAt(); free.After(now) && free.After(wait) {
			wait = free
		}
		n = min(n, max(1, int(paceStep.Seconds()*float64(p.rate))))
	}
	if !wait.IsZero() {
		return 0, wait
	}
	return n, wait
}

// used notes that n bytes were read.
func (w *way) used(now time.Time, n int) {
	for _, p := range w.paces {
		if p.pace != nil {
			p.take(now, time.Duration(float64(n)/float64(p.rate)*float64(time.Second)))
		}
	}
}

// pace is until when one direction of a node's cable is taken. Safe for concurrent use.
type pace struct {
	mu   sync.Mutex
	free time.Time
}

func (p *pace) freeAt() time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.free
}

func (p *pace) take(now time.Time, d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.free.Before(now) {
		p.free = now
	}
	p.free = p.free.Add(d)
}
