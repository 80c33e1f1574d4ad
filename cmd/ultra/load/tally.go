package load

import "encoding/binary"

// maxMissing bounds the numbers that a tally remembers as missing; beyond it what comes late counts as repeated.
const maxMissing = 1 << 20

// tally checks what arrives at one place: the messages of each source once each, in the order of their numbers.
// For one goroutine.
type tally struct {
	size    int
	round   uint32
	next    []uint64            // of each source, the number that is expected
	missing map[missed]struct{} // numbers below that which have not come
	lasts   int                 // sources that are done

	got, repeated, disordered, damaged uint64
}

type missed struct {
	source uint32
	number uint64
}

func newTally(size, sources int, round uint32) *tally {
	return &tally{size: size, round: round, next: make([]uint64, sources)}
}

// Last tells whether a message, or its answer, is its source's last one.
func Last(m []byte) bool { return binary.LittleEndian.Uint64(m[8:])&lastFlag != 0 }

// take counts a message.
func (t *tally) take(m []byte) {
	t.got++
	if len(m) != t.size {
		t.damaged++
		return
	}
	source := binary.LittleEndian.Uint32(m)
	if binary.LittleEndian.Uint32(m[4:]) != t.round || source >= uint32(len(t.next)) {
		t.damaged++
		return
	}
	number := binary.LittleEndian.Uint64(m[8:])
	if number&lastFlag != 0 {
		number &^= lastFlag
		t.lasts++
	}
	if want := t.next[source]; number != want {
		t.outOfTurn(source, number, want)
		return
	}
	t.next[source]++
}

func (t *tally) outOfTurn(source uint32, number, want uint64) {
	if number < want {
		key := missed{source, number}
		if _, ok := t.missing[key]; ok {
			delete(t.missing, key)
			t.disordered++
		} else {
			t.repeated++
		}
		return
	}
	if t.missing == nil {
		t.missing = make(map[missed]struct{})
	}
	for ; want < number && len(t.missing) < maxMissing; want++ {
		t.missing[missed{source, want}] = struct{}{}
	}
	t.next[source] = number + 1
}

// add counts what a tally has seen.
func (m *Measure) add(t *tally) {
	m.Got += t.got
	m.Repeated += t.repeated
	m.Disordered += t.disordered
	m.Damaged += t.damaged
}

// seal says what was lost, of that many sent.
func (m *Measure) seal(sent uint64) {
	m.Sent += sent
	if arrived := m.Got - m.Repeated - m.Damaged; arrived < m.Sent {
		m.Lost = m.Sent - arrived
	}
}
