package codec

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"slices"
)

// Version of the wire that this package speaks.
const Version = 1

// Limits of the wire, in bytes. Nothing longer is ever sent, and whoever receives something longer may close the link.
const (
	HeaderSize = lengthSize + kindSize + flagsSize + packingSize + toLenSize + fromLenSize + sealedSize + reservedSize +
		streamSize + seqSize + checksumSize // 24
	MaxName    = 64                                             // name of a node, group, mesh or transform
	MaxPayload = 16 << 10                                       // payload of one frame, before packing and after
	MaxFrame   = HeaderSize + 2*MaxName + MaxPayload + SealSize // 16,592
	MaxHello   = 4 << 10                                        // body of Hello, of Refusal, and of Update towards the relay
	MaxPing    = 64                                             // payload of Ping, and of Pong without the heartbeat
	PongBeat   = 4                                              // of a Pong of the relay: a new heartbeat behind the Ping's payload

	// DefaultMaxMessage is the largest message a node takes that does not say otherwise in its Hello.
	DefaultMaxMessage = 64 << 20
)

// The fixed header, field by field, and where each begins.
const (
	lengthSize   = 4
	kindSize     = 1
	flagsSize    = 1
	packingSize  = 1
	toLenSize    = 1
	fromLenSize  = 1
	sealedSize   = 1
	reservedSize = 2
	streamSize   = 4
	seqSize      = 4
	checksumSize = 4

	kindAt     = lengthSize
	flagsAt    = kindAt + kindSize
	packingAt  = flagsAt + flagsSize
	toLenAt    = packingAt + packingSize
	fromLenAt  = toLenAt + toLenSize
	sealedAt   = fromLenAt + fromLenSize
	reservedAt = sealedAt + sealedSize
	streamAt   = reservedAt + reservedSize
	seqAt      = streamAt + streamSize
	checksumAt = seqAt + seqSize

	// The length field counts what follows it.
	minLength = HeaderSize - lengthSize
	maxLength = MaxFrame - lengthSize
)

// Frame is one frame in the form in which a program makes it. The zero values of To and From mean "no name": the frame is
// between a node and its relay.
type Frame struct {
	Kind    Kind
	Flags   Flags
	Packing uint8  // transforms applied to Payload: bit k is the k-th of the receiver's list
	To      string // destination, at most MaxName bytes
	From    string // source, at most MaxName bytes
	Stream  uint32 // 0: best effort
	Seq     uint32
	Payload []byte // at most MaxPayload bytes
}

// Size is the number of bytes that Append appends.
func (f *Frame) Size() int { return HeaderSize + len(f.To) + len(f.From) + len(f.Payload) }

// Append appends the whole frame with its checksum to dst. It copies the payload, and allocates only if dst is too small.
// It panics if a name or the payload is longer than its limit: no caller can mean that.
func (f *Frame) Append(dst []byte) []byte {
	return append(f.AppendHead(slices.Grow(dst, f.Size()), PayloadSum(f.Payload)), f.Payload...)
}

// PayloadSum is the CRC-32 of a payload, with which the checksum of its frame begins: who has just written a payload can
// compute it while the bytes are at hand, before the rest of the frame is known.
//
// It is the CRC-32 of Ethernet and zlib (polynomial 0x04C11DB7): every language has it in its library and many a
// microcontroller in its hardware.
func PayloadSum(payload []byte) uint32 { return crc32.ChecksumIEEE(payload) }

// AppendHead does what Append does, without the payload, of which sum must be the PayloadSum.
func (f *Frame) AppendHead(dst []byte, sum uint32) []byte {
	if len(f.To) > MaxName || len(f.From) > MaxName || len(f.Payload) > MaxPayload {
		panic(fmt.Sprintf("codec: frame with names of %d and %d bytes and a payload of %d", len(f.To), len(f.From), len(f.Payload)))
	}
	size := HeaderSize + len(f.To) + len(f.From)
	dst = slices.Grow(dst, size)
	b := dst[len(dst) : len(dst)+size]

	binary.BigEndian.PutUint32(b, uint32(f.Size()-lengthSize))
	b[kindAt] = byte(f.Kind)
	b[flagsAt] = byte(f.Flags)
	b[packingAt] = f.Packing
	b[toLenAt] = byte(len(f.To))
	b[fromLenAt] = byte(len(f.From))
	clear(b[sealedAt:streamAt])
	binary.BigEndian.PutUint32(b[streamAt:], f.Stream)
	binary.BigEndian.PutUint32(b[seqAt:], f.Seq)
	n := HeaderSize
	n += copy(b[n:], f.To)
	copy(b[n:], f.From)
	binary.BigEndian.PutUint32(b[checksumAt:], headSum(sum, b))
	return dst[:len(dst)+size]
}

// headSum goes on from the sum of a payload with the head of its frame, but for the checksum's own field.
func headSum(sum uint32, head []byte) uint32 {
	return crc32.Update(crc32.Update(sum, crc32.IEEETable, head[:checksumAt]), crc32.IEEETable, head[HeaderSize:])
}

// Raw is one whole frame as it travels, as [Next] returns it. Its accessors return parts of it without a copy and
// without an allocation; they panic on a Raw that Next did not check. Nothing but [Raw.Valid] looks at the checksum:
// call it before you believe what the others say, unless you only forward.
type Raw []byte

func (r Raw) Kind() Kind     { return Kind(r[kindAt]) }
func (r Raw) Flags() Flags   { return Flags(r[flagsAt]) }
func (r Raw) Packing() uint8 { return r[packingAt] }
func (r Raw) Stream() uint32 { return binary.BigEndian.Uint32(r[streamAt:]) }
func (r Raw) Seq() uint32    { return binary.BigEndian.Uint32(r[seqAt:]) }

// To is the destination's name, empty if the frame is for the other end of the link.
func (r Raw) To() []byte {
	end := HeaderSize + int(r[toLenAt])
	return r[HeaderSize:end:end]
}

// From is the source's name, empty if the frame is from the other end of the link.
func (r Raw) From() []byte {
	at := HeaderSize + int(r[toLenAt])
	end := at + int(r[fromLenAt])
	return r[at:end:end]
}

// Payload is what follows the names, as packed as it came.
func (r Raw) Payload() []byte {
	return r[HeaderSize+int(r[toLenAt])+int(r[fromLenAt]):]
}

// Valid reports whether the checksum is right. A sealed frame has none: see [Opener]. It may be called while others read r.
func (r Raw) Valid() bool {
	payload := r.Payload()
	return !IsSealed(r) && headSum(PayloadSum(payload), r[:len(r)-len(payload)]) == binary.BigEndian.Uint32(r[checksumAt:])
}

// Frame returns the fields of r. It copies the names; Payload is part of r.
func (r Raw) Frame() Frame {
	return Frame{
		Kind: r.Kind(), Flags: r.Flags(), Packing: r.Packing(),
		To: string(r.To()), From: string(r.From()),
		Stream: r.Stream(), Seq: r.Seq(), Payload: r.Payload(),
	}
}

// Next splits the first whole frame off b. Both results are parts of b.
//
//   - frame and rest: one frame, and what follows it.
//   - a nil frame and no error: b holds no whole frame yet; rest is b. Read more.
//   - an error that wraps [ErrFrame]: no frame can begin like this. It is returned as soon as the field that is wrong
//     is there, so a length of 4 GiB is refused after four bytes and nobody makes room for it.
func Next(b []byte) (frame Raw, rest []byte, err error) {
	if len(b) < lengthSize {
		return nil, b, nil
	}
	length := binary.BigEndian.Uint32(b)
	if length < minLength || length > maxLength {
		return nil, b, fmt.Errorf("%w: length %d is not within %d to %d", ErrFrame, length, minLength, maxLength)
	}
	if len(b) < reservedAt {
		return nil, b, nil
	}
	to, from := int(b[toLenAt]), int(b[fromLenAt])
	payload := int(length) - minLength - to - from
	if IsSealed(b) {
		payload -= SealSize
	}
	if to > MaxName || from > MaxName || payload < 0 || payload > MaxPayload {
		return nil, b, fmt.Errorf("%w: names of %d and %d bytes in a frame of length %d", ErrFrame, to, from, length)
	}
	size := lengthSize + int(length)
	if len(b) < size {
		return nil, b, nil
	}
	return Raw(b[:size:size]), b[size:], nil
}
