package main

import (
	"errors"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"ultrasockets/mesh/file"
)

func TestMeterLine(t *testing.T) {
	for _, c := range []struct {
		state file.Progress
		rate  float64
		want  string
	}{
		{file.Progress{Path: "films/a.mp4", Done: 512 << 20, Size: 1 << 30, Of: 1}, 64 << 20, "films/a.mp4  50% [##########..........]  512 MiB of 1.00 GiB  64.0 MiB/s  0:08 left"},
		{file.Progress{Path: "a", Done: 0, Size: 7200, Of: 1}, 1, "a   0% [....................]  0 B of 7.03 KiB  1 B/s  2:00:00 left"},
		{file.Progress{Path: "a", Size: 100, Of: 1}, 0, "a   0% [....................]  0 B of 100 B  0 B/s"},
		{file.Progress{Path: "a", Done: 100, Size: 100, Files: 2, Of: 2}, 5, "a  2/2 100% [####################]  100 B of 100 B  5 B/s"},
		{file.Progress{Path: "stream", Done: 3 << 20, Size: -1, Of: 1}, 1500, "stream  3.00 MiB  1.46 KiB/s"},
		{file.Progress{Path: "e\x1bvil\n", Done: 1, Size: 10_000_000_000, Of: 1}, 1, `e\u001bvil\n   0% [....................]  1 B of 9.31 GiB  1 B/s`},
	} {
		if got := meterLine(c.state, c.rate, 200); got != c.want {
			t.Errorf("%q, want %q", got, c.want)
		}
		for width := range 100 {
			if got := meterLine(c.state, c.rate, width); utf8.RuneCountInString(got) > width {
				t.Errorf("%d wide: %q", width, got)
			}
		}
	}
	if got := meterLine(file.Progress{Path: strings.Repeat("long/", 20) + "ünd", Size: 100, Of: 1}, 0, 60); !strings.HasPrefix(got, "…") || !strings.Contains(got, "/ünd   0%") {
		t.Error(got)
	}
}

func TestMeterNotes(t *testing.T) {
	var out strings.Builder
	m := newMeter(&out, false)
	for range 3 {
		m.progress(file.Progress{Waiting: errors.New("nas is not here")})
	}
	m.progress(file.Progress{Moved: 1})
	m.progress(file.Progress{Waiting: errors.New("nas is not here")})
	m.end()
	m.report(file.Result{Files: 1}, time.Second)
	if got := out.String(); got != "note: waiting: nas is not here\nnote: waiting: nas is not here\n" {
		t.Errorf("%q", got)
	}
}

func TestSplitErrors(t *testing.T) {
	one, two, three := errors.New("one"), errors.New("two"), errors.New("three")
	wrapped := errors.Join(errors.Join(one, two), three)
	if got := split(wrapped); len(got) != 3 || got[2] != three {
		t.Error(got)
	}
	var out strings.Builder
	if err := tellEach(&out, one); err != one || out.String() != "" {
		t.Error(err, out.String())
	}
	if err := tellEach(&out, wrapped); !errors.Is(err, errTold) || out.String() != "ultra: one\nultra: two\nultra: three\n" {
		t.Error(err, out.String())
	}
}
