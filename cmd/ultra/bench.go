package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"ultrasockets/cmd/ultra/load"
	"ultrasockets/mesh"
)

const benchHelp = `Measure how fast a mesh is on this machine. A relay is started as a process of its own; this process is all the
clients. Every workload sends for --duration, in --rounds rounds with everything started and emptied each
time, and prints the medians. Every message has a number, and every receiver checks that each comes once and in order,
as it always must: else the exit code is 1.

--against splice also measures a bare TCP forwarder in place of the relay, which promises nothing; --against
simplex the same where messages are answered, with a connection of their own for the answers, as for all other
messages; --against frames the first one with a mesh's frames, one for each message, checksums verified, and no
contract; and --against PROGRAM another broker (testdata/bench/nats has one); their rounds and ours take turns, so
that noise hits both alike, and the line "ratio" is the median of round against round.

The columns: messages and MiB of payload a second; round trips in microseconds, where one message at a time is
answered; CPU seconds per million messages of the relay, and of this process (all clients together); objects
allocated per message in each; the relay's memory in MiB; and messages lost / repeated / out of order.

With --json, one object a line: first this machine, then each workload and side. A figure that is not known
is not there. "spread" is the slowest and the fastest round.`

const benchExamples = `  ultra bench
  ultra bench --against splice
  ultra bench --work 1to1-128,rtt --duration 10s --rounds 9
  ultra bench --work idle --links 5000
  taskset -c 0 ultra bench --work rtt --against splice
  ultra bench --work 1to1-128 --cpuprofile clients.prof --relay-cpuprofile relay.prof`

type benchFlags struct {
	works        []string
	list         bool
	duration     time.Duration
	rounds       int
	links        int
	hostname     string
	against      []string
	json         bool
	profile      string
	relayProfile string
}

const (
	againstSplice  = "splice"
	againstSimplex = "simplex"
	againstFrames  = "frames"
	oursName       = "ultra"
	warmPart       = 4 // the round that does not count takes a fourth of the time of the others
	maxLinks       = 15_000
)

// bareSides are the bare forwarders to compare with.
var bareSides = map[string]bareSide{
	againstSplice:  {wrap: newLengths},
	againstSimplex: {wrap: newLengths, simplex: true},
	againstFrames:  {wrap: newFrames},
}

func newBenchVerb() *cobra.Command {
	f := &benchFlags{}
	cmd := &cobra.Command{
		Use:     "bench",
		Short:   "Measure how fast a mesh is on this machine",
		Long:    benchHelp,
		Example: benchExamples,
		Args:    atMost(0, ""),
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringSliceVar(&f.works, "work", nil, "a workload of --list (repeatable, or with commas; default all)")
	flags.BoolVar(&f.list, "list", false, "list the workloads and do nothing")
	flags.DurationVar(&f.duration, "duration", 2*time.Second, "how long each workload sends on each side, all rounds together")
	flags.IntVar(&f.rounds, "rounds", 5, "how many rounds it is measured in")
	flags.IntVar(&f.links, "links", 1000, "how many links the workload idle opens")
	flags.StringVar(&f.hostname, "hostname", "", "HOST:PORT of a relay to use, in place of one of its own")
	flags.StringArrayVar(&f.against, "against", nil, "splice, simplex, frames, or a program, to compare with (repeatable)")
	flags.BoolVar(&f.json, "json", false, "write JSON, one object a line")
	flags.StringVar(&f.profile, "cpuprofile", "", "file for a CPU profile of this process, the clients")
	flags.StringVar(&f.relayProfile, "relay-cpuprofile", "", "file for a CPU profile of the relay; with one --work")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return f.run(cmd.Context(), cmd.OutOrStdout()) }
	return cmd
}

func (f *benchFlags) run(ctx context.Context, out io.Writer) error {
	works, err := f.chosen()
	if err != nil {
		return err
	}
	if f.list {
		for _, w := range works {
			fmt.Fprintf(out, "%-14s %s\n", w.Name, w.What)
		}
		fmt.Fprintln(out, "\nAlso with other numbers up to 500 and other sizes of 16 to 1m, such as 64to1-1k, 1to100-16 and 100pairs-4k.")
		return nil
	}
	return profiled(f.profile, func() error { return f.measure(ctx, works, out) })
}

// measure runs the workloads on all sides.
func (f *benchFlags) measure(ctx context.Context, works []load.Work, out io.Writer) error {
	b := &bencher{benchFlags: f, report: newBenchReport(out, f)}
	defer b.close()
	if err := b.openSides(); err != nil {
		return err
	}
	if err := b.report.begin(); err != nil {
		return err
	}
	return b.works(ctx, works)
}

// profiled calls f, with a CPU profile of it into a file; "": without one.
func profiled(file string, f func() error) error {
	if file == "" {
		return f()
	}
	end, err := load.Profile(file)
	if err != nil {
		return fmt.Errorf("--cpuprofile: %w", err)
	}
	return errors.Join(f(), end())
}

// chosen are the workloads to run.
func (f *benchFlags) chosen() ([]load.Work, error) {
	switch {
	case f.duration <= 0:
		return nil, usageError{fmt.Errorf("--duration is %v; it must be more than nothing", f.duration)}
	case f.rounds < 1 || f.rounds > 1000:
		return nil, usageError{fmt.Errorf("--rounds is %d; it must be between 1 and 1000", f.rounds)}
	case f.links < 1 || f.links > maxLinks:
		return nil, usageError{fmt.Errorf("--links is %d; it must be between 1 and %d", f.links, maxLinks)}
	case f.relayProfile != "" && (len(f.works) != 1 || f.hostname != ""):
		return nil, usageError{errors.New("--relay-cpuprofile needs one --work, and a relay of its own")}
	}
	works := load.Works
	if len(f.works) > 0 {
		works = nil
	}
	for _, name := range f.works {
		w, ok := load.Find(name)
		if !ok {
			return nil, usageError{fmt.Errorf("there is no workload %q; --list lists them", name)}
		}
		works = append(works, w)
	}
	works = slices.Clone(works)
	for i := range works {
		if works[i].Links > 0 {
			works[i].Links = f.links
		}
	}
	return works, nil
}

// bencher runs workloads on all sides in turn.
type bencher struct {
	*benchFlags
	report *benchReport
	ours   load.Side
	base   load.Side // ours again, for what a workload is compared with
	others []benchSide
	wrong  uint64 // messages of ours that did not arrive as they must
}

type benchSide struct {
	name string
	side load.Side
}

func (b *bencher) openSides() error {
	ours := meshSide{hostname: b.hostname, secret: mesh.NewSecret(), profile: b.relayProfile}
	base := ours
	base.profile = ""
	if b.hostname != "" { // others may be there
		ours.prefix, base.prefix = visitorName()+"-", visitorName()+"-"
	}
	b.ours, b.base = load.NewSide(ours.open), load.NewSide(base.open)
	for _, name := range b.against {
		if bare, ok := bareSides[name]; ok {
			b.others = append(b.others, benchSide{name, load.NewSide(bare.open)})
			continue
		}
		side, err := load.Outside(exec.Command(name))
		if err != nil {
			return usageError{fmt.Errorf("--against is %q; it must be splice, simplex, frames or a program that can be run: %w", name, err)}
		}
		b.others = append(b.others, benchSide{programName(name), side})
	}
	return nil
}

// programName is what a program is called in the table.
func programName(path string) string {
	name := path[strings.LastIndexAny(path, `/\`)+1:]
	return strings.TrimSuffix(name, ".exe")
}

func (b *bencher) close() {
	for _, s := range []load.Side{b.ours, b.base} {
		if s != nil {
			s.Close()
		}
	}
	for _, s := range b.others {
		s.side.Close()
	}
}

// works measures workloads. Messages of ours that did not arrive as they must are an error, in the end.
func (b *bencher) works(ctx context.Context, works []load.Work) error {
	for _, w := range works {
		if err := b.work(ctx, w); err != nil {
			if ctx.Err() != nil {
				return errInterrupted
			}
			return fmt.Errorf("%s: %w", w.Name, err)
		}
	}
	if b.wrong > 0 {
		return fmt.Errorf("%d messages did not arrive once and in order; the output shows where", b.wrong)
	}
	return nil
}

// contestant is a side in one workload, and its rounds so far.
type contestant struct {
	benchSide
	work   load.Work
	rounds []load.Measure
	wire   float64 // bytes per message and hop; 0: not counted
	out    bool    // the workload makes no sense for it
}

// work measures one workload: a round of each side in turn.
func (b *bencher) work(ctx context.Context, w load.Work) error {
	all := []*contestant{{benchSide: benchSide{oursName, b.ours}, work: w}}
	if base, word := w.Base(); word != "" {
		all = append(all, &contestant{benchSide: benchSide{oursName + " " + word, b.base}, work: base})
	}
	for _, s := range b.others {
		all = append(all, &contestant{benchSide: s, work: w})
	}
	rounds, each := b.rounds, b.duration/time.Duration(b.rounds)
	if w.Links > 0 {
		rounds, each = 1, b.duration // opening them all again would take longer than all the rest
	}
	for round := range rounds {
		for _, c := range all {
			if err := c.round(ctx, round == 0, each); err != nil {
				return fmt.Errorf("%s: %w", c.name, err)
			}
		}
	}
	for _, c := range all {
		if w.Telemetry && !c.out {
			if err := c.count(ctx, each); err != nil {
				return fmt.Errorf("%s: %w", c.name, err)
			}
		}
		if c.side == b.ours || c.side == b.base {
			for _, m := range c.rounds {
				b.wrong += m.Wrong()
			}
		}
		c.side.Rest()
	}
	if all[0].out {
		fmt.Fprintf(os.Stderr, "note: %s is left out: it needs a relay of its own\n", w.Name)
		return nil
	}
	return b.report.work(w, all)
}

// round runs one round, and before the first one a short one that does not count but for what is wrong with it.
func (c *contestant) round(ctx context.Context, first bool, d time.Duration) error {
	if c.out {
		return nil
	}
	if first && c.work.Links == 0 {
		m, err := c.side.Round(ctx, c.work, d/warmPart)
		if errors.Is(err, load.ErrSkip) {
			c.out = true
			return nil
		}
		if err != nil {
			return err
		}
		if m.Wrong() > 0 {
			return fmt.Errorf("%d of %d messages did not arrive once and in order", m.Wrong(), m.Sent)
		}
	}
	m, err := c.side.Round(ctx, c.work, d)
	if errors.Is(err, load.ErrSkip) {
		c.out = true
		return nil
	}
	if err != nil {
		return err
	}
	c.rounds = append(c.rounds, m)
	return nil
}

// count runs a round that counts the bytes on the wire, and for nothing else: counting takes time.
func (c *contestant) count(ctx context.Context, d time.Duration) error {
	w := c.work
	w.Counted = true
	m, err := c.side.Round(ctx, w, d)
	if err != nil {
		return err
	}
	c.wire = m.WirePerMessage()
	return nil
}
