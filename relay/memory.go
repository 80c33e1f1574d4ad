package relay

import (
	"math/bits"
	"sync"
	"sync/atomic"
)

// Memory is a piece of memory from a pool: of a payload on its way out, or of what one read brought, of which nothing is read over
// while others hold it. It goes back when all who hold it have released it. A nil Memory stands for
// memory that the garbage collector looks after; its methods do nothing. Safe for concurrent use, but for what it holds.
type Memory struct {
	b     []byte
	class int // of memoryPools; -1: none
	refs  atomic.Int32
}

// The sizes of pooled memory are the powers of two from leastMemory on; what is larger than mostMemory is not pooled.
const (
	leastMemory   = 512
	mostMemory    = 4 << 20
	memoryClasses = 14
)

var memoryPools [memoryClasses]sync.Pool

// NewMemory gives memory for n bytes, at most twice as much and at least 512. The caller holds it.
func NewMemory(n int) *Memory {
	class := max(0, bits.Len(uint(n-1))-bits.Len(leastMemory-1))
	if n <= 0 {
		class = 0
	}
	if n > mostMemory {
		m := &Memory{b: make([]byte, 0, n), class: -1}
		m.refs.Store(1)
		return m
	}
	m, _ := memoryPools[class].Get().(*Memory)
	if m == nil {
		m = &Memory{b: make([]byte, 0, leastMemory<<class), class: class}
	}
	m.refs.Store(1)
	return m
}

// Bytes is the memory, an empty slice. What is appended to it is the holder's affair.
func (m *Memory) Bytes() []byte {
	if m == nil {
		return nil
	}
	return m.b[:0]
}

// Size is how many bytes it has room for.
func (m *Memory) Size() int {
	if m == nil {
		return 0
	}
	return cap(m.b)
}

// Holders is how many hold it, as of now.
func (m *Memory) Holders() int {
	if m == nil {
		return 0
	}
	return int(m.refs.Load())
}

// Retain makes somebody else a holder too.
func (m *Memory) Retain() {
	if m != nil {
		m.refs.Add(1)
	}
}

// Release ends the hold of one holder.
func (m *Memory) Release() {
	if m != nil && m.refs.Add(-1) == 0 && m.class >= 0 {
		memoryPools[m.class].Put(m)
	}
}
