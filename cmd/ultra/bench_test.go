package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"ultrasockets/cmd/ultra/load"
)

// The tests of ultra bench look at what is counted, never at how fast it was.

func TestBench(t *testing.T) {
	for _, w := range load.Works {
		t.Run(w.Name, func(t *testing.T) { testBenchOf(t, w) })
	}
}

// testBenchOf wants a line of JSON for the machine and one for each side.
func testBenchOf(t *testing.T, w load.Work) {
	b := newBench(t)
	out := b.must("", "bench", "--json", "--work", w.Name, "--duration", "60ms", "--rounds", "2", "--links", "20", "--against", "splice", "--against", "simplex", "--against", "frames")
	lines := strings.Split(strings.TrimSpace(out), "\n")
	var machine benchMachine
	if err := json.Unmarshal([]byte(lines[0]), &machine); err != nil || machine.Go == "" || machine.CPUs < 1 || machine.Rounds != 2 || machine.Duration != 0.06 {
		t.Errorf("%s: %v", lines[0], err)
	}
	results := make(map[string]benchResult)
	for _, text := range lines[1:] {
		var r benchResult
		d := json.NewDecoder(strings.NewReader(text))
		d.DisallowUnknownFields()
		if err := d.Decode(&r); err != nil || r.Work != w.Name {
			t.Fatalf("%s: %v", text, err)
		}
		results[r.Side] = r
	}
	others := []string{againstSplice, againstFrames}
	if w.Asks > 0 {
		others = append(others, againstSimplex)
	}
	if _, word := w.Base(); word != "" {
		others = append(others, oursName+" "+word)
	}
	if len(results) != 1+len(others) || len(lines) != 2+len(others) {
		t.Errorf("other lines than those of %v: %s", others, out)
	}
	for _, side := range append(others, oursName) {
		checkBenchResult(t, w, results[side], side, others)
	}
}

// checkBenchResult wants everything counted, nothing lost, and what belongs to a workload.
func checkBenchResult(t *testing.T, w load.Work, r benchResult, side string, others []string) {
	t.Helper()
	bad := r.Side != side || r.Lost+r.Repeated+r.Disordered+r.Damaged > 0 || r.Got != r.Sent
	if w.Links > 0 {
		bad = bad || r.Idle == nil || r.Idle.Links != 20 || r.Rounds != 1
	} else {
		bad = bad || r.Sent == 0 || r.PerSecond <= 0 || r.MiB <= 0 || r.Spread.Slowest > r.Spread.Fastest || r.Rounds != 2 || r.RelayRSS <= 0
	}
	bad = bad || (w.Asks == 1) != (r.P50 > 0) || r.P50 > r.P99 || r.P99 > r.Max
	bad = bad || (w.Beside > 0) != (r.Beside > 0)
	bad = bad || (w.Telemetry && !isBare(r.Side)) != (r.Wire > 0)
	var against []string
	for _, ratio := range r.Ratios {
		against = append(against, ratio.Side)
		bad = bad || w.Links == 0 && ratio.PerSecond <= 0 || (w.Asks == 1) != (ratio.P50 > 0)
	}
	if r.Side == oursName {
		slices.Sort(against)
		bad = bad || !slices.Equal(against, slices.Sorted(slices.Values(others)))
	}
	if bad {
		t.Errorf("%s, %s: %+v", w.Name, side, r)
	}
}

func isBare(side string) bool {
	_, ok := bareSides[side]
	return ok
}

func TestBenchTable(t *testing.T) {
	b := newBench(t)
	dir := t.TempDir()
	clients, relay := filepath.Join(dir, "clients"), filepath.Join(dir, "relay")
	out := b.must("", "bench", "--work", "telemetry-1k", "--duration", "20ms", "--rounds", "1", "--against", "splice", "--cpuprofile", clients, "--relay-cpuprofile", relay)
	for _, want := range []string{"MESSAGES/S", "telemetry-1k   ultra ", "telemetry-1k   ultra plain ", "telemetry-1k   splice ", "ratio", "bytes on the wire", "0/0/0"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is not in\n%s", want, out)
		}
	}
	for _, file := range []string{clients, relay} {
		if info, err := os.Stat(file); err != nil || info.Size() == 0 {
			t.Error(info, err)
		}
	}
	if out := b.must("", "bench", "--work", "idle", "--links", "10", "--duration", "10ms", "--against", "splice"); !strings.Contains(out, "10 links: ") || !strings.Contains(out, "of the memory") {
		t.Error(out)
	}
	if out := b.must("", "bench", "--list"); strings.Count(out, "\n") != len(load.Works)+2 || !strings.Contains(out, "8pairs-128") {
		t.Error(out)
	}
}

func TestBenchHostname(t *testing.T) {
	b := newBench(t)
	profile := filepath.Join(t.TempDir(), "profile")
	server, addr := b.first("serve", "127.0.0.1:0", "--name", "server", "--cpuprofile", profile)
	stdout, stderr, code := b.run("", "bench", "--json", "--hostname", addr, "--work", "1to3-20,window-128", "--work", "telemetry-1k,idle,secret-1k", "--duration", "20ms", "--rounds", "1")
	if code != exitDone || strings.Count(stdout, "\n") != 5 || strings.Contains(stdout, "relay_rss") {
		t.Error(code, stdout, stderr)
	}
	for _, work := range []string{"idle", "secret-1k"} {
		if !strings.Contains(stderr, work+" is left out") {
			t.Error(stderr)
		}
	}
	server.leaves()
	if info, err := os.Stat(profile); err != nil || info.Size() == 0 {
		t.Error(info, err)
	}
	b.fails(exitFailed, "", []string{"bench", "--work", "rtt", "--hostname", "127.0.0.1:1"}, "no mesh answers at 127.0.0.1:1")
}

func TestBenchUsage(t *testing.T) {
	b := newBench(t)
	for _, c := range []struct{ args, part string }{
		{"bench extra", "takes no arguments"},
		{"bench --work nonsense", "--list"},
		{"bench --duration 0s", "--duration"},
		{"bench --rounds 0", "--rounds"},
		{"bench --links 0", "--links"},
		{"bench --relay-cpuprofile x", "one --work"},
		{"bench --hostname nowhere --work rtt", "host:port"},
		{"bench --against /no/such/program", "splice, simplex, frames or a program"},
		{"bench-peer nonsense", "nonsense"},
	} {
		b.fails(exitUsage, "", strings.Fields(c.args), c.part)
	}
	b.fails(exitFailed, "", []string{"bench", "--cpuprofile", filepath.Join(t.TempDir(), "no", "such")}, "--cpuprofile")
	b.fails(exitFailed, "{", []string{"bench-peer", "relay"}, "ultra bench")
}

// wrongSide says that a message was lost.
type wrongSide struct{ rested, closed bool }

func (s *wrongSide) Round(_ context.Context, w load.Work, d time.Duration) (load.Measure, error) {
	if w.Secret {
		return load.Measure{}, load.ErrSkip
	}
	m := load.Measure{Seconds: d.Seconds(), Messages: 10, Sent: 10, Got: 9}
	if d == time.Second { // not the one before the first
		m.Lost = 1
	}
	return m, nil
}

func (s *wrongSide) Rest()  { s.rested = true }
func (s *wrongSide) Close() { s.closed = true }

// A lost message of ours is an error after everything has been printed; of another side it is only shown.
func TestBenchWrong(t *testing.T) {
	ours, base, other := &wrongSide{}, &wrongSide{}, &wrongSide{}
	var out bytes.Buffer
	flags := &benchFlags{duration: 2 * time.Second, rounds: 2}
	b := &bencher{benchFlags: flags, report: newBenchReport(&out, flags), ours: ours, base: base, others: []benchSide{{"other", other}}}
	if err := b.work(t.Context(), load.Works[0]); err != nil {
		t.Fatal(err)
	}
	if b.wrong != 2 || strings.Count(out.String(), "2/0/0") != 2 || !ours.rested || !other.rested {
		t.Errorf("%d wrong\n%s", b.wrong, &out)
	}
	if err := b.works(t.Context(), load.Works[:2]); err == nil || !strings.Contains(err.Error(), "did not arrive once and in order") {
		t.Error(err)
	}
	b.close()
	if !ours.closed || !base.closed || !other.closed {
		t.Error("a side was not closed")
	}
}
