package mesh

import (
	"context"
	"iter"
	"sync"
	"time"
)

// EventKind says what happened.
type EventKind string

const (
	EventLinked      EventKind = "linked"      // this node has a relay: Name, Self if it is the relay itself
	EventUnlinked    EventKind = "unlinked"    // it lost its relay Name and looks for one: Reason
	EventJoined      EventKind = "joined"      // node Name is here
	EventLeft        EventKind = "left"        // node Name has gone: Reason bye, lost or replaced
	EventPaused      EventKind = "paused"      // node Name takes nothing for now
	EventResumed     EventKind = "resumed"     // node Name takes messages again
	EventChanged     EventKind = "changed"     // tags or groups of node Name changed
	EventUndelivered EventKind = "undelivered" // Count messages to Name were given up: Err is an *UndeliveredError
	EventGap         EventKind = "gap"         // Name gave up Count frames that were on their way to this node
	EventLagged      EventKind = "lagged"      // this reader of events was too slow and missed Count of them
)

// Event is something that happened to the mesh, as this node sees it.
type Event struct {
	Kind   EventKind
	Time   time.Time
	Name   string // of the node it is about
	Self   bool   // EventLinked: this node is the relay itself
	Count  int    // EventUndelivered: messages; EventGap: frames; EventLagged: events
	Reason string // EventLeft, EventUnlinked, EventUndelivered: why, for people
	Err    error  // EventUndelivered: an *UndeliveredError
}

const eventBuffer = 256 // events that wait for one reader

// Events subscribes to what happens from now on; the subscription ends with ctx, the node, or the loop. A reader that is
// slower than the events misses some, and is told so by EventLagged; nobody waits for it.
func (n *Node) Events(ctx context.Context) iter.Seq[Event] {
	sub := n.events.subscribe()
	stop := context.AfterFunc(ctx, func() { n.events.unsubscribe(sub) })
	return func(yield func(Event) bool) {
		defer stop()
		defer n.events.unsubscribe(sub)
		for {
			if len(sub.queue) == 0 {
				if lost := sub.takeLost(); lost > 0 && !yield(Event{Kind: EventLagged, Time: n.set.Now(), Count: lost}) {
					return
				}
			}
			select {
			case e, ok := <-sub.queue:
				if !ok || !yield(e) {
					return
				}
			case <-ctx.Done():
				return
			}
		}
	}
}

// events hands what happens to every subscriber. Safe for concurrent use.
type events struct {
	now func() time.Time // static: the time of day

	mu     sync.Mutex
	subs   map[*subscriber]struct{}
	closed bool
}

type subscriber struct {
	queue chan Event

	mu   sync.Mutex
	lost int
}

func (s *subscriber) takeLost() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.lost
	s.lost = 0
	return n
}

func (ev *events) subscribe() *subscriber {
	s := &subscriber{queue: make(chan Event, eventBuffer)}
	ev.mu.Lock()
	defer ev.mu.Unlock()
	if ev.closed {
		close(s.queue)
		return s
	}
	if ev.subs == nil {
		ev.subs = make(map[*subscriber]struct{})
	}
	ev.subs[s] = struct{}{}
	return s
}

func (ev *events) unsubscribe(s *subscriber) {
	ev.mu.Lock()
	defer ev.mu.Unlock()
	delete(ev.subs, s)
}

// publish never waits.
func (ev *events) publish(e Event) {
	e.Time = ev.now()
	ev.mu.Lock()
	defer ev.mu.Unlock()
	for s := range ev.subs {
		s.put(e)
	}
}

// put queues an event, after word of those that were missed before it. The caller holds events.mu.
func (s *subscriber) put(e Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lost > 0 {
		select {
		case s.queue <- Event{Kind: EventLagged, Time: e.Time, Count: s.lost}:
			s.lost = 0
		default:
			s.lost++
			return
		}
	}
	select {
	case s.queue <- e:
	default:
		s.lost++
	}
}

// close ends every subscription; what is queued can still be read.
func (ev *events) close() {
	ev.mu.Lock()
	defer ev.mu.Unlock()
	ev.closed = true
	for s := range ev.subs {
		close(s.queue)
	}
	ev.subs = nil
}
