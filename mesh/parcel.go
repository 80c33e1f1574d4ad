package mesh

import (
	"bytes"
	"encoding/binary"
	"slices"

	"ultrasockets/codec"
	"ultrasockets/relay"
)

// What waits in the inbox, step 8 of a message's way.

// parcel is what goes to the inbox at once: a message, or those that shared a frame. It counts as taken when all of it is.
type parcel struct {
	next  Message  // the oldest left, without its data if it is of several
	left  int      // messages
	piece []byte   // of several: the oldest piece of which some are left, each after its length …
	at    int      // … so many of its bytes are taken
	more  [][]byte // the pieces behind it
	group bool     // each of several begins with the name of the group it was sent to

	memory *relay.Memory // of the bytes, if they may be lent: whoever takes the last message releases it; nil: they are given away

	r    *receiver // nil: from this node itself, or best effort
	n    uint64    // its number at r
	cost int
	own  *receipt // of a node's message to itself; nil: nobody waits
}

// How much of several is copied at a time, and so kept alive with each message of it: a KiB, or four times the message, which
// saves those of some hundred bytes an allocation each; at most a page.
const (
	pieceSize  = 1 << 10
	pieceShare = 4
	maxPiece   = 4 << 10
)

// fill copies several messages, which are sound, into p: in one piece if they may be lent.
func (p *parcel) fill(several []byte, lend bool) {
	if lend {
		p.memory = relay.NewMemory(len(several))
		p.piece = append(p.memory.Bytes(), several...)
		return
	}
	p.more = make([][]byte, 0, 1+len(several)/pieceSize)
	for from, to := 0, 0; from < len(several); to = from {
		for least := maxPiece; to < len(several); {
			size := codec.SeveralLength + int(binary.BigEndian.Uint16(several[to:]))
			least = min(least, size)
			if most := min(max(pieceSize, pieceShare*least), maxPiece); to > from && to+size-from > most {
				break
			}
			to += size
		}
		p.more = append(p.more, append([]byte(nil), several[from:to]...))
		from = to
	}
}

// take takes the oldest message; there must be one left.
func (p *parcel) take(m *Message) {
	*m = p.next
	p.left--
	p.next.Serial++
	if p.piece == nil && p.more == nil {
		return
	}
	if p.at == len(p.piece) {
		p.piece, p.at, p.more = p.more[0], 0, p.more[1:]
	}
	from := p.at + codec.SeveralLength
	p.at = from + int(binary.BigEndian.Uint16(p.piece[p.at:]))
	m.data = p.piece[from:p.at:p.at]
	if p.group {
		p.cutGroup(m)
	}
}

// takeAway takes the oldest message to keep: a copy, if the parcel's memory is lent.
func (p *parcel) takeAway(m *Message) {
	p.take(m)
	if p.memory != nil {
		m.data = bytes.Clone(m.data)
		p.release()
	}
}

// release ends the hold on the memory with the last message.
func (p *parcel) release() {
	if p.left == 0 {
		p.memory.Release()
		p.memory = nil
	}
}

// cutGroup cuts the name of the group off a message.
func (p *parcel) cutGroup(m *Message) {
	group := m.data[1 : 1+m.data[0]]
	m.data = m.data[1+len(group):]
	if to, isGroup := groupOf(m.To); !isGroup || to != string(group) {
		m.To = groupAddress(string(group))
		p.next.To = m.To // the next one is likely to be for the same
	}
}

// takeNewest takes up to n messages, newest first, and appends them to dst.
func (p *parcel) takeNewest(dst []Message, n int) []Message {
	n = min(n, p.left)
	newest := *p
	var m Message
	for range p.left - n {
		newest.take(&m)
	}
	at := len(dst)
	for range n {
		newest.take(&m)
		dst = append(dst, m)
	}
	slices.Reverse(dst[at:])
	p.left -= n
	if p.memory != nil {
		for i := range dst[at:] {
			m := &dst[at+i]
			m.data = bytes.Clone(m.data)
		}
		p.release()
	}
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
