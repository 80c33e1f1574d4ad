package codec

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"fmt"
)

// A sealed frame is a Data frame whose payload is encrypted once for the whole way, so that a relay passes it on as it came
// (WIRE.md section 10). The key travels with it, in its head: so whoever writes the head encrypts it for the next one on the way.

// Parts of a sealed frame, in bytes.
const (
	SealKey     = 32                                // AES-256-GCM
	sealCounter = 8                                 // the nonce is four zero bytes and this, as that of Noise
	SealHead    = SealKey + sealCounter             // behind the names
	SealTag     = 16                                // at the end
	SealSize    = SealHead + SealTag                // what a frame grows by
	MaxHead     = HeaderSize + 2*MaxName + SealHead // of a sealed frame, before what is encrypted
	isSealed    = 1
	sealNonce   = 12
)

// IsSealed tells whether the frame that b begins with is sealed. b has [HeaderSize] bytes, at least.
func IsSealed(b []byte) bool { return Kind(b[kindAt]) == KindData && b[sealedAt] == isSealed }

// HeadSize is the size of what stands before the payload of the frame that b begins with, or, if it is sealed, before what is
// encrypted. b has [HeaderSize] bytes, at least.
func HeadSize(b []byte) int {
	n := HeaderSize + int(b[toLenAt]) + int(b[fromLenAt])
	if IsSealed(b) {
		n += SealHead
	}
	return n
}

// Sealer seals payloads for one receiver. Who has the key of one can read, and replace, what was sealed by the same Sealer: so use
// it for what is sent at once, and no longer. Not safe for concurrent use.
type Sealer struct {
	key   [SealKey]byte
	count uint64
	nonce [sealNonce]byte
	aead  cipher.AEAD
}

// NewSealer makes a Sealer. The key must be random, and of this Sealer alone: its counter begins at zero.
func NewSealer(key [SealKey]byte) *Sealer { return &Sealer{key: key, aead: sealing(&key)} }

func sealing(key *[SealKey]byte) cipher.AEAD {
	block, err := aes.NewCipher(key[:])
	if err == nil {
		var aead cipher.AEAD
		if aead, err = cipher.NewGCM(block); err == nil {
			return aead
		}
	}
	panic(fmt.Sprintf("codec: %v", err)) // neither fails with a key of this length
}

// Seal seals the payload of a Data frame of which head is all before it. It appends the new head to dst, and what
// follows it to body, which may be the payload's own memory, payload[:0]. The head must reach nobody but those who may read the payload.
func (s *Sealer) Seal(dst, body, head, payload []byte) (sealed, ciphertext []byte) {
	at := len(dst)
	dst = append(append(dst, head...), s.key[:]...)
	dst = binary.BigEndian.AppendUint64(dst, s.count)
	binary.BigEndian.PutUint32(dst[at:], uint32(len(head)+len(payload)+SealSize-lengthSize))
	dst[at+sealedAt] = isSealed
	binary.BigEndian.PutUint64(s.nonce[sealNonce-sealCounter:], s.count)
	s.count++
	return dst, s.aead.Seal(body, s.nonce[:], payload, nil)
}

// Opener opens sealed frames. It remembers one key, because to make it ready takes longer than to open a short frame. The
// zero Opener is ready. Not safe for concurrent use.
type Opener struct {
	key   [SealKey]byte
	aead  cipher.AEAD // of key; nil: none yet
	nonce [sealNonce]byte
}

// Open returns the frame that f was before it was sealed, in f's memory. It returns f itself if that is not sealed, and if it was
// changed on its way: then it is not valid, and its payload is lost.
func (o *Opener) Open(f Raw) Raw {
	if !IsSealed(f) {
		return f
	}
	names := HeadSize(f) - SealHead
	head, body := f[:names], f[names+SealHead:]
	copy(o.nonce[sealNonce-sealCounter:], f[names+SealKey:])
	payload, err := o.with((*[SealKey]byte)(f[names:])).Open(body[:0], o.nonce[:], body, nil)
	if err != nil {
		return f
	}
	copy(f[SealHead:], head)
	f = f[SealHead : SealHead+names+len(payload)]
	binary.BigEndian.PutUint32(f, uint32(len(f)-lengthSize))
	f[sealedAt] = 0
	return f[:len(f):len(f)]
}

func (o *Opener) with(key *[SealKey]byte) cipher.AEAD {
	if o.aead == nil || *key != o.key {
		o.key, o.aead = *key, sealing(key)
	}
	return o.aead
}
