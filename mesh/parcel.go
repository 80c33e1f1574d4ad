package mesh

import (
	"encoding/binary"
	"slices"

	"ultrasockets/codec"
)

// What waits in the inbox, step 8 of a message's way.

// parcel is what goes to the inbox at once: a message, or those that shared a frame. It counts as taken when all of it is.
type parcel struct {
	next   Message // the oldest left; its data, and if need be its To, are cut off rest when it is taken
	rest   []byte  // of several: those left, each after its length
	left   int     // messages
	memory []byte  // that of rest

	r     *receiver // nil: from this node itself, or best effort
	n     uint64    // its number at r
	cost  int
	soon  bool     // its sender may wait to hear that it was taken
	group bool     // each of several begins with the name of the group it was sent to
	own   *receipt // of a node's message to itself; nil: nobody waits
}

// slab is memory for small messages: a few together, so that the application keeps little alive that it does not use.
type slab []byte

const (
	slabSize = 1024
	slabMost = 256 // larger messages have memory of their own
)

// copy gives a copy of b that is the application's.
func (s *slab) copy(b []byte) []byte {
	if len(b) > slabMost {
		return append([]byte(nil), b...)
	}
	if len(*s) < len(b) {
		*s = make([]byte, slabSize)
	}
	own := (*s)[:len(b):len(b)]
	*s = (*s)[len(b):]
	copy(own, b)
	return own
}

// take takes the oldest message; there must be one left.
func (p *parcel) take(s *slab) Message {
	m := p.next
	if p.rest != nil {
		var data []byte
		data, p.rest, _ = cutSeveral(p.rest)
		m = p.message(m, s.copy(data))
	}
	p.left--
	p.next.Serial++
	return m
}

// message makes m of what travelled of it.
func (p *parcel) message(m Message, data []byte) Message {
	m.data = data
	if p.group {
		group := data[1 : 1+data[0]]
		m.data = data[1+len(group):]
		if to, _ := groupOf(m.To); to != string(group) {
			m.To = groupAddress(string(group))
			p.next.To = m.To // for the next one, which is likely to the same
		}
	}
	return m
}

// takeNewest takes up to n messages, newest first, and appends them to dst; there must be one left.
func (p *parcel) takeNewest(dst []Message, n int, s *slab) []Message {
	n = min(n, p.left)
	if p.rest == nil {
		p.left--
		return append(dst, p.next)
	}
	stay := p.rest
	for range p.left - n {
		_, stay, _ = cutSeveral(stay)
	}
	taken := *p
	taken.rest, taken.left = stay, n
	taken.next.Serial += uint64(p.left - n)
	p.rest, p.left = p.rest[:len(p.rest)-len(stay)], p.left-n
	at := len(dst)
	for range n {
		dst = append(dst, taken.take(s))
	}
	slices.Reverse(dst[at:])
	return dst
}

// cutSeveral cuts the first message off several.
func cutSeveral(b []byte) (data, rest []byte, ok bool) {
	if len(b) < codec.SeveralLength {
		return nil, nil, false
	}
	n := int(binary.BigEndian.Uint16(b))
	if b = b[codec.SeveralLength:]; n > len(b) {
		return nil, nil, false
	}
	return b[:n], b[n:], true
}
