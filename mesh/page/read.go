package page

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"ultrasockets/codec"
	"ultrasockets/mesh"
)

// From what a node says to what is served.

const (
	maxNodes   = 1000 // listed
	maxStreams = 200  // listed
)

// readStatus reads all of a status that the node knows itself.
func readStatus(node *mesh.Node, s mesh.Status) Status {
	var out Status
	out.Node, out.Mesh, out.Relay = node.Name(), node.Mesh(), node.Relay()
	out.Self, out.Linked, out.Paused, out.Term = s.Self, s.Linked, s.Paused, s.Term
	out.RoundTrip = seconds(s.RTT)
	out.Problems = append([]string{}, node.Problems()...)
	out.Inbox.Messages, out.Inbox.Bytes = s.Inbox.Messages, s.Inbox.Bytes
	out.Inbox.Limit, out.Inbox.Granted = s.Inbox.Limit, s.Inbox.Granted
	for _, to := range s.To {
		out.Queue.Messages += to.Messages
		out.Queue.Bytes += to.Bytes
		out.Queue.InFlight += to.InFlight
		out.Queue.Window += to.Window
	}
	out.Messages.Sent, out.Messages.Received = s.Sent.Messages, s.Received.Messages
	out.Sent.Frames, out.Sent.Resent, out.Sent.Probes = s.Sent.Frames, s.Sent.Resent, s.Sent.Probes
	out.Sent.Busy, out.Sent.Resets = s.Sent.Busy, s.Sent.Resets
	out.Received.Frames, out.Received.Gaps = s.Received.Frames, s.Received.Gaps
	out.Received.Dropped = map[string]uint64{
		"no_room": s.Received.NoRoom, "refused": s.Received.Refused, "checksum": s.Received.Checksum,
	}
	out.AsRelay = readRelay(s.Relay)
	return out
}

func readRelay(s *mesh.RelayStats) *AsRelay {
	if s == nil {
		return nil
	}
	d, a := s.Dropped, s.TurnedAway
	out := &AsRelay{
		Links: s.Links, Visitors: s.Visitors, Pending: s.Pending, OutboxBytes: s.OutboxBytes,
		ReceivedFrames: s.FramesIn, ReceivedBytes: s.BytesIn, ForwardedFrames: s.FramesOut, ForwardedBytes: s.BytesOut,
		Connections: s.Accepted, Admitted: s.Admitted, LostLinks: s.Lost, ProtocolErrors: s.Protocol, Slowed: s.Slowed,
		Dropped: map[string]uint64{
			"absent": d.Absent, "busy": d.Busy, "budget": d.Budget, "group": d.Group, "checksum": d.Checksum,
			"unknown": d.Unknown, "malformed": d.Malformed, "own": d.Own, "updates": d.Updates,
		},
		Refused: make(map[string]uint64),
		TurnedAway: map[string]uint64{
			"full": a.Full, "oldest": a.Oldest, "address": a.Address, "timeout": a.Timeout, "junk": a.Junk, "http": a.HTTP,
			"version": a.Version, "secret": a.Secret, "bad_secret": a.BadSecret, "foreign": a.Foreign, "broken": a.Broken,
		},
	}
	const last = codec.RefuseNameKept
	for code := codec.RefuseMesh; code <= last; code++ {
		out.Refused[label(code.String())] = s.Refused[code]
	}
	for code, n := range s.Refused {
		if code < codec.RefuseMesh || code > last {
			out.Refused["other"] += n
		}
	}
	return out
}

// label makes a word of a few.
func label(words string) string { return strings.ReplaceAll(strings.ToLower(words), " ", "_") }

// seconds is null for what was not measured.
func seconds(d time.Duration) *float64 {
	if d <= 0 {
		return nil
	}
	s := d.Seconds()
	return &s
}

// readNodes lists who is here, and counts those that are ready and paused.
func readNodes(peers []mesh.Peer) (list Nodes, ready, paused int) {
	list.List = make([]Node, 0, min(len(peers), maxNodes))
	for _, p := range peers {
		if p.State == mesh.StatePaused {
			paused++
		} else {
			ready++
		}
		if len(list.List) == maxNodes && !p.Relay && !p.Self {
			list.More++
			continue
		}
		n := Node{
			Name: p.Name, Role: p.Role.String(), State: p.State.String(), Addr: p.Addr, RoundTrip: seconds(p.RTT),
			Tags: p.Tags, Groups: p.Groups, Relay: p.Relay, Self: p.Self,
		}
		if n.Tags == nil {
			n.Tags = map[string]string{}
		}
		if n.Groups == nil {
			n.Groups = []string{}
		}
		list.List = append(list.List, n)
	}
	return list, ready, paused
}

// readStreams lists the streams, those with the most waiting first.
func readStreams(s mesh.Status) Streams {
	byName := make(map[string]*Stream, len(s.To)+len(s.From))
	for _, to := range s.To {
		byName[to.Name] = &Stream{
			Name: to.Name, Messages: to.Messages, Bytes: to.Bytes, InFlight: to.InFlight, Window: to.Window, Absent: to.Absent,
		}
	}
	for _, from := range s.From {
		if byName[from.Name] == nil {
			byName[from.Name] = &Stream{Name: from.Name}
		}
		byName[from.Name].Granted = from.Granted
	}
	list := make([]Stream, 0, len(byName))
	for _, one := range byName {
		list = append(list, *one)
	}
	slices.SortFunc(list, func(a, b Stream) int {
		return cmp.Or(cmp.Compare(b.Bytes, a.Bytes), cmp.Compare(a.Name, b.Name))
	})
	more := max(0, len(list)-maxStreams)
	return Streams{List: list[:len(list)-more], More: more}
}
