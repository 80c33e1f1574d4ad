package codec

import (
	"fmt"
	"time"
)

// DefaultHeartbeat is the heartbeat of a relay whose Welcome states none.
const DefaultHeartbeat = time.Second

// maxHeartbeat keeps a wrong number from making a link that never notices its end.
const maxHeartbeat = time.Hour

// Welcome is the relay's word that the link stands. WIRE.md section 3.
type Welcome struct {
	Mesh       string
	Relay      string        // name of the relay's own node
	Term       uint32        // of the relay
	Outbox     uint32        // bytes of frames the relay holds for this link before it drops
	Heartbeat  time.Duration // in whole milliseconds, at most an hour; 0: DefaultHeartbeat
	Candidates [][]string    // where to go, in this order, when the relay is lost: the addresses of each; at most MaxCandidates
	Instance   uint64        // of the relay's own node
}

type welcomeBody struct {
	Mesh       string     `cbor:"1,keyasint,omitempty"`
	Relay      string     `cbor:"2,keyasint,omitempty"`
	Term       uint32     `cbor:"3,keyasint,omitempty"`
	Outbox     uint32     `cbor:"4,keyasint,omitempty"`
	Heartbeat  uint32     `cbor:"5,keyasint,omitempty"` // milliseconds
	Candidates [][]string `cbor:"6,keyasint,omitempty"`
	Instance   uint64     `cbor:"7,keyasint,omitempty"`
}

// maxWelcomeRest is what a Welcome without its candidates takes at most: two names, four numbers, a head and a key for
// each.
const maxWelcomeRest = 2*(maxHead+MaxName) + 5*maxHead + 7 + 1

// Append appends the body of w to dst. The last candidates are left out if a frame does not hold all. Heartbeat is cut to
// whole milliseconds within 1 ms to an hour.
func (w *Welcome) Append(dst []byte) []byte {
	out := welcomeBody{
		Mesh: w.Mesh, Relay: w.Relay, Term: w.Term, Outbox: w.Outbox, Instance: w.Instance,
		Candidates: fitCandidates(w.Candidates, MaxPayload-maxWelcomeRest),
	}
	if w.Heartbeat > 0 {
		out.Heartbeat = uint32(min(max(w.Heartbeat, time.Millisecond), maxHeartbeat) / time.Millisecond)
	}
	return appendBody(dst, &out)
}

// ParseWelcome reads the body of a Welcome. Heartbeat is never zero in the result. The error wraps [ErrBody].
func ParseWelcome(b []byte) (Welcome, error) {
	var in welcomeBody
	if err := parseBody("Welcome", b, MaxPayload, &in); err != nil {
		return Welcome{}, err
	}
	w := Welcome{
		Mesh: in.Mesh, Relay: in.Relay, Term: in.Term, Outbox: in.Outbox,
		Heartbeat: time.Duration(in.Heartbeat) * time.Millisecond, Candidates: in.Candidates, Instance: in.Instance,
	}
	if w.Heartbeat == 0 {
		w.Heartbeat = DefaultHeartbeat
	}
	if err := w.check(); err != nil {
		return Welcome{}, bodyError("Welcome", err)
	}
	return w, nil
}

func (w *Welcome) check() error {
	if err := CheckName(w.Mesh); err != nil {
		return fmt.Errorf("mesh: %w", err)
	}
	if err := CheckName(w.Relay); err != nil {
		return fmt.Errorf("relay: %w", err)
	}
	if w.Heartbeat > maxHeartbeat {
		return fmt.Errorf("heartbeat of %v, at most %v", w.Heartbeat, maxHeartbeat)
	}
	return checkCandidates(w.Candidates)
}
