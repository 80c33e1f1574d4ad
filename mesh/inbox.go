package mesh

// inbox is what arrived and was not taken yet, oldest first. While the node is paused what arrives is held at its end:
// it is there and counted, but not ready. Pure; intake owns it.
type inbox struct {
	fifo[parcel]
	held     int // the last so many parcels are not ready
	messages int // in all of them
}

func (b *inbox) ready() int { return b.len() - b.held }

// add adds the newest parcel.
func (b *inbox) add(p parcel, ready bool) {
	b.push(p)
	b.messages += p.left
	if !ready {
		b.held++
	}
}

// release makes all of it ready.
func (b *inbox) release() { b.held = 0 }

// pop takes the oldest parcel.
func (b *inbox) pop() parcel {
	p := b.fifo.pop()
	b.messages -= p.left
	return p
}

// putBack puts parcels back that were popped last.
func (b *inbox) putBack(list []parcel) {
	b.fifo.putBack(list)
	for i := range list {
		b.messages += list[i].left
	}
}

// newest is the newest parcel that is ready; there must be one.
func (b *inbox) newest() *parcel { return b.at(b.ready() - 1) }

// popNewest takes it.
func (b *inbox) popNewest() parcel {
	p := b.remove(b.ready() - 1)
	b.messages -= p.left
	return p
}
