package mesh

import (
	"encoding/binary"
	"time"

	"ultrasockets/codec"
)

// What waits in a sender's queue, step 2 of a message's way.

// entry is one place in a sender's queue: a message, or several small ones that share a frame. More join the newest entry
// until it is sent.
type entry struct {
	data     []byte        // what stands before the item, and the item; of those that share: as in the frame, each after its length
	queued   time.Duration // when the last of them came
	began    time.Duration // when the first of them came
	receipts *receipt      // who wants to know the outcome; nil: nobody
	flags    codec.Flags   // group, request or reply
	ackNow   bool          // a caller waits for the outcome
	open     bool          // others may join
	pooled   bool          // data goes back to its pool
	count    int32         // messages that share the frame; 0: this one is alone, and may need more than one frame

	whole bool    // it is one single frame, cut
	first uint32  // number of its first frame, once cut has begun
	cutTo int32   // bytes of data that have been cut into frames
	ends  []int32 // where each frame ends in data; nil while it is, or may become, a single frame
}

// messages is how many messages the entry is.
func (e *entry) messages() int { return max(1, int(e.count)) }

func (e *entry) frames() int {
	if e.whole {
		return 1
	}
	return len(e.ends)
}

// span is the part of data in frame i.
func (e *entry) span(i int) (from, to int) {
	switch {
	case e.count == 1: // it shares with nobody: a length would tell nothing
		return codec.SeveralLength, len(e.data)
	case e.whole:
		return 0, len(e.data)
	case i > 0:
		from = int(e.ends[i-1])
	}
	return from, int(e.ends[i])
}

// draft is a message on its way into a queue.
type draft struct {
	body    []byte // what stands before the item, and the item
	isRaw   bool   // no: the content of a byte string, whose head is to be written before it
	kept    bool   // nobody changes body any more: it need not be copied
	flags   codec.Flags
	ackNow  bool
	receipt *receipt
}

// size is how many bytes the message has, nearly.
func (d *draft) size() int {
	if d.isRaw {
		return codec.MaxBytesHead + len(d.body)
	}
	return len(d.body)
}

// exactSize is how many bytes the message has.
func (d *draft) exactSize() int {
	if d.isRaw {
		return len(codec.AppendBytes(nil, d.body))
	}
	return len(d.body)
}

func (d *draft) appendTo(dst []byte) []byte {
	if d.isRaw {
		return codec.AppendBytes(dst, d.body)
	}
	return append(dst, d.body...)
}

// joins tells whether the message may share a frame with those of e.
func (d *draft) joins(e *entry) bool {
	size := d.size()
	return e.open && d.flags == e.flags && size <= shareMost && len(e.data)+codec.SeveralLength+size <= codec.MaxPayload
}

// join puts the message behind those of e, or into it as the first.
func (e *entry) join(d *draft) {
	at := len(e.data)
	e.grow(codec.SeveralLength + d.size())
	e.data = d.appendTo(append(e.data, 0, 0))
	binary.BigEndian.PutUint16(e.data[at:], uint16(len(e.data)-at-codec.SeveralLength))
	e.ackNow = e.ackNow || d.ackNow
	if r := d.receipt; r != nil {
		r.at, r.next, e.receipts = e.count, e.receipts, r
		e.open = !r.untilTaken // what waits until it is taken waits for nothing behind it
	}
	e.count++
}

// grow makes room for n more bytes.
func (e *entry) grow(n int) {
	if n += len(e.data); n <= cap(e.data) {
		return
	}
	old := e.data
	e.data = append(takeMemory(n), old...)
	if e.pooled {
		giveBack(old)
	}
	e.pooled = true
}

// split takes the first messages off e as an entry of their own: as many as there is room for in limit bytes, but one at least.
func (e *entry) split(limit int) entry {
	at, n := 0, int32(0)
	for n < e.count {
		next := at + codec.SeveralLength + int(binary.BigEndian.Uint16(e.data[at:]))
		if n > 0 && next > limit {
			break
		}
		at = next
		n++
	}
	front := *e
	front.data, front.count, front.open, front.pooled, front.receipts = e.data[:at:at], n, false, false, nil
	e.data, e.count, e.pooled = e.data[at:], e.count-n, false
	rest := e.receipts
	e.receipts = nil
	for rest != nil {
		r := rest
		rest = r.next
		if r.at < n {
			r.next, front.receipts = front.receipts, r
		} else {
			r.at -= n
			r.next, e.receipts = e.receipts, r
		}
	}
	return front
}
