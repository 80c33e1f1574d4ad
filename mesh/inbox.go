package mesh

// inbox is what arrived and was not taken yet, oldest first. While the node is paused what arrives is held at its end:
// it is there and counted, but not ready. Pure; intake owns it.
type inbox struct {
	fifo[item]
	held int // the last so many are not ready
}

func (b *inbox) ready() int { return b.len() - b.held }

// add adds the newest message.
func (b *inbox) add(m item, ready bool) {
	b.push(m)
	if !ready {
		b.held++
	}
}

// release makes all of it ready.
func (b *inbox) release() { b.held = 0 }

// popNewest takes the newest that is ready; there must be one.
func (b *inbox) popNewest() item { return b.remove(b.ready() - 1) }
