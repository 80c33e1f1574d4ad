package relay

import "sync"

const (
	// chunkSize is the unit of memory of a busy outbox. With the 18 bytes that
	// the secure channel adds, one chunk is one record within 64 KiB.
	chunkSize = 64<<10 - 32
	// firstChunk is the size of the first chunk of an outbox that was empty, so
	// that a few bytes for each of thousands of links do not cost 64 KiB each.
	firstChunk = 4 << 10
	// headChunk is the size of a chunk between two payloads that are referred to: it holds the second one's header.
	headChunk = 256
	// turnBytes and turnPieces are about the most that one write takes; the last piece may be a whole read more.
	turnBytes  = 256 << 10
	turnPieces = 64
)

// piece is a part of what an outbox holds: a chunk of its own, or memory that it refers to.
type piece struct {
	chunk  *chunk // nil: it is not its own
	held   []byte
	memory *Memory
}

func (p *piece) bytes() []byte {
	if p.chunk != nil {
		return p.chunk.b
	}
	return p.held
}

func (p *piece) free() {
	if p.chunk != nil {
		p.chunk.free()
	}
	p.memory.Release()
	*p = piece{}
}

// chunk is a piece of an outbox: len(b) bytes are used.
type chunk struct{ b []byte }

var (
	bigChunks   = sync.Pool{New: func() any { return &chunk{make([]byte, 0, chunkSize)} }}
	smallChunks = sync.Pool{New: func() any { return &chunk{make([]byte, 0, firstChunk)} }}
	headChunks  = sync.Pool{New: func() any { return &chunk{make([]byte, 0, headChunk)} }}
)

// newChunk gives the smallest chunk of at least so many bytes, or the largest.
func newChunk(size int) *chunk {
	switch {
	case size <= headChunk:
		return headChunks.Get().(*chunk)
	case size <= firstChunk:
		return smallChunks.Get().(*chunk)
	}
	return bigChunks.Get().(*chunk)
}

func (c *chunk) free() {
	size := cap(c.b)
	c.b = c.b[:0]
	switch size {
	case headChunk:
		headChunks.Put(c)
	case firstChunk:
		smallChunks.Put(c)
	default:
		bigChunks.Put(c)
	}
}
