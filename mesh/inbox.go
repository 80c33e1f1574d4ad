package mesh

// inbox is what arrived and was not taken yet, oldest first. While the node is paused what arrives is held at its end:
// it is there and counted, but not ready. Pure; intake owns it.
type inbox struct {
	items []item
	head  int // items[:head] have been taken
	held  int // the last so many are not ready
}

func (b *inbox) len() int   { return len(b.items) - b.head }
func (b *inbox) ready() int { return b.len() - b.held }

// push adds the newest message.
func (b *inbox) push(m item, ready bool) {
	if b.head > 0 && len(b.items) == cap(b.items) && b.head >= len(b.items)/2 {
		n := copy(b.items, b.items[b.head:])
		clear(b.items[n:])
		b.items, b.head = b.items[:n], 0
	}
	b.items = append(b.items, m)
	if !ready {
		b.held++
	}
}

// release makes all of it ready.
func (b *inbox) release() { b.held = 0 }

// popOldest takes the oldest; there must be one ready.
func (b *inbox) popOldest() item {
	m := b.items[b.head]
	b.items[b.head] = item{}
	b.head++
	if b.head == len(b.items) {
		b.items, b.head = b.items[:0], 0
	}
	return m
}

// popNewest takes the newest that is ready; there must be one.
func (b *inbox) popNewest() item {
	i := len(b.items) - b.held - 1
	m := b.items[i]
	copy(b.items[i:], b.items[i+1:])
	b.items[len(b.items)-1] = item{}
	b.items = b.items[:len(b.items)-1]
	if b.head == len(b.items) {
		b.items, b.head = b.items[:0], 0
	}
	return m
}
