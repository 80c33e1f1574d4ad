package main

import (
	"encoding/json"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"
)

func TestWatchEvents(t *testing.T) {
	b := newBench(t)
	a, addr := b.first("join", "--name", "a")
	w := b.start("watch", "--seed", addr)
	j := b.start("watch", "--json", "--seed", addr)
	w.stdout.await(t, "where it is", regexp.MustCompile(`^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d  visitor-\w+ is in mesh "test-\w+" \(relay a, 1 node\)\.\n$`).MatchString)
	j.stdout.has(t, `"event":"here"`)
	late := b.joins("late", addr, "--tag", "room=1", "--group", "lab")
	w.stdout.has(t, "  late joined\n")
	text := j.stdout.has(t, `"event":"joined"`)
	for line := range strings.Lines(text) {
		var e struct {
			Time time.Time
			tale
		}
		if err := json.Unmarshal([]byte(line), &e); err != nil || e.Time.IsZero() {
			t.Error(line, err)
		}
		if e.Event == "joined" && (e.Name != "late" || e.Tags["room"] != "1" || len(e.Groups) != 1 || e.Addr == "") {
			t.Error(line)
		}
	}
	a.leaves()
	w.stdout.has(t, "  late is the relay now\n")
	w.stdout.has(t, "  a left (bye)\n")
	j.stdout.has(t, `"event":"linked","name":"late"`)
	late.leaves()
	w.stdout.has(t, "the relay late has gone")
}

// Who reads what watch prints may go away: then it ends.
func TestWatchOutputCloses(t *testing.T) {
	b := newBench(t)
	_, addr := b.first("join", "--name", "a")
	r, out, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	p := b.prepare("watch", "--seed", addr)
	p.cmd.Stdout = out
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	p.begin()
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
	if code := p.exit(); code != exitFailed || !strings.Contains(p.stderr.String(), "standard output") {
		t.Error(code, p.stderr)
	}
}
