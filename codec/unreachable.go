package codec

import (
	"fmt"
	"unicode/utf8"
)

// UnreachableReason is why a frame was not taken.
type UnreachableReason uint8

const (
	Absent      UnreachableReason = 1 // no node of that name is linked
	Busy        UnreachableReason = 2 // its outbox is full
	TooLarge    UnreachableReason = 3 // for the receiver
	Unsupported UnreachableReason = 4 // unknown flags, or a packing the receiver cannot undo
)

func (r UnreachableReason) String() string {
	switch r {
	case Absent:
		return "absent"
	case Busy:
		return "busy"
	case TooLarge:
		return "too large"
	case Unsupported:
		return "unsupported"
	}
	return fmt.Sprintf("UnreachableReason(%d)", uint8(r))
}

// Unreachable is the body of an Unreachable; the frame's Stream and Seq are those of the frame it answers. WIRE.md
// section 6.
type Unreachable struct {
	Reason UnreachableReason
	Text   string // a sentence, or ""; Append cuts it to 512 bytes
}

// Append appends the body of u to dst: the reason, then the sentence to the end.
func (u Unreachable) Append(dst []byte) []byte {
	return append(append(dst, byte(u.Reason)), cutText(u.Text)...)
}

// ParseUnreachable reads the body of an Unreachable. A reason that is not known is returned as it came. The error wraps
// [ErrBody].
func ParseUnreachable(b []byte) (Unreachable, error) {
	if len(b) == 0 {
		return Unreachable{}, fmt.Errorf("%w: Unreachable without a reason", ErrBody)
	}
	if !utf8.Valid(b[1:]) {
		return Unreachable{}, fmt.Errorf("%w: Unreachable whose sentence is not UTF-8", ErrBody)
	}
	return Unreachable{Reason: UnreachableReason(b[0]), Text: string(b[1:])}, nil
}
