package codec

import (
	"errors"
	"fmt"
	"iter"
)

// Entry is one node as the relay lists it. WIRE.md section 9.
type Entry struct {
	Name       string            `cbor:"1,keyasint,omitempty"`
	Instance   uint64            `cbor:"2,keyasint,omitempty"`
	Role       Role              `cbor:"3,keyasint,omitempty"`
	State      State             `cbor:"4,keyasint,omitempty"`
	Tags       map[string]string `cbor:"5,keyasint,omitempty"`
	Groups     []string          `cbor:"6,keyasint,omitempty"`
	Transforms []string          `cbor:"7,keyasint,omitempty"` // in the node's own order: bit k of a packing means the k-th
	Required   uint8             `cbor:"8,keyasint,omitempty"`
	MaxMessage uint64            `cbor:"9,keyasint,omitempty"`  // bytes; 0: DefaultMaxMessage
	Addr       string            `cbor:"10,keyasint,omitempty"` // of its link as the relay sees it: to be shown, not dialled
	Addrs      []string          `cbor:"11,keyasint,omitempty"` // "ip:port" where it would be the relay
	Relay      bool              `cbor:"12,keyasint,omitempty"` // it is the relay
}

func (e *Entry) check() error {
	if err := CheckName(e.Name); err != nil {
		return fmt.Errorf("name: %w", err)
	}
	return e.checkRest()
}

// checkRest checks everything but the name.
func (e *Entry) checkRest() error {
	switch {
	case e.State > StatePaused:
		return fmt.Errorf("%q: unknown state %d", e.Name, e.State)
	case e.Role > RolePeer:
		return fmt.Errorf("%q: unknown role %d", e.Name, e.Role)
	case len(e.Addr) > maxAddr:
		return fmt.Errorf("%q: address of %d bytes, at most %d", e.Name, len(e.Addr), maxAddr)
	}
	err := errors.Join(
		checkTransforms(e.Transforms, e.Required),
		checkNames("groups", e.Groups, MaxGroups),
		checkTags(e.Tags),
		checkAddrs(e.Addrs),
	)
	if err != nil {
		return fmt.Errorf("%q: %w", e.Name, err)
	}
	return nil
}

// Append appends e as one CBOR map to dst.
func (e *Entry) Append(dst []byte) []byte {
	out := *e
	out.MaxMessage = omitDefault(out.MaxMessage)
	return appendBody(dst, &out)
}

// Roster is one part of a roster: the body of one frame.
type Roster struct {
	Entries    []Entry    `cbor:"1,keyasint,omitempty"` // at most MaxEntries
	Candidates [][]string `cbor:"2,keyasint,omitempty"` // in the last part; as in Welcome
}

// Append appends the body of r to dst. [AppendRosterFrames] cuts what does not fit one frame; Append does not.
func (r *Roster) Append(dst []byte) []byte {
	var entries []byte
	for i := range r.Entries {
		entries = r.Entries[i].Append(entries)
	}
	return appendRosterBody(dst, len(r.Entries), entries, r.Candidates)
}

// ParseRoster reads the body of one Roster frame. MaxMessage is never zero in the result. The error wraps [ErrBody].
func ParseRoster(b []byte) (Roster, error) {
	var r Roster
	if err := parseBody("Roster", b, MaxPayload, &r); err != nil {
		return Roster{}, err
	}
	for i := range r.Entries {
		if err := r.Entries[i].check(); err != nil {
			return Roster{}, bodyError("Roster", err)
		}
		r.Entries[i].MaxMessage = fillDefault(r.Entries[i].MaxMessage)
	}
	if err := checkCandidates(r.Candidates); err != nil {
		return Roster{}, bodyError("Roster", err)
	}
	return r, nil
}

// appendRosterBody appends a Roster of n entries whose CBOR is given.
func appendRosterBody(dst []byte, n int, entries []byte, candidates [][]string) []byte {
	keys := uint64(0)
	if n > 0 {
		keys++
	}
	if len(candidates) > 0 {
		keys++
	}
	dst = appendHead(dst, majorMap, keys)
	if n > 0 {
		dst = append(dst, 1)
		dst = appendHead(dst, majorArray, uint64(n))
		dst = append(dst, entries...)
	}
	if len(candidates) > 0 {
		dst = append(dst, 2)
		dst = appendBody(dst, candidates)
	}
	return dst
}

// AppendRosterFrames appends a whole roster to dst, in as many frames as it takes and at least one. The last candidates
// are left out if one frame does not hold all. The entries must come from Hellos that Check accepts: it panics on an
// entry that no frame holds.
func AppendRosterFrames(dst []byte, entries []Entry, candidates [][]string) []byte {
	return AppendEncodedRoster(dst, func(yield func([]byte) bool) {
		var item []byte
		for i := range entries {
			if item = entries[i].Append(item[:0]); !yield(item) {
				return
			}
		}
	}, candidates)
}

// AppendEncodedRoster is [AppendRosterFrames] for entries that are encoded already, each by [Entry.Append]: who sends the
// same roster again and again encodes each entry once. The items are copied before the next is asked for.
func AppendEncodedRoster(dst []byte, entries iter.Seq[[]byte], candidates [][]string) []byte {
	candidates = fitCandidates(candidates, itemsRoom)
	candidatesSize := 0
	if len(candidates) > 0 {
		candidatesSize = len(appendBody(nil, candidates))
	}
	var c cutter
	for item := range entries {
		c.add(item)
	}
	parts := c.parts()
	if len(parts) == 0 || len(parts[len(parts)-1].items)+candidatesSize > itemsRoom {
		parts = append(parts, part{})
	}
	var body []byte
	for i, p := range parts {
		f := Frame{Kind: KindRoster, Flags: FlagMore}
		if i == 0 {
			f.Flags |= FlagFirst
		}
		var last [][]string
		if i == len(parts)-1 {
			f.Flags &^= FlagMore
			last = candidates
		}
		body = appendRosterBody(body[:0], p.n, p.items, last)
		f.Payload = body
		dst = f.Append(dst)
	}
	return dst
}

// itemsRoom is what a frame has for the items of its list: MaxPayload without the head of the map, and key and head
// of each of at most two lists.
const itemsRoom = MaxPayload - 1 - 2*(1+maxHead)

// cutter distributes the CBOR of items over the bodies of frames, in order.
type cutter struct {
	done []part
	open part
}

type part struct {
	n     int
	items []byte
}

func (c *cutter) add(item []byte) {
	if len(item) > itemsRoom {
		panic(fmt.Sprintf("codec: entry of %d bytes does not fit a frame", len(item)))
	}
	if c.open.n == MaxEntries || len(c.open.items)+len(item) > itemsRoom {
		c.done = append(c.done, c.open)
		c.open = part{items: make([]byte, 0, itemsRoom)}
	}
	c.open.n++
	c.open.items = append(c.open.items, item...)
}

func (c *cutter) parts() []part {
	if c.open.n > 0 {
		c.done = append(c.done, c.open)
		c.open = part{}
	}
	return c.done
}
