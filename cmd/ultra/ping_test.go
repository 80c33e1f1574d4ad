package main

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"ultrasockets/codec"
	"ultrasockets/relay"
)

func TestPing(t *testing.T) {
	b := newBench(t)
	_, addr := b.first("join", "--name", "a")
	b.joins("pc2", addr)
	out := b.must("", "ping", "pc2", "-c", "3", "-i", "1ms", "--seed", addr)
	want := regexp.MustCompile(`^ping of pc2 in mesh "test-\w+", through relay a
1  \d+\.\d{3} ms  relay a
2  \d+\.\d{3} ms  relay a
3  \d+\.\d{3} ms  relay a
3 sent, 3 answered, 0 lost; round trip min \d+\.\d{3}, median \d+\.\d{3}, p99 \d+\.\d{3}, max \d+\.\d{3} ms
$`)
	if !want.MatchString(out) {
		t.Error(out)
	}
	if out := b.must("", "ping", "a", "-c", "1", "--hostname", addr); !strings.Contains(out, "which is the relay itself") {
		t.Error(out)
	}
	out = b.must("", "ping", "pc2", "-c", "20", "-i", "0", "--json", "--seed", addr)
	lines := strings.Split(strings.TrimSpace(out), "\n")
	var one pingEntry
	if err := json.Unmarshal([]byte(lines[4]), &one); err != nil || one.Seq != 5 || one.Name != "pc2" || one.Relay != "a" || *one.RTT <= 0 {
		t.Error(lines[4], err)
	}
	var all pingSummary
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &all); err != nil || len(lines) != 21 || all.Sent != 20 || all.Answered != 20 || all.Lost != 0 {
		t.Fatal(out, err)
	}
	if !slices.IsSorted([]float64{0, *all.Min, *all.Median, *all.P99, *all.Max}) {
		t.Error(lines[len(lines)-1])
	}
	b.fails(exitFailed, "", []string{"ping", "pc3", "--seed", addr, "--timeout", "300ms"}, `no node "pc3" in mesh "test-`, "(waited ", "here: a, pc2")
	b.fails(exitFailed, "", []string{"ping", "pc2", "--timeout", "300ms"}, "no mesh")
}

// mute joins the mesh as a node that answers nothing.
func mute(t *testing.T, b *bench, addr string) {
	t.Helper()
	name := b.env[slices.IndexFunc(b.env, func(v string) bool { return strings.HasPrefix(v, "ULTRA_MESH=") })]
	hello := codec.Hello{Mesh: strings.TrimPrefix(name, "ULTRA_MESH="), Name: "mute", Instance: 7, MaxMessage: 1 << 20}
	link, err := relay.Dial(t.Context(), addr, relay.DialConfig{Hello: hello})
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = link.Run(deaf{}) // it ends when the test closes it
	}()
	t.Cleanup(func() {
		link.Close()
		<-ended
	})
}

type deaf struct{}

func (deaf) HandleFrame(codec.Raw, *relay.Memory) {}
func (deaf) HandleBatchEnd() (int, int)           { return 0, 0 }
func (deaf) HandleWritable()                      {}

func TestPingInVain(t *testing.T) {
	b := newBench(t)
	_, addr := b.first("join", "--name", "a")
	mute(t, b, addr)
	stdout, stderr, code := b.run("", "ping", "mute", "-c", "1", "--seed", addr)
	if code != exitFailed || stderr != "ultra: nothing came back from mute\n" {
		t.Error(code, stderr)
	}
	if !strings.HasSuffix(stdout, "\n1  lost: no answer within 1s\n1 sent, 0 answered, 1 lost (100.0 %)\n") {
		t.Error(stdout)
	}
	stdout, _, _ = b.run("", "ping", "mute", "-c", "1", "--json", "--seed", addr)
	if !strings.Contains(stdout, `"rtt_ms":null,"lost":"no answer`) || !strings.Contains(stdout, `"median_ms":null`) {
		t.Error(stdout)
	}
}

// Pings go on through another relay.
func TestPingSurvivesTheRelay(t *testing.T) {
	b := newBench(t)
	a, addr := b.first("join", "--name", "a")
	c := b.joins("c", addr)
	c.stderr.has(t, "(relay a, 2 nodes)")
	p := b.start("ping", "c", "-i", "10ms", "--seed", addr)
	p.stdout.has(t, "relay a\n")
	a.leaves()
	p.stdout.has(t, "relay c\n")
}

func TestQuantile(t *testing.T) {
	trips := make([]time.Duration, 100)
	for i := range trips {
		trips[i] = time.Duration(i + 1)
	}
	for _, c := range []struct {
		part float64
		want time.Duration
	}{{0, 1}, {0.5, 50}, {0.99, 99}, {1, 100}} {
		if got := quantile(trips, c.part); got != c.want {
			t.Errorf("%v: %d, want %d", c.part, got, c.want)
		}
	}
	if got := quantile([]time.Duration{7}, 0.5); got != 7 {
		t.Error(got)
	}
}
