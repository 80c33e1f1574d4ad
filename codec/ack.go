package codec

import (
	"encoding/binary"
	"fmt"
)

// AckSize is the size of the body of an Ack in bytes.
const AckSize = windowSize + messagesSize + takenSize

const (
	windowSize   = 4
	messagesSize = 4
	takenSize    = 4

	messagesAt = windowSize
	takenAt    = messagesAt + messagesSize
)

// Ack is the body of an Ack. The frame's Stream is the stream it answers and its Seq the next number expected; the fields
// count from there. WIRE.md section 6.
type Ack struct {
	Window   uint32 // bytes granted: the cost of a frame is HeaderSize, both names and its payload before packing
	Messages uint32 // messages granted; a half-received one counts
	Taken    uint32 // the application has taken every message that ends before this number
}

// Append appends the AckSize bytes of a to dst.
func (a Ack) Append(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint32(dst, a.Window)
	dst = binary.BigEndian.AppendUint32(dst, a.Messages)
	return binary.BigEndian.AppendUint32(dst, a.Taken)
}

// ParseAck reads the body of an Ack. The error wraps [ErrBody].
func ParseAck(b []byte) (Ack, error) {
	if len(b) != AckSize {
		return Ack{}, fmt.Errorf("%w: Ack of %d bytes, want %d", ErrBody, len(b), AckSize)
	}
	return Ack{
		Window:   binary.BigEndian.Uint32(b),
		Messages: binary.BigEndian.Uint32(b[messagesAt:]),
		Taken:    binary.BigEndian.Uint32(b[takenAt:]),
	}, nil
}
