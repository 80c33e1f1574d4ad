package mesh

import (
	"encoding/binary"
	"slices"
	"time"

	"ultrasockets/codec"
	"ultrasockets/relay"
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
	memory   *relay.Memory // that of data
	count    int32         // messages that share the frame; 0: this one is alone, and may need more than one frame
	sums     []uint32      // the PayloadSums of data's parts, which are likely to be its frames …
	sumStep  int32         // … and have so many bytes each; …
	summed   int32         // … right while data has so many: once added up it only gets shorter

	first  uint32  // number of its first frame, once cut has begun
	frames int32   // that have been cut …
	cutTo  int32   // … and their bytes of data
	step   int32   // bytes of each of them but the last, which has no more …
	ends   []int32 // … unless this is not nil, and tells where each ends in data
}

// messages is how many messages the entry is.
func (e *entry) messages() int { return max(1, int(e.count)) }

// cut cuts the next frame, of that size.
func (e *entry) cut(size int) {
	if e.frames == 0 {
		e.step = int32(size)
	}
	if even := e.cutTo == e.frames*e.step && int32(size) <= e.step; !even && e.ends == nil {
		for i := range e.frames - 1 {
			e.ends = append(e.ends, (i+1)*e.step)
		}
		e.ends = append(e.ends, e.cutTo)
	}
	e.cutTo += int32(size)
	e.frames++
	if e.ends != nil {
		e.ends = append(e.ends, e.cutTo)
	}
}

// span is the part of data in frame i.
func (e *entry) span(i int) (from, to int) {
	switch {
	case e.count == 1: // it shares with nobody: a length would tell nothing
		return codec.SeveralLength, len(e.data)
	case e.ends == nil:
		from = i * int(e.step)
		return from, min(from+int(e.step), int(e.cutTo))
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

	behind [][]byte // byte strings that come next: those that may share a frame with the message are queued with it …
	joined int      // … so many
}

// size is how many bytes the message has, nearly.
func (d *draft) size() int {
	if d.isRaw {
		return codec.MaxBytesHead + len(d.body)
	}
	return len(d.body)
}

// together is how much memory the message takes with those behind it that may share its frame.
func (d *draft) together() int {
	size := codec.SeveralLength + d.size()
	for _, b := range d.behind {
		if codec.MaxBytesHead+len(b) > shareMost {
			break
		}
		if size += codec.SeveralLength + codec.MaxBytesHead + len(b); size >= codec.MaxPayload {
			return codec.MaxPayload
		}
	}
	return size
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
	n := len(d.appendTo(e.data[at+codec.SeveralLength : at+codec.SeveralLength]))
	e.data = e.data[:at+codec.SeveralLength+n]
	binary.BigEndian.PutUint16(e.data[at:], uint16(n))
	e.ackNow = e.ackNow || d.ackNow
	if r := d.receipt; r != nil {
		r.at, r.next, e.receipts = e.count, e.receipts, r
		e.open = !r.untilTaken // what waits until it is taken waits for nothing behind it
	}
	e.count++
}

// joinBytes puts byte strings of at most so many bytes each behind the messages of e, as long as there is so much room left as
// they may take: no more than there is without more memory. It gives how many, and the bytes that they took.
func (e *entry) joinBytes(list [][]byte, most, room int) (n, size int) {
	data := e.data
	for _, b := range list {
		if len(b) > most || codec.SeveralLength+codec.MaxBytesHead+len(b) > room-size {
			break
		}
		at := len(data)
		data = codec.AppendBytes(data[:at+codec.SeveralLength], b)
		binary.BigEndian.PutUint16(data[at:], uint16(len(data)-at-codec.SeveralLength))
		size += len(data) - at
		n++
	}
	e.data = data
	e.count += int32(n)
	return n, size
}

// room is how many bytes fit in without more memory.
func (e *entry) room() int { return min(cap(e.data), codec.MaxPayload) - len(e.data) }

// grow makes room for n more bytes: four times what there was.
func (e *entry) grow(n int) {
	if n += len(e.data); n > cap(e.data) {
		e.move(max(n, min(4*cap(e.data), codec.MaxPayload)))
	}
}

// move moves data to memory of about that size.
func (e *entry) move(size int) {
	m := relay.NewMemory(size)
	e.data = append(m.Bytes(), e.data...)
	e.memory.Release()
	e.memory = m
}

// shut lets nobody join any more, and keeps at most twice the memory that it takes.
func (e *entry) shut() {
	if e.open && 2*len(e.data) < cap(e.data) {
		e.move(len(e.data))
	}
	e.open = false
}

// addUp computes the sums of data in parts of step bytes.
func (e *entry) addUp(step int) {
	e.sums, e.sumStep, e.summed = make([]uint32, 0, (len(e.data)+step-1)/step), int32(step), int32(len(e.data))
	for part := range slices.Chunk(e.data, step) {
		e.sums = append(e.sums, codec.PayloadSum(part))
	}
}

// sumOf is the sum of a part of data, which begins there.
func (e *entry) sumOf(part []byte, from int) uint32 {
	if step := int(e.sumStep); step > 0 && len(e.data) == int(e.summed) && from%step == 0 && len(part) == min(step, len(e.data)-from) {
		return e.sums[from/step]
	}
	return codec.PayloadSum(part)
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
	front.data, front.count, front.open, front.receipts = e.data[:at:at], n, false, nil
	e.memory.Retain()
	e.data, e.count = e.data[at:], e.count-n
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
