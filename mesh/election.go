package mesh

import (
	"math/bits"
	"sort"

	"ultrasockets/codec"
)

// Who is the relay: pure functions over facts. The uplink collects the facts and acts.

// reign is what ranks one relay against another.
type reign struct {
	server   bool
	term     uint32
	instance uint64
}

// better tells whether a outranks b: a configured server first, then the higher term, then the smaller instance.
func (a reign) better(b reign) bool {
	if a.server != b.server {
		return a.server
	}
	if a.term != b.term {
		return a.term > b.term
	}
	return a.instance < b.instance
}

// standing is what a node without a relay knows of its chances to become it.
type standing struct {
	eligible     bool // its role allows it, and others can reach it
	server       bool // it is configured as server
	orphan       bool // it had a relay and lost it; else it is a newcomer
	resigned     bool // it gave way to a better relay and has not linked since
	settled      bool // a newcomer has looked for a relay long enough
	relayLives   bool // gossip knows a living relay that others are linked to
	tried        bool // an orphan has dialled its relay again, in vain
	best         bool // no better candidate is known that might be alive
	electorate   int  // nodes in the last roster without the relay, this one included
	votes        int  // how many of them ask this node, itself included
	relayDead    bool // gossip says so, or the relay did when it left
	relayRefuses bool // its port is closed
}

// promote tells whether the node becomes the relay, and why. An orphan does so only if it cannot link and the relay's
// death is more than its own opinion: so one bad cable does not depose a healthy relay.
func (s standing) promote() (reason string, ok bool) {
	switch {
	case !s.eligible:
		return "", false
	case !s.orphan && s.server && !s.resigned:
		return "configured as server", true
	case !s.orphan:
		// A node that alone cannot reach the relay waits: as a relay it would draw others away from the mesh.
		return "no relay found", s.settled && s.best && !s.relayLives
	case !s.tried:
		return "", false
	case s.votes >= 2 && 2*s.votes > s.electorate:
		return "elected", true
	case s.best && s.relayDead:
		return "relay is dead", true
	case s.electorate <= 1 && s.relayRefuses:
		return "relay has gone and nobody else is here", true
	}
	return "", false
}

// confirmed tells whether a relay may count its reign as a term of its own: more than half of the last roster it saw
// (itself included), and at least one other node, have linked to it.
func confirmed(lastRoster, back, linked int) bool {
	return linked >= 1 && 2*(back+1) > lastRoster
}

// founded is the term of a relay that never knew another, by how many nodes it has linked: so where two meshes meet that
// grew apart, a few newcomers do not depose the relay of many.
func founded(linked int) uint32 { return uint32(bits.Len(uint(linked))) }

// candidate is a node that may become the relay.
type candidate struct {
	instance uint64
	server   bool
	addrs    []string
	source   source
}

// rankCandidates sorts candidates in the order in which they are asked: servers first, then the smaller instance.
func rankCandidates(list []candidate) {
	sort.Slice(list, func(i, j int) bool {
		if list[i].server != list[j].server {
			return list[i].server
		}
		return list[i].instance < list[j].instance
	})
}

// electorate is the last roster without its relay.
func electorate(last []codec.Entry) (instances map[uint64]bool) {
	instances = make(map[uint64]bool)
	for _, e := range last {
		if !e.Relay {
			instances[e.Instance] = true
		}
	}
	return instances
}
