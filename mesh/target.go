package mesh

import (
	"cmp"
	"context"
	"errors"
	"net"
	"slices"
	"sync/atomic"
	"time"

	"ultrasockets/discovery"
	"ultrasockets/relay"
)

// Whom a seek dials, and in which order.

const (
	maxDials   = 16           // targets dialled at a time …
	maxRumours = maxDials / 2 // … of them, those that only another host has spoken of …
	maxPerHost = 4            // … and those on one host that only multicast tells of

	dialFor    = 10 * time.Second      // how long a target is dialled: all its addresses, the wait for its turn, the handshake
	retryFirst = 50 * time.Millisecond // the pause after a dial failed doubles with each …
	retryLast  = time.Second           // … up to this
)

// targetKind is why a target is dialled: the order is that of their standing.
type targetKind uint8

const (
	targetRelay     targetKind = iota // said to be the relay, or is the host name given
	targetSeed                        // configured by the user
	targetCandidate                   // asked to become the relay
)

// source is where a target is known from, the most trusted first. Whoever floods the network with forged answers shall not keep
// all dials busy: what a host says of itself by multicast leads to that host alone, and what it says of others comes last.
type source uint8

const (
	sourceTrusted source = iota // configured, told by a relay, or by gossip
	sourceHeard                 // by multicast, from that very address
	sourceRumour                // by multicast, from another
)

func sourceOf(n discovery.Node) source {
	switch {
	case n.State != discovery.Hint:
		return sourceTrusted
	case n.Hearsay:
		return sourceRumour
	}
	return sourceHeard
}

// target is one place to dial. It is owned by the seek; running dials have their own copies.
type target struct {
	key    string
	kind   targetKind
	source source
	addrs  []string
	wanted bool // in this round
	busy   bool
	next   time.Duration // when to dial (again)
	wait   time.Duration // the pause after the next failure
	failed time.Duration // when it last failed; 0 never
	tried  bool
	heard  bool // a dial has ended, and not because it gave way
	err    error
	ticket *ticket // shared with the dial

	// The address that took the connection of the dial under way, or of the last if that gave way; nil: none yet. Shared with the dial.
	reached *atomic.Pointer[string]
}

// gaveWay tells whether the last dial was broken off for another to have its turn: nobody knows what the answer would have been.
func (t *target) gaveWay() bool { return errors.Is(t.err, context.Canceled) }

func (s *seek) want(kind targetKind, addrs []string) { s.wantFrom(sourceTrusted, kind, addrs) }

func (s *seek) wantFrom(from source, kind targetKind, addrs []string) {
	addrs = s.u.notOwn(addrs)
	if len(addrs) == 0 {
		return
	}
	key := addrs[0]
	t := s.targets[key]
	if t == nil {
		t = &target{key: key, kind: kind, wait: retryFirst, ticket: &ticket{hold: turnFirst}}
		s.targets[key] = t
	}
	if t.wanted && from > t.source {
		return // it is wanted on better grounds
	}
	if !t.wanted || kind < t.kind {
		t.kind = kind
	}
	t.wanted, t.addrs, t.source = true, addrs, from
}

// dialDue starts the dials that are due, the most trusted targets first.
func (s *seek) dialDue() {
	var busy, rumours int
	hosts := make(map[string]int)
	count := func(t *target) {
		busy++
		if t.source != sourceTrusted {
			hosts[hostOf(t.key)]++
		}
		if t.source == sourceRumour {
			rumours++
		}
	}
	var due []*target
	now := s.u.clock()
	for _, t := range s.targets {
		switch {
		case t.busy:
			count(t)
		case t.wanted && now >= t.next:
			due = append(due, t)
		}
	}
	slices.SortFunc(due, func(a, b *target) int { return cmp.Compare(a.source, b.source) })
	for _, t := range due {
		switch {
		case busy >= maxDials:
			return
		case t.source == sourceRumour && rumours >= maxRumours:
			continue
		case t.source != sourceTrusted && hosts[hostOf(t.key)] >= maxPerHost:
			continue
		}
		t.busy = true
		if t.reached == nil || !t.gaveWay() { // who gave way is there, while it is connected to again
			t.reached = new(atomic.Pointer[string])
		}
		count(t)
		s.dials.Add(1)
		go s.dial(t.key, t.addrs, t.ticket, t.reached) // stop waits for it
	}
}

func hostOf(addr string) string {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return addr
	}
	return host
}

// dial runs in a goroutine of its own.
func (s *seek) dial(key string, addrs []string, k *ticket, reached *atomic.Pointer[string]) {
	defer s.dials.Done()
	ctx, cancel := context.WithTimeout(s.ctx, dialFor)
	defer cancel()
	k.cancel = cancel
	var asked time.Time
	cfg := s.u.dialConfig()
	cfg.Dial = func(ctx context.Context, network, _ string) (net.Conn, error) {
		s.turn.leave(k) // an earlier try, which was told to wait
		asked = time.Time{}
		conn, err := s.u.dialAny(ctx, network, addrs)
		if err != nil {
			return nil, err
		}
		at := conn.RemoteAddr().String()
		reached.Store(&at)
		if err := s.turn.take(ctx, k); err != nil {
			conn.Close()
			return nil, err
		}
		asked = time.Now()
		return conn, nil
	}
	link, err := relay.Dial(ctx, addrs[0], cfg)
	if err != nil {
		s.turn.leave(k) // with a link the turn is kept: no other Hello of this seek may throw it out
	}
	d := dialled{key: key, link: link, err: err}
	if !asked.IsZero() {
		d.took = time.Since(asked)
	}
	s.results <- d
}
