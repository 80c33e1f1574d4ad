package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"ultrasockets/mesh"
)

const pingHelp = `Measure the round trip to the node NAME and back, through the relay, until --count pings are done or an
interrupt. The node itself answers, not its application: also a paused one does. A ping that is not answered
within 1s is lost. NAME is waited for until --timeout. At the end: how many were sent and lost, and of the
round trips the smallest, the median, the 99th percentile and the largest (of the newest 65536).
The exit code is 1 if nothing came back.

With --json a line a ping, {"seq","name","relay","rtt_ms"}, rtt_ms null and "lost" with the reason if there was no
answer; then {"name","relay","sent","answered","lost","min_ms","median_ms","p99_ms","max_ms"}.`

const pingExamples = `  ultra ping pc1                       every second, until Ctrl-C
  ultra ping pc1 -c 100 -i 10ms
  ultra ping pc1 -c 20 --json | tail -n 1 | jq .median_ms`

type pingFlags struct {
	meshFlags
	count    int
	interval time.Duration
}

func newPing() *cobra.Command {
	f := &pingFlags{}
	cmd := &cobra.Command{
		Use:     "ping NAME",
		Short:   "Measure the round trip to a node",
		Long:    pingHelp,
		Example: pingExamples,
		Args:    exactlyName,
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.IntVarP(&f.count, "count", "c", 0, "how many pings; 0 without end")
	flags.DurationVarP(&f.interval, "interval", "i", time.Second, "from one ping to the next; 0: at once after the answer")
	f.addTo(cmd)
	f.completeNames(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		switch {
		case f.count < 0:
			return usageError{fmt.Errorf("--count is %d; it must not be negative", f.count)}
		case f.interval < 0:
			return usageError{fmt.Errorf("--interval is %v; it must not be negative", f.interval)}
		}
		return f.run(cmd.Context(), args[0], cmd.OutOrStdout())
	}
	return cmd
}

// exactlyName wants one argument, the name of a node.
func exactlyName(cmd *cobra.Command, args []string) error {
	if len(args) == 0 || args[0] == "" {
		return usageError{fmt.Errorf("which node? Write: ultra %s", cmd.Use)}
	}
	return atMost(1, "NAME")(cmd, args)
}

func (f *pingFlags) run(ctx context.Context, name string, out io.Writer) error {
	node, err := f.visitName(ctx, name)
	if err != nil {
		return err
	}
	defer node.Close()
	p := &pinger{pingFlags: f, node: node, name: name, out: out}
	if err := p.run(ctx); err != nil {
		return err
	}
	if p.answered == 0 {
		return fmt.Errorf("nothing came back from %s", name)
	}
	return nil
}

// keptTrips are as many round trips as a median is taken of.
const keptTrips = 1 << 16

// pinger pings one node. For one goroutine.
type pinger struct {
	*pingFlags
	node *mesh.Node
	name string
	out  io.Writer

	sent, answered int
	trips          []time.Duration // the newest, in no order once there are keptTrips
}

// run pings until the count is done, or ctx or the node ends.
func (p *pinger) run(ctx context.Context) error {
	if err := p.begin(); err != nil {
		return err
	}
	pace := time.NewTimer(0)
	defer pace.Stop()
	for p.count == 0 || p.sent < p.count {
		select {
		case <-pace.C:
		case <-ctx.Done():
			return p.end()
		case <-p.node.Done():
			return errors.Join(p.end(), fmt.Errorf("the mesh has put this visitor out: %w", p.node.Err()))
		}
		pace.Reset(p.interval)
		if err := p.one(ctx); err != nil {
			return err
		}
	}
	return p.end()
}

// one sends one ping and waits for its answer. One that an interrupt cuts short does not count.
func (p *pinger) one(ctx context.Context) error {
	bounded, cancel := context.WithTimeout(ctx, pingTime)
	defer cancel()
	relay := p.node.Relay()
	rtt, err := p.node.Ping(bounded, p.name)
	if err != nil && ctx.Err() != nil {
		return nil
	}
	p.sent++
	if err == nil {
		if p.answered++; len(p.trips) < keptTrips {
			p.trips = append(p.trips, rtt)
		} else {
			p.trips[p.answered%keptTrips] = rtt
		}
	}
	return p.tell(relay, rtt, p.lost(err))
}

// lost says why a ping had no answer; "" if it had.
func (p *pinger) lost(err error) string {
	switch {
	case err == nil:
		return ""
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Sprintf("no answer within %v", pingTime)
	case p.node.Relay() == "":
		return "there is no relay at the moment"
	case errors.Is(err, mesh.ErrNoPeer):
		return "it is not here at the moment"
	}
	return oneLine(err)
}

func (p *pinger) begin() error {
	if p.json {
		return nil
	}
	_, err := fmt.Fprintf(p.out, "ping of %s in mesh %q, %s\n", p.name, p.node.Mesh(), p.way(p.node.Relay()))
	return err
}

// way says what lies between this visitor and the node.
func (p *pinger) way(relay string) string {
	if relay == p.name {
		return "which is the relay itself"
	}
	return "through relay " + textOr(relay)
}

func (p *pinger) tell(relay string, rtt time.Duration, lost string) error {
	var err error
	switch {
	case p.json:
		t := pingEntry{Seq: p.sent, Name: p.name, Relay: relay, Lost: lost}
		if lost == "" {
			ms := milliseconds(rtt)
			t.RTT = &ms
		}
		_, err = fmt.Fprintf(p.out, "%s\n", jsonLine(t))
	case lost != "":
		_, err = fmt.Fprintf(p.out, "%d  lost: %s\n", p.sent, lost)
	default:
		_, err = fmt.Fprintf(p.out, "%d  %.3f ms  relay %s\n", p.sent, milliseconds(rtt), textOr(relay))
	}
	return err
}

type pingEntry struct {
	Seq   int      `json:"seq"`
	Name  string   `json:"name"`
	Relay string   `json:"relay"`
	RTT   *float64 `json:"rtt_ms"`
	Lost  string   `json:"lost,omitempty"`
}

// pingSummary is what all pings came to; without answers there are no times.
type pingSummary struct {
	Name     string   `json:"name"`
	Relay    string   `json:"relay"`
	Sent     int      `json:"sent"`
	Answered int      `json:"answered"`
	Lost     int      `json:"lost"`
	Min      *float64 `json:"min_ms"`
	Median   *float64 `json:"median_ms"`
	P99      *float64 `json:"p99_ms"`
	Max      *float64 `json:"max_ms"`
}

// end prints the summary.
func (p *pinger) end() error {
	s := pingSummary{Name: p.name, Relay: p.node.Relay(), Sent: p.sent, Answered: p.answered, Lost: p.sent - p.answered}
	slices.Sort(p.trips)
	for _, q := range []struct {
		to   **float64
		part float64
	}{{&s.Min, 0}, {&s.Median, 0.5}, {&s.P99, 0.99}, {&s.Max, 1}} {
		if len(p.trips) > 0 {
			ms := milliseconds(quantile(p.trips, q.part))
			*q.to = &ms
		}
	}
	text := string(jsonLine(s))
	if !p.json {
		text = s.String()
	}
	_, err := fmt.Fprintln(p.out, text)
	return err
}

// quantile is the smallest of sorted times that a part of them, from 0 to 1, does not exceed.
func quantile(sorted []time.Duration, part float64) time.Duration {
	return sorted[max(0, int(math.Ceil(part*float64(len(sorted))))-1)]
}

func (s pingSummary) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d sent, %d answered, %d lost", s.Sent, s.Answered, s.Lost)
	if s.Lost > 0 {
		fmt.Fprintf(&b, " (%.1f %%)", 100*float64(s.Lost)/float64(s.Sent))
	}
	if s.Answered > 0 {
		fmt.Fprintf(&b, "; round trip min %.3f, median %.3f, p99 %.3f, max %.3f ms", *s.Min, *s.Median, *s.P99, *s.Max)
	}
	return b.String()
}
