package mesh

import (
	"maps"
	"slices"
	"strings"
	"sync"
)

const maxFailures = 4096 // names and reasons told apart between two calls of Flush

// failures sums up what was given up. Safe for concurrent use.
type failures struct {
	mu   sync.Mutex
	sums map[failure]*UndeliveredError // since the last Flush
}

// failure is what one UndeliveredError is about.
type failure struct{ to, reason string }

// note keeps what was given up for the next Flush, and sums it up by reason.
func (f *failures) note(to string, given []givenUp) []*UndeliveredError {
	if len(given) == 0 {
		return nil
	}
	sums := make(map[failure]*UndeliveredError)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.sums == nil {
		f.sums = make(map[failure]*UndeliveredError)
	}
	for _, g := range given {
		countFailed(sums, to, g, g.count)
		if g.told < g.count {
			countFailed(f.sums, to, g, g.count-g.told)
		}
	}
	return slices.Collect(maps.Values(sums))
}

// countFailed adds n messages given up to what is told about their name and reason.
func countFailed(sums map[failure]*UndeliveredError, to string, g givenUp, n int) {
	key := failure{to, g.reason.Error()}
	e := sums[key]
	if e == nil && len(sums) >= maxFailures {
		key = failure{"other names", ErrExpired.Error()}
		e = sums[key]
	}
	if e == nil {
		e = &UndeliveredError{To: key.to, Reason: g.reason}
		sums[key] = e
	}
	e.Count += n
	if g.unsent {
		e.Unsent += n
	}
}

// take takes what was given up since it was last called, in the order of the names.
func (f *failures) take() (errs []error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, e := range f.sums {
		errs = append(errs, e)
	}
	clear(f.sums)
	slices.SortFunc(errs, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return errs
}
