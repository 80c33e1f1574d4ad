package relay

import (
	"crypto/rand"
	"encoding/binary"
	"sync"

	"ultrasockets/codec"
)

// The writing side of the secure channel: frames go into parcels, as records and what lies between them.

const (
	// sealFrom is the payload from which on a frame is sealed: for shorter ones a record of their own costs more than it saves.
	sealFrom = 4 << 10
	// parcelSpace has room for a message of 64 KiB in sealed frames.
	parcelSpace = 4 * (codec.MaxFrame + recordHead + recordTail + recordTag)
)

// parcel is memory for records and what goes between them: b[from:to] is to be written.
type parcel struct {
	from, to int
	full     bool
	b        [parcelSpace]byte
}

var parcelPool = sync.Pool{New: func() any { return new(parcel) }}

// pack puts frames into the last parcel, or a new one, until that is full or nothing is left.
func (s *secureConn) pack(in *pieces) {
	last := len(s.parcels) - 1
	if last < 0 || s.parcels[last].full {
		p := parcelPool.Get().(*parcel)
		p.from, p.to, p.full = 0, 0, false
		s.parcels = append(s.parcels, p)
		last++
	}
	p := s.parcels[last]
	for in.more() && !p.full {
		if !s.passing || s.begun == 0 {
			s.packRecord(p, in)
		}
		if s.passing {
			n := in.copy(p.b[p.to:], s.begun)
			p.to += n
			s.begun -= n
			p.full = p.to == len(p.b)
		}
	}
}

// packRecord makes one record, and behind it the body of a frame that it seals. If there is no room for what comes next, the parcel
// is full.
func (s *secureConn) packRecord(p *parcel, in *pieces) {
	begin := p.to + recordHead
	end := min(len(p.b)-recordTail-recordTag, begin+maxRecord-recordTail-recordTag)
	at, body := begin, 0 // the ends of the plaintext, and of the body behind the record
	s.passing = false
	if end-begin < codec.MaxHead {
		p.full = true
		return
	}
pack:
	for in.more() {
		if s.begun > 0 {
			n := in.copy(p.b[at:end], s.begun)
			at += n
			if s.begun -= n; s.begun > 0 && in.more() {
				p.full = true
				break
			}
			continue
		}
		if n := shortRun(in.next(), end-at); n > 0 {
			at += in.copy(p.b[at:], n)
			continue
		}
		if end-at < codec.MaxHead {
			p.full = true
			break
		}
		f := in.peek(p.b[at : at+codec.MaxHead])
		if len(f) < codec.HeaderSize || s.passes(f) && len(f) < codec.HeadSize(f) {
			in.skip(len(f))
			s.held = append(s.held, f...)
			break
		}
		head, size := codec.HeadSize(f), wholeFrame(f)
		switch {
		case s.passes(f):
			at += in.copy(p.b[at:], head)
			s.begun, s.passing = size-head, true
			break pack
		case s.mustSeal(f, size-head) && head <= len(f) && in.has(size):
			if end-at < size+codec.SealSize {
				p.full = true
				break pack
			}
			in.skip(head)
			bodyAt := at + head + codec.SealHead + recordTail + recordTag
			payload := in.peek(p.b[bodyAt : bodyAt+size-head])
			f, sealed := s.sealerTo(codec.Raw(f).To()).Seal(p.b[at:at], p.b[bodyAt:bodyAt], f[:head], payload)
			in.skip(len(payload))
			at += len(f)
			body = len(sealed)
			break pack
		default:
			s.begun = max(size, codec.HeaderSize) // what is no frame goes, too: the other side will say so
		}
	}
	if at == begin {
		return
	}
	follows := body
	if s.passing {
		follows = s.begun
	}
	binary.BigEndian.PutUint16(p.b[at:], uint16(follows))
	rec := s.enc.encrypt(p.b[begin:begin], p.b[begin:at+recordTail])
	binary.BigEndian.PutUint16(p.b[p.to:], uint16(len(rec)))
	p.to = begin + len(rec) + body
}

// shortRun is the length of the frames that b begins with and that are in no case to be sealed, nor sealed: as many as fit.
func shortRun(b []byte, room int) (n int) {
	b = b[:max(0, min(len(b), room))]
	for len(b)-n >= codec.HeaderSize {
		size := wholeFrame(b[n:])
		if size < codec.HeaderSize || size > min(sealFrom, len(b)-n) || codec.IsSealed(b[n:]) {
			break
		}
		n += size
	}
	return n
}

// passes tells whether f is sealed, and to be passed on so.
func (s *secureConn) passes(f []byte) bool {
	size := wholeFrame(f)
	return !s.seals && codec.IsSealed(f) && codec.HeadSize(f) <= size && size <= codec.MaxFrame
}

// mustSeal tells whether f, with so long a payload, is to be sealed. Best effort may be for several.
func (s *secureConn) mustSeal(f codec.Raw, payload int) bool {
	return s.seals && payload >= sealFrom && payload <= codec.MaxPayload && f.Kind() == codec.KindData && f.Stream() != 0 && f[sealedAt] == 0
}

// sealerTo is what seals for a destination: with a key for what is written to it at once and in a row. So who has a name for a while
// learns no key of what is sent to those who have it later.
func (s *secureConn) sealerTo(to []byte) *codec.Sealer {
	if s.sealer == nil || s.sealsTo != string(to) {
		var key [codec.SealKey]byte
		rand.Read(key[:])
		s.sealer, s.sealsTo = codec.NewSealer(key), string(to)
	}
	return s.sealer
}

// pieces is bytes in several buffers, read from the begin.
type pieces struct {
	first []byte
	bufs  [][]byte
	at    int // bufs[0][at:] is next, when nothing is left of first
}

// next is what comes next in one piece.
func (p *pieces) next() []byte {
	if len(p.first) > 0 {
		return p.first
	}
	for ; len(p.bufs) > 0; p.bufs, p.at = p.bufs[1:], 0 {
		if b := p.bufs[0][p.at:]; len(b) > 0 {
			return b
		}
	}
	return nil
}

func (p *pieces) more() bool { return len(p.next()) > 0 }

// has tells whether there are n bytes.
func (p *pieces) has(n int) bool {
	for q := *p; n > 0; {
		b := q.next()
		if len(b) == 0 {
			return false
		}
		n -= len(b)
		q.skip(len(b))
	}
	return true
}

func (p *pieces) skip(n int) {
	for n > 0 {
		m := min(n, len(p.next()))
		n -= m
		if len(p.first) > 0 {
			p.first = p.first[m:]
		} else {
			p.at += m
		}
	}
}

// copy takes up to n bytes, as many as fit into dst.
func (p *pieces) copy(dst []byte, n int) (copied int) {
	dst = dst[:min(n, len(dst))]
	for copied < len(dst) && p.more() {
		m := copy(dst[copied:], p.next())
		copied += m
		p.skip(m)
	}
	return copied
}

// peek is the next len(dst) bytes, or all there are: where they are, or else copied to dst.
func (p *pieces) peek(dst []byte) []byte {
	if b := p.next(); len(b) >= len(dst) {
		return b[:len(dst)]
	}
	q := *p
	return dst[:q.copy(dst, len(dst))]
}
