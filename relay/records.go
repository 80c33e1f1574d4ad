package relay

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"fmt"
	"net"
	"slices"
	"time"

	"github.com/flynn/noise"

	"ultrasockets/codec"
)

// The secure channel (WIRE.md section 10): frames travel in Noise records, and what is encrypted already, the bodies of sealed
// frames, between them. A dialler seals the long payloads that it sends, a relay passes them on as they came, and who receives them opens
// them. So each is encrypted once and not once a link, and a relay has little to do with it.

const (
	recordHead = 2
	recordTail = 2 // of the plaintext: how many bytes follow the record as they are
	recordTag  = 16
	maxRecord  = 65535 // of what follows the head
)

// secureConn is a connection whose bytes travel like that. One
// goroutine may read while another writes: of a link whoever has claimed its outbox.
type secureConn struct {
	net.Conn

	// owned by the reader
	dec   *half
	in    inbuf
	plain []byte // part of in, decrypted and not yet read
	asIs  int    // so many bytes of in, and of what follows, are read as they are
	err   error  // found behind bytes that were still good

	// owned by who writes
	enc     *half
	seals   bool          // of a dialler: it seals long payloads. A relay passes on what is sealed
	sealer  *codec.Sealer // for what goes with the next write to …
	sealsTo string        // … this destination; nil: nothing yet
	parcels []*parcel     // not written yet; into the last more may go
	bufs    net.Buffers   // of the parcels
	left    net.Buffers
	begun   int    // bytes that are still to come of a frame …
	passing bool   // … and go as they are
	held    []byte // a frame's first bytes, too few to tell what is to be done with it
}

// half is one direction of a secure channel after the handshake: what Noise calls a CipherState (section 5.1), without an
// allocation for each record. Not safe for concurrent use.
type half struct {
	aead  cipher.AEAD
	count uint64 // of records
	nonce [12]byte
}

// newHalf goes on where the handshake ended.
func newHalf(s *noise.CipherState) *half {
	key := s.UnsafeKey()
	block, err := aes.NewCipher(key[:])
	if err == nil {
		var aead cipher.AEAD
		if aead, err = cipher.NewGCM(block); err == nil {
			return &half{aead: aead, count: s.Nonce()}
		}
	}
	panic(fmt.Sprintf("relay: %v", err)) // neither fails with a key of this length
}

// next is the nonce of the next record: four zero bytes and its number. Nobody lives to see 2^64.
func (h *half) next() []byte {
	binary.BigEndian.PutUint64(h.nonce[len(h.nonce)-8:], h.count)
	h.count++
	return h.nonce[:]
}

func (h *half) encrypt(dst, plain []byte) []byte { return h.aead.Seal(dst, h.next(), plain, nil) }

func (h *half) decrypt(dst, record []byte) ([]byte, error) {
	return h.aead.Open(dst, h.next(), record, nil)
}

// Read implements net.Conn. It reads all that is here.
func (s *secureConn) Read(b []byte) (n int, err error) {
	for n < len(b) {
		m, err := s.next(b[n:])
		n += m
		switch {
		case err != nil && n > 0:
			s.err = err
			return n, nil
		case err != nil:
			return 0, err
		case m > 0:
		case n > 0:
			return n, nil
		default:
			if m, err = s.in.fill(s.Conn); err != nil && m == 0 {
				return 0, err
			}
		}
	}
	return n, nil
}

// next reads some of what is here; 0 bytes: there is nothing.
func (s *secureConn) next(b []byte) (int, error) {
	if s.err != nil {
		return 0, s.err
	}
	for len(s.plain) == 0 {
		data := s.in.data()
		if s.asIs > 0 {
			n := copy(b, data[:min(s.asIs, len(data))])
			s.in.consume(n)
			s.asIs -= n
			return n, nil
		}
		rec := s.buffered()
		if rec == nil {
			return 0, nil
		}
		if len(rec) < recordTag+recordTail {
			return 0, fmt.Errorf("%w: a record of %d bytes", ErrProtocol, len(rec))
		}
		out, fits := rec[:0], len(rec)-recordTag <= len(b)
		if fits {
			out = b[:0]
		}
		plain, err := s.dec.decrypt(out, rec)
		if err != nil {
			return 0, fmt.Errorf("%w: a record that does not decrypt", ErrProtocol)
		}
		end := len(plain) - recordTail
		s.asIs = int(binary.BigEndian.Uint16(plain[end:]))
		if fits && end > 0 {
			return end, nil
		}
		s.plain = plain[:end]
	}
	n := copy(b, s.plain)
	s.plain = s.plain[n:]
	return n, nil
}

// buffered takes the next record, without its head, from what was read; nil: it is not all there. It is valid until the next read.
func (s *secureConn) buffered() []byte {
	data := s.in.data()
	if len(data) < recordHead {
		return nil
	}
	size := recordHead + int(binary.BigEndian.Uint16(data))
	if len(data) < size {
		s.in.reserve(size)
		return nil
	}
	s.in.consume(size)
	return data[recordHead:size]
}

// record reads the next record, without its head. It is valid until the next
// call. After a timeout it can be called again.
func (s *secureConn) record() ([]byte, error) {
	for {
		if rec := s.buffered(); rec != nil {
			return rec, nil
		}
		if n, err := s.in.fill(s.Conn); err != nil && n == 0 {
			return nil, err
		}
	}
}

// rest gives the read buffer's memory back after traffic.
func (s *secureConn) rest(now time.Duration) {
	if len(s.plain) == 0 {
		s.in.rest(now)
	}
}

// Write implements net.Conn: b is whole frames.
func (s *secureConn) Write(b []byte) (int, error) {
	bufs := [1][]byte{b}
	if err := s.writeBuffers(bufs[:], nil); err != nil {
		return 0, err
	}
	return len(b), nil
}

// writeBuffers sends what writeDirect has left, then all bytes, in few writes. A frame may begin in one call and end
// in a later one. o is told of progress; it may be nil.
func (s *secureConn) writeBuffers(bufs [][]byte, o *outbox) error {
	defer s.release()
	in := pieces{first: s.held, bufs: bufs}
	s.held = s.held[:0]
	for in.more() {
		s.pack(&in)
		if len(s.parcels) > turnBytes/chunkSize {
			if err := s.send(o); err != nil {
				return err
			}
		}
	}
	return s.send(o)
}

// writeDirect packs b, which is whole frames, and writes what d takes at once. It returns how many bytes of parcels are left
// for the next writeBuffers.
func (s *secureConn) writeDirect(b []byte, d *direct) (owed int) {
	for in := (pieces{first: b}); in.more(); {
		s.pack(&in)
	}
	s.sealer = nil
	for i, p := range s.parcels {
		if p.from += d.once(p.b[p.from:p.to]); p.from < p.to {
			s.parcels = slices.Delete(s.parcels, 0, i)
			for _, p := range s.parcels {
				owed += p.to - p.from
			}
			return owed
		}
		parcelPool.Put(p)
	}
	clear(s.parcels)
	s.parcels = s.parcels[:0]
	return 0
}

func (s *secureConn) send(o *outbox) error {
	defer s.release()
	for _, p := range s.parcels {
		s.bufs = append(s.bufs, p.b[p.from:p.to])
	}
	s.left = s.bufs
	return writeFully(s.Conn, &s.left, o)
}

func (s *secureConn) release() {
	for i, p := range s.parcels {
		parcelPool.Put(p)
		s.parcels[i] = nil
	}
	clear(s.bufs)
	s.parcels, s.bufs, s.sealer = s.parcels[:0], s.bufs[:0], nil
}

// openWith opens f in its memory, if there is something to open frames with.
func openWith(o *codec.Opener, f codec.Raw) codec.Raw {
	if o == nil {
		return f
	}
	return o.Open(f)
}
