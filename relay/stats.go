package relay

import (
	"sync/atomic"

	"ultrasockets/codec"
)

// Stats is what a hub has counted since it was made, and how much it holds now.
type Stats struct {
	Links       int   // linked nodes, visitors included, the own one not
	Visitors    int   // of them
	Pending     int   // handshakes under way
	Votes       int   // Hellos held
	OutboxBytes int64 // in all outboxes

	FramesIn, BytesIn   uint64 // from links and the attachment
	FramesOut, BytesOut uint64 // forwarded, each copy of a group's counted

	Dropped    Drops
	Accepted   uint64                       // connections
	Admitted   uint64                       // Hellos
	OldSecret  uint64                       // of them, under one of HubConfig.OldSecrets: while it grows, somebody still needs it
	Refused    map[codec.RefusalCode]uint64 // Hellos
	TurnedAway Away
	Slowed     uint64 // pauses of links that sent more than HubConfig.Rate, or changed their state all the time
	Lost       uint64 // links that ended without a Bye
	Protocol   uint64 // links closed because they broke the protocol
}

// Drops counts frames that went nowhere, by reason.
type Drops struct {
	Absent    uint64 // nobody of that name is linked
	Busy      uint64 // the receiver's outbox was full, or closing
	Budget    uint64 // all outboxes together were full
	Group     uint64 // copies of best-effort group frames that did not fit
	Checksum  uint64 // addressed to the relay, with a bad checksum
	Unknown   uint64 // of a kind that is not forwarded
	Malformed uint64 // addressed to the relay, with a body that it cannot read
	Own       uint64 // the relay's own words (Pong, Unreachable) that did not fit
	Updates   uint64 // roster updates that did not fit: a whole roster followed
}

// Away counts connections that never came to a Hello, by reason.
type Away struct {
	Full      uint64 // all places taken: told to wait
	Oldest    uint64 // closed in favour of a newcomer
	Address   uint64 // too many from one address
	Timeout   uint64 // not done in five seconds
	Junk      uint64 // no preamble
	HTTP      uint64 // a browser or the like
	Version   uint64
	Secret    uint64 // open where a secret is needed, or the reverse
	BadSecret uint64 // the wrong one
	Foreign   uint64 // handed to HubConfig.Foreign
	Broken    uint64 // went away, or sent frames that cannot be
}

type dropReason uint8

const (
	dropAbsent dropReason = iota
	dropBusy
	dropBudget
	dropGroup
	dropChecksum
	dropUnknown
	dropMalformed
	dropOwn
	dropUpdates
	dropReasons
)

type awayReason uint8

const (
	awayFull awayReason = iota
	awayOldest
	awayAddress
	awayTimeout
	awayJunk
	awayHTTP
	awayVersion
	awaySecret
	awayBadSecret
	awayForeign
	awayBroken
	awayReasons
)

// counters are the numbers behind Stats. Readers add once per batch.
type counters struct {
	framesIn, bytesIn, framesOut, bytesOut atomic.Uint64

	drops    [dropReasons]atomic.Uint64
	away     [awayReasons]atomic.Uint64
	refused  [16]atomic.Uint64 // by code; the last is for all beyond
	accepted atomic.Uint64
	admitted atomic.Uint64
	old      atomic.Uint64
	slowed   atomic.Uint64
	lost     atomic.Uint64
	protocol atomic.Uint64
}

func (c *counters) drop(r dropReason, n int) { c.drops[r].Add(uint64(n)) }
func (c *counters) turnAway(r awayReason)    { c.away[r].Add(1) }

func (c *counters) refuse(code codec.RefusalCode) {
	c.refused[min(int(code), len(c.refused)-1)].Add(1)
}

func (c *counters) stats() Stats {
	d := func(r dropReason) uint64 { return c.drops[r].Load() }
	a := func(r awayReason) uint64 { return c.away[r].Load() }
	s := Stats{
		FramesIn: c.framesIn.Load(), BytesIn: c.bytesIn.Load(),
		FramesOut: c.framesOut.Load(), BytesOut: c.bytesOut.Load(),
		Dropped: Drops{
			Absent: d(dropAbsent), Busy: d(dropBusy), Budget: d(dropBudget), Group: d(dropGroup),
			Checksum: d(dropChecksum), Unknown: d(dropUnknown), Malformed: d(dropMalformed),
			Own: d(dropOwn), Updates: d(dropUpdates),
		},
		Accepted: c.accepted.Load(), Admitted: c.admitted.Load(), OldSecret: c.old.Load(),
		Refused: make(map[codec.RefusalCode]uint64),
		TurnedAway: Away{
			Full: a(awayFull), Oldest: a(awayOldest), Address: a(awayAddress), Timeout: a(awayTimeout),
			Junk: a(awayJunk), HTTP: a(awayHTTP), Version: a(awayVersion), Secret: a(awaySecret),
			BadSecret: a(awayBadSecret), Foreign: a(awayForeign), Broken: a(awayBroken),
		},
		Slowed: c.slowed.Load(), Lost: c.lost.Load(), Protocol: c.protocol.Load(),
	}
	for code := range c.refused {
		if n := c.refused[code].Load(); n > 0 {
			s.Refused[codec.RefusalCode(code)] = n
		}
	}
	return s
}
