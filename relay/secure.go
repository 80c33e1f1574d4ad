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
	"time"

	"github.com/flynn/noise"
)

// Sizes of the secure channel (WIRE.md section 10).
const (
	secretSize = 32
	noiseHello = 32 + recordTag // "-> psk, e" and "<- e, ee", empty payload
	pskInfo    = "ultrasockets link 1"
)

var cipherSuite = noise.NewCipherSuite(noise.DH25519, noise.CipherAESGCM, noise.HashSHA256)

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
	s.enc, s.dec, s.seals = newHalf(out), newHalf(back), true
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
	s.dec, s.enc = newHalf(in2), newHalf(out)
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
