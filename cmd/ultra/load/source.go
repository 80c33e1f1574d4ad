package load

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"
)

// HeaderSize is how much of every message, and all of an answer, says which it is: source, round, number.
const HeaderSize = 16

// lastFlag marks the last message of a source to a target.
const lastFlag = 1 << 63

// Source makes the messages of one sender, or one of those who ask at once. For one goroutine.
type Source struct {
	id    uint32
	round uint32
	size  int
	stop  *atomic.Bool
	pool  []byte // of which messages are cut, so that none of those near each other has the same bytes
	at    int
	next  []uint64 // number of the next message to each target
}

// Sizes of a source's pool: more than any compressor or frame looks back.
const (
	poolSize     = 256 << 10 // at least, and what the outlets may gather, twice
	poolSizeAsks = 16 << 10  // of one who asks: there are many, each with a message at a time
	poolMessages = 4         // at least
)

func newSource(w Work, id, round uint32, pool, targets int, stop *atomic.Bool) *Source {
	n := max(pool/w.Size, poolMessages) * w.Size
	s := &Source{id: id, round: round, size: w.Size, stop: stop, next: make([]uint64, targets)}
	if w.Telemetry {
		s.pool = readings(n, w.Size)
	} else {
		s.pool = make([]byte, n)
		var seed [32]byte
		binary.LittleEndian.PutUint32(seed[:], id)
		binary.LittleEndian.PutUint32(seed[4:], round)
		rand.NewChaCha8(seed).Read(s.pool)
	}
	return s
}

// Next makes the next message to a target, the last one if the time is over. Its bytes stay as they are for as long as an
// Outlet needs them; of one that is asked, until the call after.
func (s *Source) Next(target int) (m []byte, last bool) {
	last = s.stop.Load()
	return s.make(target, last), last
}

func (s *Source) make(target int, last bool) []byte {
	if s.at += s.size; s.at+s.size > len(s.pool) {
		s.at = 0
	}
	m := s.pool[s.at : s.at+s.size : s.at+s.size]
	number := s.next[target]
	s.next[target]++
	if last {
		number |= lastFlag
	}
	binary.LittleEndian.PutUint32(m, s.id)
	binary.LittleEndian.PutUint32(m[4:], s.round)
	binary.LittleEndian.PutUint64(m[8:], number)
	return m
}

// sent is how many messages were made.
func (s *Source) sent() (n uint64) {
	for _, next := range s.next {
		n += next
	}
	return n
}

// readings are messages as a machine sends them, of that size each, n bytes together: what its sensors say every 100 ms, as JSON.
func readings(n, size int) []byte {
	rnd := rand.New(rand.NewPCG(1, 2))
	temperature, humidity, pressure, current, vibration := 21.5, 45.2, 1013.2, 3.21, 0.84
	walk := func(v *float64, step float64) float64 {
		*v += step * rnd.NormFloat64()
		return *v
	}
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	out := make([]byte, 0, n+size)
	for len(out) < n {
		m := append(make([]byte, HeaderSize), `{"device":"press-17","line":3,"readings":[`...)
		for len(m) < size {
			at = at.Add(100 * time.Millisecond)
			m = fmt.Appendf(m, `{"time":"%s","temperature":%.2f,"humidity":%.1f,"pressure":%.1f,"current":%.3f,"vibration":%.3f,"state":"running"},`,
				at.Format("2006-01-02T15:04:05.000Z"), walk(&temperature, 0.02), walk(&humidity, 0.1), walk(&pressure, 0.1), walk(&current, 0.05), walk(&vibration, 0.02))
		}
		out = append(out, m[:size]...)
	}
	return out[:n]
}
