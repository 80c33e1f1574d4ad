package relay

import "sync"

const (
	// chunkSize is the unit of memory of a busy outbox. With the 18 bytes that
	// the secure channel adds, one chunk is one record within 64 KiB.
	chunkSize = 64<<10 - 32
	// firstChunk is the size of the first chunk of an outbox that was empty, so
	// that a few bytes for each of thousands of links do not cost 64 KiB each.
	firstChunk = 4 << 10
	// turnChunks is the most that one write takes.
	turnChunks = 4
)

// chunk is a piece of an outbox: len(b) bytes are used.
type chunk struct{ b []byte }

var (
	bigChunks   = sync.Pool{New: func() any { return &chunk{make([]byte, 0, chunkSize)} }}
	smallChunks = sync.Pool{New: func() any { return &chunk{make([]byte, 0, firstChunk)} }}
)

func newChunk(small bool) *chunk {
	if small {
		return smallChunks.Get().(*chunk)
	}
	return bigChunks.Get().(*chunk)
}

func (c *chunk) free() {
	small := cap(c.b) == firstChunk
	c.b = c.b[:0]
	if small {
		smallChunks.Put(c)
	} else {
		bigChunks.Put(c)
	}
}
