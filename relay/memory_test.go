package relay

import "testing"

// TestMemory: it is large enough, not much too large, and used again only when all have released it.
func TestMemory(t *testing.T) {
	for _, n := range []int{0, 1, 511, 512, 513, 1024, 1025, 16 << 10, 1<<20 - 1, 1 << 20, 1<<20 + 1, 2<<20 + 1, 4 << 20, 4<<20 + 1, 5 << 20} {
		m := NewMemory(n)
		if c := cap(m.Bytes()); c < n || c > max(leastMemory, 2*n) || len(m.Bytes()) != 0 {
			t.Errorf("for %d bytes: %d of %d", n, len(m.Bytes()), c)
		}
		m.Retain()
		m.Release()
		again := NewMemory(n)
		if again == m {
			t.Errorf("%d bytes are given to two", n)
		}
		again.Release()
		m.Release()
	}
	var none *Memory
	none.Retain()
	none.Release()
	if none.Bytes() != nil {
		t.Error("no memory has bytes")
	}
}
