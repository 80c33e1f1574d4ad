package relay

import (
	"bytes"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/flynn/noise"
)

// Sizes of the secure channel (WIRE.md section 10).
const (
	secretSize  = 32
	recordHead  = 2
	recordTag   = 16
	maxRecord   = 65535 // of what follows the head
	maxPlain    = maxRecord - recordTag
	noiseHello  = 32 + recordTag // "-> psk, e" and "<- e, ee", empty payload
	pskInfo     = "ultrasockets link 1"
	recordSpace = recordHead + chunkSize + recordTag // what this side sends at most
)

var cipherSuite = noise.NewCipherSuite(noise.DH25519, noise.CipherAESGCM, noise.HashSHA256)

var recordPool = sync.Pool{New: func() any { return new([recordSpace]byte) }}

// MaxOldSecrets is how many other secrets a hub or a dialler accepts beside its own while a mesh changes keys.
const MaxOldSecrets = 4

// linkKeys derives the keys of the links from a mesh's secret and the others that are accepted: the own key comes first.
// A secret that is nil, with no others, gives none.
func linkKeys(secret []byte, others [][]byte) ([][]byte, error) {
	switch {
	case secret == nil && len(others) == 0:
		return nil, nil
	case secret == nil: // a mistake, and never to be read as "open"
		return nil, fmt.Errorf("%w: old secrets without a secret", ErrBadSecret)
	case len(others) > MaxOldSecrets:
		return nil, fmt.Errorf("%w: %d old secrets, at most %d", ErrBadSecret, len(others), MaxOldSecrets)
	}
	var keys [][]byte
	for _, s := range append([][]byte{secret}, others...) {
		if len(s) != secretSize {
			return nil, fmt.Errorf("%w: this has %d", ErrBadSecret, len(s))
		}
		key, err := hkdf.Key(sha256.New, s, nil, pskInfo, 32)
		if err != nil {
			return nil, err
		}
		if !slices.ContainsFunc(keys, func(k []byte) bool { return bytes.Equal(k, key) }) {
			keys = append(keys, key)
		}
	}
	return keys, nil
}

// secureConn is a connection whose bytes travel in Noise records. One
// goroutine may read while another writes: of a link whoever has claimed its outbox.
type secureConn struct {
	net.Conn

	// owned by the reader
	dec   *noise.CipherState
	in    inbuf
	plain []byte // part of in, decrypted and not yet read

	// owned by who writes
	enc  *noise.CipherState
	recs []*[recordSpace]byte // memory of records that are not written yet …
	bufs net.Buffers          // … and what is left of them
	left net.Buffers
}

func newHandshake(psk, prologue []byte, initiator bool) (*noise.HandshakeState, error) {
	return noise.NewHandshakeState(noise.Config{
		CipherSuite: cipherSuite, Pattern: noise.HandshakeNN, Initiator: initiator, Prologue: prologue,
		PresharedKey: psk, PresharedKeyPlacement: 0,
	})
}

// secureClient is the dialler's side of the Noise handshake. It takes over what in holds.
func secureClient(conn net.Conn, in inbuf, psk, prologue []byte) (*secureConn, error) {
	hs, err := newHandshake(psk, prologue, true)
	if err != nil {
		return nil, err
	}
	msg, _, _, err := hs.WriteMessage(make([]byte, recordHead, recordHead+noiseHello), nil)
	if err != nil {
		return nil, err
	}
	binary.BigEndian.PutUint16(msg, uint16(len(msg)-recordHead))
	if _, err := conn.Write(msg); err != nil {
		return nil, err
	}
	s := &secureConn{Conn: conn, in: in}
	answer, err := s.record()
	if err != nil {
		return nil, err
	}
	if len(answer) == 0 {
		return nil, ErrWrongSecret
	}
	_, out, back, err := hs.ReadMessage(nil, answer)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrWrongSecret, err)
	}
	s.enc, s.dec = out, back
	return s, nil
}

// emptyRecord is all that a relay says to a dialler whose first message it cannot read.
var emptyRecord = make([]byte, recordHead)

// secureServer is the relay's side of the Noise handshake. After an error the dialler is to get emptyRecord. used is the index
// of the key that the dialler has.
func secureServer(conn net.Conn, in inbuf, psks [][]byte, prologue []byte) (s *secureConn, used int, err error) {
	s = &secureConn{Conn: conn, in: in}
	var hs *noise.HandshakeState
	hello, err := s.recordOf(noiseHello)
	if err == nil {
		hs, used, err = openHello(hello, psks, prologue)
	}
	if err != nil {
		return nil, 0, err
	}
	msg, in2, out, err := hs.WriteMessage(make([]byte, recordHead, recordHead+noiseHello), nil)
	if err != nil {
		return nil, 0, err
	}
	binary.BigEndian.PutUint16(msg, uint16(len(msg)-recordHead))
	if _, err := conn.Write(msg); err != nil {
		return nil, 0, err
	}
	s.dec, s.enc = in2, out
	return s, used, nil
}

// openHello reads a dialler's first message, which names no key: it decrypts under the one that was used, and under no other.
// So each is tried. That costs a few hashes and one decryption of 16 bytes for a key, and no exponentiation; who has none of
// them always pays the relay's work for all of them, and learns nothing but that.
func openHello(hello []byte, psks [][]byte, prologue []byte) (hs *noise.HandshakeState, used int, err error) {
	for i, psk := range psks {
		if hs, err = newHandshake(psk, prologue, false); err != nil {
			return nil, 0, err
		}
		if _, _, _, err = hs.ReadMessage(nil, hello); err == nil {
			return hs, i, nil
		}
	}
	return nil, 0, fmt.Errorf("%w: %w", ErrWrongSecret, err)
}

// recordOf reads a record that must have n bytes: nothing else is waited for, or made room for.
func (s *secureConn) recordOf(n int) ([]byte, error) {
	for len(s.in.data()) < recordHead {
		if _, err := s.in.fill(s.Conn); err != nil {
			return nil, err
		}
	}
	if size := int(binary.BigEndian.Uint16(s.in.data())); size != n {
		return nil, fmt.Errorf("%w: a first message of %d bytes, not %d", ErrWrongSecret, size, n)
	}
	return s.record()
}

// record reads the next record, without its head. It is valid until the next
// call. After a timeout it can be called again.
func (s *secureConn) record() ([]byte, error) {
	for {
		data := s.in.data()
		if len(data) >= recordHead {
			size := recordHead + int(binary.BigEndian.Uint16(data))
			if len(data) >= size {
				s.in.consume(size)
				return data[recordHead:size], nil
			}
			s.in.reserve(size)
		}
		if n, err := s.in.fill(s.Conn); err != nil && n == 0 {
			return nil, err
		}
	}
}

// Read implements net.Conn.
func (s *secureConn) Read(b []byte) (int, error) {
	for len(s.plain) == 0 {
		rec, err := s.record()
		if err != nil {
			return 0, err
		}
		if len(rec) < recordTag {
			return 0, fmt.Errorf("%w: a record of %d bytes", ErrProtocol, len(rec))
		}
		out, fits := rec[:0], len(rec)-recordTag <= len(b)
		if fits {
			out = b[:0]
		}
		plain, err := s.dec.Decrypt(out, nil, rec)
		if err != nil {
			return 0, fmt.Errorf("%w: a record that does not decrypt", ErrProtocol)
		}
		if fits && len(plain) > 0 {
			return len(plain), nil
		}
		s.plain = plain
	}
	n := copy(b, s.plain)
	s.plain = s.plain[n:]
	return n, nil
}

// rest gives the read buffer's memory back after traffic.
func (s *secureConn) rest(now time.Duration) {
	if len(s.plain) == 0 {
		s.in.rest(now)
	}
}

// Write implements net.Conn.
func (s *secureConn) Write(b []byte) (int, error) {
	bufs := [1][]byte{b}
	if err := s.writeBuffers(bufs[:], nil); err != nil {
		return 0, err
	}
	return len(b), nil
}

// writeBuffers sends what writeDirect has left, then all bytes in as few records as they fit, and those in few writes. o is told
// of progress; it may be nil.
func (s *secureConn) writeBuffers(bufs [][]byte, o *outbox) error {
	defer s.release()
	at := 0 // bytes of bufs[0] done
	for len(bufs) > 0 {
		var err error
		if bufs, at, err = s.seal(bufs, at); err != nil {
			return err
		}
		if len(s.recs) > turnBytes/chunkSize {
			if err := s.send(o); err != nil {
				return err
			}
		}
	}
	return s.send(o)
}

// seal makes a record of what begins at bufs[0][at], and returns where the next one begins.
func (s *secureConn) seal(bufs [][]byte, at int) ([][]byte, int, error) {
	rec := recordPool.Get().(*[recordSpace]byte)
	plain := bufs[0][at:]
	if len(plain) >= chunkSize || len(bufs) == 1 {
		plain = plain[:min(len(plain), chunkSize)] // read where it is
		if at += len(plain); at == len(bufs[0]) {
			bufs, at = bufs[1:], 0
		}
	} else {
		n := recordHead
		for len(bufs) > 0 && n < recordHead+chunkSize {
			m := copy(rec[n:recordHead+chunkSize], bufs[0][at:])
			n, at = n+m, at+m
			if at == len(bufs[0]) {
				bufs, at = bufs[1:], 0
			}
		}
		plain = rec[recordHead:n]
	}
	sealed, err := s.enc.Encrypt(rec[recordHead:recordHead], nil, plain)
	if err != nil {
		recordPool.Put(rec)
		return nil, 0, err
	}
	binary.BigEndian.PutUint16(rec[:], uint16(len(sealed)))
	s.recs = append(s.recs, rec)
	s.bufs = append(s.bufs, rec[:recordHead+len(sealed)])
	return bufs, at, nil
}

// writeDirect seals b and writes what d takes at once. It returns how many bytes of b are sealed, and how many bytes of
// records are left for the next writeBuffers.
func (s *secureConn) writeDirect(b []byte, d *direct) (sealed, owed int) {
	one := [1][]byte{b}
	for left, at := one[:], 0; len(left) > 0; {
		next, to, err := s.seal(left, at)
		if err != nil {
			break // writeBuffers will find it, too
		}
		left, at = next, to
		if sealed = at; len(left) == 0 {
			sealed = len(b)
		}
	}
	for len(s.bufs) > 0 {
		n := d.once(s.bufs[0])
		if s.bufs[0] = s.bufs[0][n:]; len(s.bufs[0]) > 0 {
			break
		}
		recordPool.Put(s.recs[0])
		s.recs, s.bufs = slices.Delete(s.recs, 0, 1), slices.Delete(s.bufs, 0, 1)
	}
	for _, rest := range s.bufs {
		owed += len(rest)
	}
	return sealed, owed
}

func (s *secureConn) send(o *outbox) error {
	s.left = s.bufs
	err := writeFully(s.Conn, &s.left, o)
	s.release()
	return err
}

func (s *secureConn) release() {
	for i, r := range s.recs {
		recordPool.Put(r)
		s.recs[i], s.bufs[i] = nil, nil
	}
	s.recs, s.bufs = s.recs[:0], s.bufs[:0]
}

// lingerClose closes a connection so that what was written last can be read:
// closing with unread data would make the kernel throw it away at the other
// side. It waits at most a quarter of a second and reads at most 64 KiB.
func lingerClose(c net.Conn) {
	_ = c.SetReadDeadline(time.Now().Add(lingerTime))
	c = rawConn(c)
	if h, ok := c.(interface{ CloseWrite() error }); ok && h.CloseWrite() == nil {
		_, _ = io.CopyN(io.Discard, c, 64<<10)
	}
	_ = c.Close()
}

const lingerTime = 250 * time.Millisecond

// rawConn is the connection below a secure channel: what is thrown away need not be decrypted.
func rawConn(c net.Conn) net.Conn {
	if s, ok := c.(*secureConn); ok {
		return s.Conn
	}
	return c
}
