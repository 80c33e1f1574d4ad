package main

import (
	"fmt"
	"io"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"

	"ultrasockets/cmd/ultra/load"
)

// benchReport prints what was measured: a table for people, or JSON.
type benchReport struct {
	out   io.Writer
	flags *benchFlags
}

func newBenchReport(out io.Writer, flags *benchFlags) *benchReport { return &benchReport{out, flags} }

// benchMachine is the first line of --json.
type benchMachine struct {
	Ultra    string  `json:"ultra"`
	Go       string  `json:"go"`
	OS       string  `json:"os"`
	Arch     string  `json:"arch"`
	CPUs     int     `json:"cpus"` // that this process may use
	Duration float64 `json:"duration_seconds"`
	Rounds   int     `json:"rounds"`
}

// benchResult is one workload on one side, a line of --json: medians over the rounds.
type benchResult struct {
	Work       string  `json:"work"`
	Side       string  `json:"side"`
	Rounds     int     `json:"rounds"`
	PerSecond  float64 `json:"messages_per_second,omitempty"`
	Spread     *spread `json:"spread,omitempty"`
	MiB        float64 `json:"mib_per_second,omitempty"`
	Beside     float64 `json:"beside_per_second,omitempty"`
	P50        float64 `json:"p50_us,omitempty"`
	P90        float64 `json:"p90_us,omitempty"`
	P99        float64 `json:"p99_us,omitempty"`
	Max        float64 `json:"max_us,omitempty"`
	RelayCPU   float64 `json:"relay_cpu_per_million,omitempty"`
	ClientsCPU float64 `json:"clients_cpu_per_million,omitempty"`
	RelayAlloc float64 `json:"relay_allocs_per_message,omitempty"`
	ClientsAll float64 `json:"clients_allocs_per_message,omitempty"`
	RelayRSS   float64 `json:"relay_rss,omitempty"`
	Wire       float64 `json:"wire_bytes_per_message,omitempty"`

	Idle *load.Idle `json:"idle,omitempty"`

	Sent       uint64 `json:"sent"`
	Got        uint64 `json:"got"`
	Lost       uint64 `json:"lost"`
	Repeated   uint64 `json:"repeated"`
	Disordered uint64 `json:"out_of_order"`
	Damaged    uint64 `json:"damaged"`

	Ratios []benchRatio `json:"ratios,omitempty"` // of ours against each other side
}

type spread struct {
	Slowest float64 `json:"slowest"`
	Fastest float64 `json:"fastest"`
}

// benchRatio is our figures by those of another side: 2 messages a second is twice as fast, 2 of time twice as slow.
type benchRatio struct {
	Side      string  `json:"side"`
	PerSecond float64 `json:"messages_per_second,omitempty"`
	P50       float64 `json:"p50,omitempty"`
	P99       float64 `json:"p99,omitempty"`
	RelayCPU  float64 `json:"relay_cpu,omitempty"`
	Wire      float64 `json:"wire,omitempty"`
	Memory    float64 `json:"memory_per_link,omitempty"`
}

const benchRow = "%-14s %-11s %11s %9s %8s %8s %9s %9s %11s %7s  %s\n"

func (r *benchReport) begin() error {
	info, _ := debug.ReadBuildInfo()
	m := benchMachine{
		Ultra: version(info), Go: runtime.Version(), OS: runtime.GOOS, Arch: runtime.GOARCH, CPUs: runtime.NumCPU(),
		Duration: r.flags.duration.Seconds(), Rounds: r.flags.rounds,
	}
	if r.flags.json {
		return r.line(m)
	}
	fmt.Fprintf(r.out, "ultra %s, %s, %s/%s, CPUs: %d; %v of each workload and side in %d rounds, medians; loopback\n",
		m.Ultra, m.Go, m.OS, m.Arch, m.CPUs, r.flags.duration, m.Rounds)
	_, err := fmt.Fprintf(r.out, benchRow, "", "", "", "", "round", "trips µs", "CPU s per", "million", "allocs per", "relay", "lost/repeated/")
	if err == nil {
		_, err = fmt.Fprintf(r.out, benchRow, "WORKLOAD", "", "MESSAGES/S", "MIB/S", "P50", "P99", "RELAY", "CLIENTS", "MSG R+C", "MIB", "OUT OF ORDER")
	}
	return err
}

func (r *benchReport) line(v any) error {
	_, err := fmt.Fprintf(r.out, "%s\n", jsonLine(v))
	return err
}

// work prints one workload: ours first.
func (r *benchReport) work(w load.Work, all []*contestant) error {
	ours := all[0]
	for i, c := range all {
		if c.out {
			continue
		}
		result := c.result(w)
		if i == 0 {
			for _, other := range all[1:] {
				if !other.out {
					result.Ratios = append(result.Ratios, ratioOf(ours, other))
				}
			}
		}
		if err := r.print(result); err != nil {
			return fmt.Errorf("standard output: %w", err)
		}
		if i > 0 && !r.flags.json {
			r.printRatio(ratioOf(ours, c))
		}
	}
	return nil
}

func (c *contestant) result(w load.Work) benchResult {
	median := func(f func(load.Measure) float64) float64 { return load.MedianOf(c.rounds, f) }
	out := benchResult{
		Work: w.Name, Side: c.name, Rounds: len(c.rounds), PerSecond: median(load.Measure.PerSecond), MiB: median(load.Measure.MiBPerSecond),
		P50: median(p50), P90: median(func(m load.Measure) float64 { return m.P90 }), P99: median(p99),
		ClientsCPU: median(func(m load.Measure) float64 { return m.PerMillion(m.Driver) }),
		ClientsAll: median(func(m load.Measure) float64 { return m.PerMessage(m.Driver) }),
		RelayCPU:   median(relayCPU), Wire: c.wire,
		RelayAlloc: median(func(m load.Measure) float64 {
			if m.Relay == nil {
				return 0
			}
			return m.PerMessage(*m.Relay)
		}),
		Beside: median(func(m load.Measure) float64 { return float64(m.Beside) / m.Seconds }),
	}
	for _, m := range c.rounds {
		out.Sent += m.Sent
		out.Got += m.Got
		out.Lost += m.Lost
		out.Repeated += m.Repeated
		out.Disordered += m.Disordered
		out.Damaged += m.Damaged
		out.Max = max(out.Max, m.Max)
		if m.Relay != nil {
			out.RelayRSS = max(out.RelayRSS, float64(m.Relay.RSS))
		}
		out.Idle = m.Idle
		if speed := m.PerSecond(); out.Spread == nil {
			out.Spread = &spread{speed, speed}
		} else {
			out.Spread.Slowest, out.Spread.Fastest = min(out.Spread.Slowest, speed), max(out.Spread.Fastest, speed)
		}
	}
	if out.PerSecond == 0 {
		out.Spread = nil
	}
	return out
}

func p50(m load.Measure) float64 { return m.P50 }
func p99(m load.Measure) float64 { return m.P99 }

func relayCPU(m load.Measure) float64 {
	if m.Relay == nil {
		return 0
	}
	return m.PerMillion(*m.Relay)
}

func ratioOf(ours, other *contestant) benchRatio {
	ratio := func(f func(load.Measure) float64) float64 { return load.MedianRatio(ours.rounds, other.rounds, f) }
	out := benchRatio{
		Side: other.name, PerSecond: ratio(load.Measure.PerSecond), P50: ratio(p50), P99: ratio(p99), RelayCPU: ratio(relayCPU),
		Memory: ratio(func(m load.Measure) float64 {
			if m.Idle == nil {
				return 0
			}
			return m.Idle.RSSPerLink
		}),
	}
	if other.wire > 0 {
		out.Wire = ours.wire / other.wire
	}
	return out
}

// print prints a line of the table, or of JSON.
func (r *benchReport) print(b benchResult) error {
	if r.flags.json {
		return r.line(b)
	}
	wrong := fmt.Sprintf("%d/%d/%d", b.Lost, b.Repeated, b.Disordered)
	if b.Damaged > 0 {
		wrong += fmt.Sprintf(" and %d damaged", b.Damaged)
	}
	if b.Idle != nil {
		_, err := fmt.Fprintf(r.out, "%-14s %-11s %d links: %.1f KiB each in the relay (%.1f before it gave back what it could; %.1f of Go's heap and stacks), %.2f %% of a core\n",
			b.Work, b.Side, b.Idle.Links, b.Idle.RSSPerLink/1024, b.Idle.RawPerLink/1024, b.Idle.HeapPerLink/1024, 100*b.Idle.CPU)
		return err
	}
	relay, rss, allocs := "", "", ""
	if b.RelayRSS > 0 {
		relay, rss, allocs = figure(b.RelayCPU, 3), figure(b.RelayRSS/(1<<20), 0), figure(b.RelayAlloc, 2)+"+"
	}
	allocs += figure(b.ClientsAll, 2)
	_, err := fmt.Fprintf(r.out, benchRow, b.Work, b.Side, grouped(b.PerSecond), figure(b.MiB, 1), orBlank(b.P50), orBlank(b.P99),
		relay, figure(b.ClientsCPU, 3), allocs, rss, wrong)
	if err == nil && b.Wire > 0 {
		_, err = fmt.Fprintf(r.out, "%-14s %-11s %.0f bytes on the wire per message and hop\n", "", "", b.Wire)
	}
	return err
}

// printRatio prints how ours compares with the line above.
func (r *benchReport) printRatio(b benchRatio) {
	if b.Memory > 0 {
		fmt.Fprintf(r.out, "%-14s ratio %.2f of the memory\n", "", b.Memory)
		return
	}
	wire := ""
	if b.Wire > 0 {
		wire = fmt.Sprintf("%.0f %% of the bytes on the wire", 100*b.Wire)
	}
	line := fmt.Sprintf(benchRow, "", "ratio", figure(b.PerSecond, 2), "", orNone(b.P50), orNone(b.P99), orNone(b.RelayCPU), "", "", "", wire)
	fmt.Fprintln(r.out, strings.TrimRight(line, " \n"))
}

func figure(v float64, digits int) string { return strconv.FormatFloat(v, 'f', digits, 64) }

// orBlank is a time in microseconds, or nothing.
func orBlank(v float64) string {
	if v == 0 {
		return ""
	}
	return figure(v, 1)
}

// orNone is a ratio, or nothing.
func orNone(v float64) string {
	if v == 0 {
		return ""
	}
	return figure(v, 2)
}

// grouped is a whole number with commas.
func grouped(v float64) string {
	text := figure(v, 0)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}
