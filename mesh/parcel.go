package mesh

import (
	"encoding/binary"
	"slices"

	"ultrasockets/codec"
)

// What waits in the inbox, step 8 of a message's way.

// parcel is what goes to the inbox at once: a message, or those that shared a frame. It counts as taken when all of it is.
type parcel struct {
	next  Message  // the oldest left; of several, its data is cut off pieces when it is taken
	left  int      // messages
	piece []byte   // of several: those left of the oldest piece, each after its length …
	more  [][]byte // … and the pieces behind it
	group bool     // each of several begins with the name of the group it was sent to

	r    *receiver // nil: from this node itself, or best effort
	n    uint64    // its number at r
	cost int
	own  *receipt // of a node's message to itself; nil: nobody waits
}

// pieceSize is the most that is kept alive with a small message: that much of several is copied at a time.
const pieceSize = 1024

// fill copies several messages, which are sound, into p.
func (p *parcel) fill(several []byte) {
	for from, to := 0, 0; from < len(several); to = from {
		for to < len(several) {
			next := to + codec.SeveralLength + int(binary.BigEndian.Uint16(several[to:]))
			if to > from && next-from > pieceSize {
				break
			}
			to = next
		}
		p.more = append(p.more, append([]byte(nil), several[from:to]...))
		from = to
	}
}

// take takes the oldest message; there must be one left.
func (p *parcel) take(m *Message) {
	if len(p.piece) == 0 && len(p.more) > 0 {
		p.piece, p.more = p.more[0], p.more[1:]
	}
	if p.piece != nil {
		end := codec.SeveralLength + int(binary.BigEndian.Uint16(p.piece))
		p.next.data = p.piece[codec.SeveralLength:end:end]
		p.piece = p.piece[end:]
		if p.group {
			p.cutGroup()
		}
	}
	*m = p.next
	p.left--
	p.next.Serial++
}

// cutGroup cuts the name of the group off the next message.
func (p *parcel) cutGroup() {
	data := p.next.data
	group := data[1 : 1+data[0]]
	p.next.data = data[1+len(group):]
	if to, _ := groupOf(p.next.To); to != string(group) {
		p.next.To = groupAddress(string(group))
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
