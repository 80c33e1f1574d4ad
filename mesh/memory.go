package mesh

import (
	"sync"

	"ultrasockets/codec"
)

// The memory of messages that share a frame comes in three sizes, and is used again: what a stream or an inbox holds may
// cost a few times what it counts, never more.
const (
	smallMemory  = 512
	mediumMemory = 4 << 10
	largeMemory  = codec.MaxPayload
)

var (
	smallPieces  = sync.Pool{New: func() any { return new([smallMemory]byte) }}
	mediumPieces = sync.Pool{New: func() any { return new([mediumMemory]byte) }}
	largePieces  = sync.Pool{New: func() any { return new([largeMemory]byte) }}
)

// takeMemory gives a piece of memory for n bytes, empty; n is at most largeMemory.
func takeMemory(n int) []byte {
	switch {
	case n <= smallMemory:
		return smallPieces.Get().(*[smallMemory]byte)[:0]
	case n <= mediumMemory:
		return mediumPieces.Get().(*[mediumMemory]byte)[:0]
	}
	return largePieces.Get().(*[largeMemory]byte)[:0]
}

// giveBack takes back what takeMemory gave; nobody uses it any more. It lets others pass.
func giveBack(b []byte) {
	switch cap(b) {
	case smallMemory:
		smallPieces.Put((*[smallMemory]byte)(b[:smallMemory]))
	case mediumMemory:
		mediumPieces.Put((*[mediumMemory]byte)(b[:mediumMemory]))
	case largeMemory:
		largePieces.Put((*[largeMemory]byte)(b[:largeMemory]))
	}
}
