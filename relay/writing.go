package relay

import (
	"ultrasockets/codec"
)

// refersFrom is the payload from which on a frame in a Writing refers to it rather than having a copy.
const refersFrom = 2 << 10

// Writing is whole frames on their way to a port. Long payloads are not copied into it but referred to. Not safe for
// concurrent use. The zero Writing is empty.
type Writing struct {
	// Lone says that nothing else is under way, for which others might wait that gather meanwhile: a link may write it at once.
	Lone bool

	flat []byte   // the frames without those payloads …
	refs []refers // … and these, in order
	size int
}

// refers is a payload that stands before flat[at:].
type refers struct {
	at      int
	payload []byte
	memory  *Memory
}

// Len is how many bytes the frames have.
func (w *Writing) Len() int { return w.size }

// Append appends a frame, and copies what it needs.
func (w *Writing) Append(f *codec.Frame) {
	w.flat = f.Append(w.flat)
	w.size += f.Size()
}

// AppendHeld appends a frame whose payload is held: nobody changes it before m is released by all its holders, of which the
// Writing may become one. sum is its [codec.PayloadSum].
func (w *Writing) AppendHeld(f *codec.Frame, sum uint32, m *Memory) {
	w.flat = f.AppendHead(w.flat, sum)
	w.size += f.Size()
	if len(f.Payload) < refersFrom {
		w.flat = append(w.flat, f.Payload...)
		return
	}
	m.Retain()
	w.refs = append(w.refs, refers{len(w.flat), f.Payload, m})
}

// InOnePiece is all frames, one after the other: where they are, or, if payloads are elsewhere, in memory that the caller holds.
func (w *Writing) InOnePiece() (frames []byte, m *Memory) {
	if len(w.refs) == 0 {
		return w.flat, nil
	}
	m = NewMemory(w.size)
	return w.appendTo(m.Bytes()), m
}

// appendTo appends all frames to b.
func (w *Writing) appendTo(b []byte) []byte {
	from := 0
	for _, r := range w.refs {
		b = append(append(b, w.flat[from:r.at]...), r.payload...)
		from = r.at
	}
	return append(b, w.flat[from:]...)
}

// Reset empties it.
func (w *Writing) Reset() {
	for _, r := range w.refs {
		r.memory.Release()
	}
	w.empty()
}

// empty empties it after others have taken over what it held.
func (w *Writing) empty() {
	clear(w.refs)
	w.flat, w.refs, w.size, w.Lone = w.flat[:0], w.refs[:0], 0, false
}
