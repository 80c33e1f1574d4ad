package load

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"time"
)

// Side is one of those that are compared. For one goroutine.
type Side interface {
	// Round runs one more round of a workload. It opens what that needs, and keeps it for the next round of the same workload.
	// The error is ErrSkip if the workload makes no sense for it.
	Round(ctx context.Context, w Work, d time.Duration) (Measure, error)
	// Rest closes what rounds have opened.
	Rest()
	// Close ends it.
	Close()
}

// NewSide makes a side of what opens a way for a workload.
func NewSide(open func(ctx context.Context, w Work) (*Way, error)) Side { return &local{open: open} }

// openFor is how long all clients of a workload may take to connect. A thousand, who all hear of each other, take 10 s on two
// cores that have nothing else to do.
const openFor = 2 * time.Minute

type local struct {
	open  func(ctx context.Context, w Work) (*Way, error)
	work  Work
	way   *Way
	round uint32
}

func (l *local) Round(ctx context.Context, w Work, d time.Duration) (Measure, error) {
	if l.way == nil || l.work != w {
		l.Rest()
		opening, cancel := context.WithTimeout(ctx, openFor)
		defer cancel()
		way, err := l.open(opening, w)
		if err != nil && opening.Err() != nil && ctx.Err() == nil {
			err = fmt.Errorf("not all its clients were connected after %v; take a workload with fewer, or a machine with less to do: %w", openFor, err)
		}
		if err != nil {
			return Measure{}, err
		}
		l.way, l.work = way, w
	}
	l.round++
	return Run(ctx, l.way, w, l.round, d)
}

func (l *local) Rest() {
	if l.way != nil {
		l.way.Close()
		l.way = nil
	}
}

func (l *local) Close() { l.Rest() }

// roundRequest is what another program is asked to run, one JSON object a line; without a name it is to close what it has open.
type roundRequest struct {
	Work    Work    `json:"work"`
	Seconds float64 `json:"seconds"`
}

type roundAnswer struct {
	Measure
	Skip  bool   `json:"skip,omitempty"`
	Error string `json:"error,omitempty"`
}

// Outside makes a side of another program, which calls Serve.
func Outside(cmd *exec.Cmd) (Side, error) {
	o := &outside{}
	if err := o.pipe.start(cmd); err != nil {
		return nil, err
	}
	return o, nil
}

type outside struct{ pipe pipe }

func (o *outside) Round(ctx context.Context, w Work, d time.Duration) (Measure, error) {
	stop := context.AfterFunc(ctx, func() { _ = o.pipe.cmd.Process.Kill() }) // else the call would go on
	defer stop()
	var a roundAnswer
	err := o.pipe.call(roundRequest{w, d.Seconds()}, &a)
	switch {
	case err != nil:
		return Measure{}, errors.Join(err, ctx.Err())
	case a.Skip:
		return Measure{}, ErrSkip
	case a.Error != "":
		return a.Measure, errors.New(a.Error)
	}
	return a.Measure, nil
}

func (o *outside) Rest() {
	var a roundAnswer
	_ = o.pipe.call(roundRequest{}, &a) // what is wrong shows in the next round
}

func (o *outside) Close() { o.pipe.close() }

// Serve is the other side of Outside: it runs on a side what is asked on in, and answers on out, until in ends.
func Serve(ctx context.Context, in io.Reader, out io.Writer, s Side) error {
	defer s.Close()
	d, e := json.NewDecoder(in), json.NewEncoder(out)
	for {
		var request roundRequest
		if err := d.Decode(&request); err != nil {
			if err == io.EOF {
				return nil
			}
			return err
		}
		var a roundAnswer
		if request.Work.Name == "" {
			s.Rest()
		} else {
			m, err := s.Round(ctx, request.Work, time.Duration(request.Seconds*float64(time.Second)))
			a.Measure = m
			if a.Skip = errors.Is(err, ErrSkip); err != nil && !a.Skip {
				a.Error = err.Error()
			}
		}
		if err := e.Encode(a); err != nil {
			return err
		}
	}
}
