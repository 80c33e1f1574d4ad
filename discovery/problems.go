package discovery

import (
	"cmp"
	"log/slog"
	"slices"
	"sync"
)

// Problem is something that cannot work now, and why: one sentence with the mend.
type Problem struct {
	Code string // one of the Problem constants, for programs
	Text string // for people
}

// Codes of problems.
const (
	ProblemInterface = "interface" // no network interface to work on
	ProblemMulticast = "multicast" // an interface on which mDNS cannot work
	ProblemPort      = "mdns-port" // UDP port 5353 is held by a program that does not share it
	ProblemSeed      = "seed"      // a seed that cannot be an address
)

// problems is the list of what cannot work now. Safe for concurrent use.
type problems struct {
	log *slog.Logger

	mu  sync.Mutex
	now map[Problem]bool // guarded by mu
}

// set replaces all problems of a code. What was not there before is logged, once.
func (p *problems) set(code string, texts ...string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.now == nil {
		p.now = make(map[Problem]bool)
	}
	for old := range p.now {
		if old.Code == code && !slices.Contains(texts, old.Text) {
			delete(p.now, old)
			p.log.Info("mended", "problem", old.Code, "was", old.Text)
		}
	}
	for _, text := range texts {
		if problem := (Problem{code, text}); !p.now[problem] {
			p.now[problem] = true
			p.log.Warn(text, "problem", code)
		}
	}
}

// list returns the problems of this moment, in a fixed order.
func (p *problems) list() []Problem {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := make([]Problem, 0, len(p.now))
	for problem := range p.now {
		all = append(all, problem)
	}
	slices.SortFunc(all, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.Code, b.Code), cmp.Compare(a.Text, b.Text))
	})
	return all
}
