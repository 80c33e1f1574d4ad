package codec

import "fmt"

// ResetSize is the size of the body of a Reset in bytes.
const ResetSize = 1

// Reset is the body of a Reset: the receiver asks the sender of the frame's stream to go back. WIRE.md section 6.
type Reset struct {
	Known bool // the frame's Seq is the number expected; else the stream is not known here and Seq has no meaning
}

// Append appends the ResetSize bytes of r to dst.
func (r Reset) Append(dst []byte) []byte {
	if r.Known {
		return append(dst, 1)
	}
	return append(dst, 0)
}

// ParseReset reads the body of a Reset. The error wraps [ErrBody].
func ParseReset(b []byte) (Reset, error) {
	if len(b) != ResetSize || b[0] > 1 {
		return Reset{}, fmt.Errorf("%w: Reset is not one byte 0 or 1", ErrBody)
	}
	return Reset{Known: b[0] == 1}, nil
}
