package mesh

import (
	"cmp"
	"slices"
	"time"

	"ultrasockets/relay"
)

// RelayStats is what a node counted as the relay; see its fields.
type RelayStats = relay.Stats

// Status is what a node holds at one moment, and what it has counted since it was made. Its parts are read one after the
// other, so under traffic they are not of exactly the same moment. It belongs to who asked for it.
type Status struct {
	Linked bool          // there is a relay
	Self   bool          // this node is the relay itself
	Term   uint32        // of the relay's reign: this node's own, or as the relay said when it admitted this node
	RTT    time.Duration // to the relay and back; 0: not measured, or Self
	Paused bool          // the node takes nothing for now

	Inbox    InboxStatus
	Received ReceivedStats
	Sent     SentStats

	To   []StreamStatus // streams to other names, in the order of these
	From []SourceStatus // streams from other names, in the order of these

	// Relay is what this node counts as the relay: nil while it is not. What another node drops as the relay, only that
	// one knows.
	Relay *RelayStats
}

// InboxStatus is how full an inbox is. A message counts 96 bytes more than its length; small ones that came together do once.
type InboxStatus struct {
	Messages int // whole messages that the application has not taken
	Bytes    int // of them, of what has arrived of larger ones, and of requests not handled yet; of small ones that came together until all are taken
	Limit    int // Config.InboxBytes
	Granted  int // bytes that senders may send and have not
}

// ReceivedStats counts what came from other nodes.
type ReceivedStats struct {
	Messages uint64 // whole ones, requests and replies included
	Frames   uint64 // of messages, repeats included
	Gaps     uint64 // times that a sender had given up something before what arrived
	NoRoom   uint64 // best-effort messages dropped: the inbox was full, or paused
	Refused  uint64 // frames of messages that this node cannot read, or that are too large
	Checksum uint64 // frames dropped for their checksum
}

// SentStats counts what went to other nodes on streams. Best-effort messages are not counted, and streams that were
// forgotten, which happens beyond 65,536 names, take their counts with them.
type SentStats struct {
	Messages uint64 // queued, each receiver of a group's counted, requests and replies included
	Frames   uint64
	Resent   uint64 // of them, frames that had been sent before
	Probes   uint64 // frames sent because nothing was heard for a second
	Busy     uint64 // times that the relay said the receiver's outbox was full
	Resets   uint64 // times that a receiver asked to go back
}

// StreamStatus is the sending end of the stream to one name.
type StreamStatus struct {
	Name     string
	Messages int  // queued, not acknowledged
	Bytes    int  // of them; a message counts 96 bytes more than its length, those that will share a frame once
	InFlight int  // bytes sent, not acknowledged
	Window   int  // bytes that may be in flight; 0: nothing is granted, so one frame is
	Absent   bool // the relay knows no such name
}

// SourceStatus is the receiving end of the stream from one name.
type SourceStatus struct {
	Name    string
	Granted int // bytes that it may send and has not
	Half    int // bytes that have arrived of a message that goes on
}

// Status tells what the node holds and has counted. For people, dashboards and tests: it takes every lock of the node
// once, for a moment, so once a second is fine and a thousand times is not.
func (n *Node) Status() Status {
	var s Status
	if ref := n.port.Load(); ref != nil {
		s.Linked, s.Self, s.Term, s.RTT = true, ref.Addr() == nil, ref.Welcome().Term, ref.RTT()
	}
	if s.Self {
		s.Term = n.term.Load()
		stats := n.hub.Stats()
		s.Relay = &stats
	}
	n.mu.Lock()
	s.Paused = n.paused
	n.mu.Unlock()
	n.in.status(&s)
	s.Received.Checksum = n.badFrames.Load()
	n.out.status(&s)
	return s
}

// status fills in what the receiving ends know.
func (b *inbound) status(s *Status) {
	b.takeMu.Lock()
	defer b.takeMu.Unlock()
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.reported < b.handed {
		b.reportTaken()
		b.took()
	}
	in := b.in
	messages := in.inbox.messages
	for _, p := range b.drawn[b.handed:] {
		messages += p.left
	}
	s.Inbox = InboxStatus{Messages: messages, Bytes: in.used, Limit: in.limit, Granted: in.granted}
	s.Received = ReceivedStats{
		Messages: in.stats.messages, Frames: in.stats.frames, Gaps: in.stats.gaps, NoRoom: in.stats.noRoom, Refused: in.stats.refused,
	}
	s.From = make([]SourceStatus, 0, len(in.receivers))
	for name, r := range in.receivers {
		s.From = append(s.From, SourceStatus{Name: name, Granted: r.window, Half: len(r.half)})
	}
	slices.SortFunc(s.From, func(a, b SourceStatus) int { return cmp.Compare(a.Name, b.Name) })
}

// status fills in what the sending ends know.
func (o *outbound) status(s *Status) {
	all := o.all()
	s.To = make([]StreamStatus, 0, len(all))
	for _, stream := range all {
		stream.mu.Lock()
		to := StreamStatus{
			Name: stream.to, Messages: stream.held(), Bytes: stream.bytes, InFlight: stream.inflight, Absent: stream.absent,
		}
		if stream.granted {
			to.Window = stream.window
		}
		s.Sent.Messages += stream.pushed
		s.Sent.add(stream.stats)
		stream.mu.Unlock()
		s.To = append(s.To, to)
	}
	slices.SortFunc(s.To, func(a, b StreamStatus) int { return cmp.Compare(a.Name, b.Name) })
}

func (s *SentStats) add(t senderStats) {
	s.Frames += t.frames
	s.Resent += t.resent
	s.Probes += t.probes
	s.Busy += t.busy
	s.Resets += t.resets
}
