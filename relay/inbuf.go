package relay

import (
	"io"
	"time"
)

// Sizes of a read buffer: an idle link keeps the least, a busy one grows to the
// most. The most holds seven of the largest frames, or one record of the secure channel.
const (
	inbufMin = 256
	inbufMax = 128 << 10
	lendFrom = inbufMax / 2 // less would keep too much memory beside it
)

// shrinkAfter is how long a buffer keeps a size that no read has used.
const shrinkAfter = 2 * time.Second

// inbuf is a read buffer that starts small, grows with traffic and shrinks
// when idle. It belongs to one goroutine, but for what is lent of it.
type inbuf struct {
	buf  []byte
	lent *Memory // that of buf if it has the most: who retains it keeps what was read; nil: nobody may
	r, w int     // buf[r:w] was read and not consumed
	full bool    // the last read filled the buffer: the next one gets a larger one
	top  int     // what it grows to by itself; 0: inbufMax

	used  int           // largest amount held since since
	since time.Duration // start of the period that used is about
}

func (b *inbuf) data() []byte { return b.buf[b.r:b.w] }

func (b *inbuf) consume(n int) {
	if b.r += n; b.r == b.w {
		b.r, b.w = 0, 0
	}
}

// fill reads once. The data seen before is moved to the front.
func (b *inbuf) fill(src io.Reader) (int, error) {
	switch {
	case b.buf == nil:
		b.buf = make([]byte, inbufMin)
	case b.lent.Holders() > 1:
		b.resize(len(b.buf))
	case b.full && len(b.buf) < b.most():
		b.resize(min(4*len(b.buf), b.most()))
	case b.r > 0:
		b.w = copy(b.buf, b.buf[b.r:b.w])
		b.r = 0
	}
	n, err := src.Read(b.buf[b.w:])
	b.w += n
	b.full = b.w == len(b.buf)
	b.used = max(b.used, b.w)
	return n, err
}

func (b *inbuf) most() int {
	if b.top > 0 {
		return b.top
	}
	return inbufMax
}

// reserve makes the buffer large enough for n bytes in a piece. The caller has
// checked n against its limit.
func (b *inbuf) reserve(n int) {
	if n > len(b.buf) {
		size := max(len(b.buf), inbufMin)
		for size < n {
			size *= 2
		}
		b.resize(size)
	}
}

// resize goes on in other memory, of that size.
func (b *inbuf) resize(size int) {
	var buf []byte
	var m *Memory
	if size == inbufMax {
		m = NewMemory(size)
		buf = m.Bytes()[:size]
	} else {
		buf = make([]byte, size)
	}
	b.w = copy(buf, b.data())
	b.lent.Release()
	b.buf, b.lent, b.r, b.full = buf, m, 0, false
}

// lend is the memory of what was read, for those who want to keep some of it. nil: there is so little that it is not worth while.
func (b *inbuf) lend() *Memory {
	if b.w-b.r < lendFrom {
		return nil
	}
	return b.lent
}

// free gives the memory back.
func (b *inbuf) free() {
	b.lent.Release()
	*b = inbuf{}
}

// rest gives memory back if the buffer was much too large for shrinkAfter. The
// pings of a living link call it often enough.
func (b *inbuf) rest(now time.Duration) {
	if len(b.buf) <= inbufMin || now-b.since < shrinkAfter {
		return
	}
	if b.used < len(b.buf)/4 && b.w-b.r <= b.used {
		size := inbufMin
		for size < 2*b.used {
			size *= 2
		}
		b.resize(size)
	}
	b.used, b.since = b.w-b.r, now
}
