package page

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"time"

	"ultrasockets/mesh"
)

const (
	historyKept = 300 // points
	eventsKept  = 200
	reignsKept  = 32
)

// book is what is served: the last sample, and what was noted before it. Safe for concurrent use.
type book struct {
	span time.Duration // static: rates are of no shorter time; a machine that stood still brings two samples at once

	// guarded by mu; what a Whole refers to is replaced, never changed
	mu          sync.Mutex
	whole       Whole
	lastID      uint64 // of an event
	handovers   uint64
	longest     time.Duration // without a relay
	lostAt      time.Time     // when the last relay was lost
	undelivered map[string]uint64
	rated       rated
}

// rated is what the last rates were counted from.
type rated struct {
	at                        time.Time
	sent, received, forwarded uint64
	relaying                  bool
}

// change is one part of the whole that is different now, by the name of its event.
type change struct {
	event string
	value any
}

func newBook(span time.Duration) *book {
	b := &book{span: span, undelivered: make(map[string]uint64)}
	for _, u := range undeliveredReasons {
		b.undelivered[u.label] = 0
	}
	b.undelivered[reasonOther] = 0
	b.whole = Whole{
		Nodes: Nodes{List: []Node{}}, Streams: Streams{List: []Stream{}},
		Log: []Event{}, Reigns: []Reign{}, History: []Point{},
	}
	return b
}

// undeliveredReasons are the reasons that are told apart; their number is bounded.
var undeliveredReasons = []struct {
	err   error
	label string
}{
	{mesh.ErrExpired, "expired"},
	{mesh.ErrTooLarge, "too_large"},
	{mesh.ErrUnsupported, "unsupported"},
	{mesh.ErrNoCommonTransform, "no_common_transform"},
	{mesh.ErrClosed, "closed"},
}

const reasonOther = "other"

func undeliveredReason(err error) string {
	for _, u := range undeliveredReasons {
		if errors.Is(err, u.err) {
			return u.label
		}
	}
	return reasonOther
}

// read is a copy of everything; what it refers to must not be changed.
func (b *book) read() Whole {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.whole
}

// begin notes the relay that is there at the beginning.
func (b *book) begin(node *mesh.Node, now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if relay := node.Relay(); relay != "" {
		b.whole.Reigns = []Reign{{Relay: relay, Self: relay == node.Name(), Since: now}}
	}
}

// sample takes in a sample. Rates are counted and the history grows only if rate is set. The result is what changed.
func (b *book) sample(now time.Time, s Status, nodes Nodes, streams Streams, rate bool) []change {
	b.mu.Lock()
	defer b.mu.Unlock()
	w := &b.whole
	s.Serial, s.Time = w.Status.Serial+1, now
	s.Handovers, s.Handover = b.handovers, seconds(b.longest)
	s.Messages.Undelivered = make(map[string]uint64, len(b.undelivered))
	for reason, n := range b.undelivered {
		s.Messages.Undelivered[reason] = n
	}
	s.Rates, s.RatedAt = w.Status.Rates, w.Status.RatedAt
	if s.AsRelay == nil {
		s.Rates.Forwarded = nil
	}
	rate = rate && now.Sub(b.rated.at) >= b.span
	if rate || s.Serial == 1 {
		s.Rates, s.RatedAt = b.rate(now, &s), now
	}
	if rate {
		w.History = keep(w.History, Point{now, s.Rates}, historyKept)
	}
	changes := []change{{"status", s}}
	w.Status = s
	if !equalNodes(w.Nodes, nodes) {
		changes = append(changes, change{"nodes", nodes})
		w.Nodes = nodes
	}
	if w.Streams.More != streams.More || !slices.Equal(w.Streams.List, streams.List) {
		changes = append(changes, change{"streams", streams})
		w.Streams = streams
	}
	if n := len(w.Reigns); n > 0 && w.Reigns[n-1].Until == nil && w.Reigns[n-1].Relay == s.Relay && w.Reigns[n-1].Term != s.Term {
		w.Reigns = slices.Clone(w.Reigns)
		w.Reigns[n-1].Term = s.Term
		changes = append(changes, change{"reigns", w.Reigns})
	}
	return changes
}

// rate counts what happened a second, since it last did. The caller holds mu.
func (b *book) rate(now time.Time, s *Status) (r Rates) {
	last := b.rated
	b.rated = rated{at: now, sent: s.Messages.Sent, received: s.Messages.Received, relaying: s.AsRelay != nil}
	if s.AsRelay != nil {
		b.rated.forwarded = s.AsRelay.ForwardedFrames
	}
	took := now.Sub(last.at).Seconds()
	per := func(before, after uint64) float64 {
		if last.at.IsZero() || took <= 0 || after < before { // a stream that was forgotten takes its count with it
			return 0
		}
		return math.Round(float64(after-before)/took*10) / 10
	}
	r.Sent, r.Received = per(last.sent, b.rated.sent), per(last.received, b.rated.received)
	if b.rated.relaying {
		before := last.forwarded
		if !last.relaying {
			before = b.rated.forwarded
		}
		forwarded := per(before, b.rated.forwarded)
		r.Forwarded = &forwarded
	}
	return r
}

// event notes something that happened. The result is what changed.
func (b *book) event(e mesh.Event) []change {
	b.mu.Lock()
	defer b.mu.Unlock()
	w := &b.whole
	b.lastID++
	noted := Event{ID: b.lastID, Time: e.Time, Kind: string(e.Kind), Name: e.Name, Text: sentence(e)}
	w.Log = keep(w.Log, noted, eventsKept)
	changes := []change{{"log", noted}}
	n := len(w.Reigns)
	switch e.Kind {
	case mesh.EventUndelivered:
		b.undelivered[undeliveredReason(e.Err)] += uint64(e.Count)
	case mesh.EventUnlinked:
		if n == 0 || w.Reigns[n-1].Until != nil {
			break
		}
		w.Reigns = slices.Clone(w.Reigns)
		w.Reigns[n-1].Until, w.Reigns[n-1].Reason = &e.Time, e.Reason
		b.lostAt = e.Time
		changes = append(changes, change{"reigns", w.Reigns})
	case mesh.EventLinked:
		if n > 0 && w.Reigns[n-1].Until == nil {
			break // noted at the beginning
		}
		next := Reign{Relay: e.Name, Self: e.Self, Since: e.Time}
		if n > 0 {
			without := e.Time.Sub(b.lostAt)
			b.longest = max(b.longest, without)
			gap := without.Seconds()
			next.Gap = &gap
			if w.Reigns[n-1].Relay != e.Name {
				b.handovers++
			}
		}
		w.Reigns = keep(w.Reigns, next, reignsKept)
		changes = append(changes, change{"reigns", w.Reigns})
	}
	return changes
}

// keep gives a new list with one more, and no more than the newest most.
func keep[T any](list []T, one T, most int) []T {
	return append(slices.Clone(list[max(0, len(list)-most+1):]), one)
}

func equalNodes(a, b Nodes) bool {
	return a.More == b.More && slices.EqualFunc(a.List, b.List, func(a, b Node) bool {
		return a.Name == b.Name && a.Role == b.Role && a.State == b.State && a.Addr == b.Addr && equalSeconds(a.RoundTrip, b.RoundTrip) &&
			equalTags(a.Tags, b.Tags) && slices.Equal(a.Groups, b.Groups) && a.Relay == b.Relay && a.Self == b.Self
	})
}

func equalSeconds(a, b *float64) bool { return a == b || a != nil && b != nil && *a == *b }

func equalTags(a, b map[string]string) bool {
	if len(a) != len(b) {
		return false
	}
	for k, v := range a {
		if w, ok := b[k]; !ok || v != w {
			return false
		}
	}
	return true
}

// sentence tells of an event.
func sentence(e mesh.Event) string {
	switch e.Kind {
	case mesh.EventLinked:
		if e.Self {
			return "this node is the relay now"
		}
		return e.Name + " is the relay now"
	case mesh.EventUnlinked:
		return withReason(fmt.Sprintf("the relay %s has gone", e.Name), e.Reason)
	case mesh.EventJoined:
		return e.Name + " joined"
	case mesh.EventLeft:
		return withReason(e.Name+" left", e.Reason)
	case mesh.EventPaused:
		return e.Name + " paused"
	case mesh.EventResumed:
		return e.Name + " resumed"
	case mesh.EventChanged:
		return e.Name + " changed its tags or groups"
	case mesh.EventUndelivered:
		return withReason(fmt.Sprintf("%s to %s not delivered", count(e.Count, "message"), e.Name), e.Reason)
	case mesh.EventGap:
		return fmt.Sprintf("%s gave up %s that were on their way to here", e.Name, count(e.Count, "frame"))
	case mesh.EventLagged:
		return fmt.Sprintf("%s were not seen", count(e.Count, "event"))
	}
	return withReason(fmt.Sprintf("%s: %s", e.Kind, e.Name), e.Reason)
}

func withReason(text, reason string) string {
	if reason == "" {
		return text
	}
	return text + ": " + reason
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
