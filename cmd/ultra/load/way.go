package load

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"time"
)

// ErrSkip is the error of a way that a workload makes no sense for.
var ErrSkip = errors.New("this workload is left out")

// Way leads messages from clients in this process to others in it, through another process. Who makes one fills in what
// the workload needs. Each outlet, inlet and asker is used by one goroutine at a time.
type Way struct {
	Outs  [][]Outlet // of each of Work.Streams, one for each of its Targets
	Asker Asker      // for Work.Asks
	Ins   []In       // where all those arrive
	// Link opens an idle link, for Work.Links.
	Link func(ctx context.Context, i int) (io.Closer, error)

	// Usage is what the process in between has used; settled: after it has given back what memory it can. nil: not known.
	Usage func(settled bool) (Usage, error)
	// Wire is how many bytes all clients have written and read; nil: not known.
	Wire func() uint64
	// Settle waits until nothing is under way, and says what went wrong that nobody was told; nil: nothing to wait for.
	Settle func(ctx context.Context) error
	Close  func()
}

// Gathered is how many bytes of messages an outlet may have sent through it before it is done with the first of them.
const Gathered = 16 << 10

// Outlet sends the messages of one sender to one receiver.
type Outlet interface {
	// Send queues m, whose bytes stay as they are until Flush has returned, or [Gathered] more bytes have been sent through
	// this outlet. It waits when too much is queued.
	Send(ctx context.Context, m []byte) error
	// Flush makes what is queued leave.
	Flush() error
}

// In is an inlet, and from how many sources messages come to it: senders, and callers.
type In struct {
	Inlet
	Sources int
}

// Inlet is where messages arrive at one receiver.
type Inlet interface {
	// Take calls f with every message until f returns false or ctx ends; m is f's until it returns. Calls do not overlap.
	Take(ctx context.Context, f func(m []byte) bool) error
}

// Asker sends messages that are answered.
type Asker interface {
	// Ask runs the callers of a round until each has had the answer to its last message.
	Ask(ctx context.Context, a *Asks) error
}

// Asks is what an Asker needs from a round. Its methods are safe for concurrent use by different callers.
type Asks struct {
	Outstanding int // messages that each caller has on the way at most
	sources     []*Source
	answers     *tally
	timed       bool
	times       []time.Duration
}

// Callers is how many callers there are.
func (a *Asks) Callers() int { return len(a.sources) }

// Source is that of the i-th caller. It makes messages to target 0.
func (a *Asks) Source(i int) *Source { return a.sources[i] }

// Began is the time at which a message is about to be sent, if times are wanted.
func (a *Asks) Began() (t time.Time) {
	if a.timed {
		t = time.Now()
	}
	return t
}

// Answered notes the time from began to now, if times are wanted: then only one message is outstanding.
func (a *Asks) Answered(began time.Time) {
	if a.timed {
		a.times = append(a.times, time.Since(began))
	}
}

// Check counts an answer, which is the first HeaderSize bytes of the message, and says whose it is: the i-th caller's, or -1.
// Ways whose answers the program does not see leave it out. Calls do not overlap.
func (a *Asks) Check(answer []byte) (caller int) {
	a.answers.take(answer)
	if len(answer) != HeaderSize {
		return -1
	}
	caller = int(binary.LittleEndian.Uint32(answer)) - int(a.sources[0].id)
	if caller < 0 || caller >= len(a.sources) {
		return -1
	}
	return caller
}
