package main

import (
	"encoding/binary"
	"errors"
	"net"

	"ultrasockets/codec"
)

// wrapping is what is around the messages that go one way on a bare connection. For one goroutine at a time.
type wrapping interface {
	// size is how many bytes a message of n bytes takes.
	size(n int) int
	// append appends a message to buf.
	append(buf, m []byte) []byte
	// parts is what append appends, without a copy of the message. It is good until the next call.
	parts(m []byte) net.Buffers
	// cut takes n bytes from the front of b, 0 if there are too few, and returns the message that is whole then; nil: none is.
	// The message is part of b, or good until the next call.
	cut(b []byte) (m []byte, n int, err error)
	// need is how many bytes the next cut takes, as far as b tells.
	need(b []byte) int
}

// lengths is the leanest wrapping: the length of each message before it, big-endian.
type lengths struct{ buf [lengthSize]byte }

const lengthSize = 4

func newLengths() wrapping { return new(lengths) }

func (*lengths) size(n int) int { return lengthSize + n }

func (*lengths) append(buf, m []byte) []byte {
	return append(binary.BigEndian.AppendUint32(buf, uint32(len(m))), m...)
}

func (l *lengths) parts(m []byte) net.Buffers {
	binary.BigEndian.PutUint32(l.buf[:], uint32(len(m)))
	return net.Buffers{l.buf[:], m}
}

func (l *lengths) cut(b []byte) (m []byte, n int, err error) {
	if n = l.need(b); n > len(b) {
		return nil, 0, nil
	}
	return b[lengthSize:n], n, nil
}

func (*lengths) need(b []byte) int {
	if len(b) < lengthSize {
		return lengthSize
	}
	return lengthSize + int(binary.BigEndian.Uint32(b))
}

// frames wraps each message as the wire does that does not share its frame: the header with names, numbers and a checksum, which
// is verified, and a message that is too large for one frame in several.
type frames struct {
	seq   uint32
	heads []byte // of parts
	half  []byte // what came of a message in several frames
}

func newFrames() wrapping { return new(frames) }

const (
	framesTo, framesFrom = "r0", "s0"
	frameSize            = codec.HeaderSize + len(framesTo) + len(framesFrom) // without payload
)

var errFrames = errors.New("a frame came through the splice that was not sent")

func (*frames) size(n int) int {
	return n + (n+codec.MaxPayload-1)/codec.MaxPayload*frameSize
}

// next makes the first frame of what is left of a message.
func (w *frames) next(m []byte) (f codec.Frame, rest []byte) {
	f = codec.Frame{Kind: codec.KindData, To: framesTo, From: framesFrom, Stream: 1, Seq: w.seq, Payload: m}
	if len(m) > codec.MaxPayload {
		f.Flags, f.Payload, rest = codec.FlagMore, m[:codec.MaxPayload], m[codec.MaxPayload:]
	}
	w.seq++
	return f, rest
}

func (w *frames) append(buf, m []byte) []byte {
	for len(m) > 0 {
		var f codec.Frame
		f, m = w.next(m)
		buf = f.Append(buf)
	}
	return buf
}

func (w *frames) parts(m []byte) (parts net.Buffers) {
	w.heads = w.heads[:0]
	for len(m) > 0 {
		var f codec.Frame
		f, m = w.next(m)
		w.heads = f.AppendHead(w.heads, codec.PayloadSum(f.Payload))
		head := w.heads[len(w.heads)-frameSize:]
		parts = append(parts, head, f.Payload)
	}
	return parts
}

func (w *frames) cut(b []byte) (m []byte, n int, err error) {
	f, _, err := codec.Next(b)
	if err != nil || f == nil {
		return nil, 0, err
	}
	if !f.Valid() || f.Seq() != w.seq {
		return nil, 0, errFrames
	}
	w.seq++
	m = f.Payload()
	if more := f.Flags()&codec.FlagMore != 0; more || len(w.half) > 0 {
		w.half = append(w.half, m...)
		if m = nil; !more {
			m, w.half = w.half, w.half[:0]
		}
	}
	return m, len(f), nil
}

func (*frames) need(b []byte) int {
	if len(b) < codec.HeaderSize {
		return codec.HeaderSize
	}
	return lengthSize + int(binary.BigEndian.Uint32(b)) // as codec.Next found
}
