package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"golang.org/x/term"

	"ultrasockets/mesh"
	"ultrasockets/mesh/file"
)

const (
	meterEvery = 200 * time.Millisecond // how often the line is drawn
	meterSpan  = 20                     // the rate is that of so many drawings: 4 s
	meterBar   = 20                     // characters, of a line that is at least …
	meterWide  = 100                    // … so wide; else half of it

	meterLongest = 100 * time.Hour // a longer time that is left is not told
)

// meter shows on a terminal how a copy gets on. Safe for concurrent use. Its goroutine ends with end.
type meter struct {
	w    io.Writer
	on   bool
	stop chan struct{}
	done sync.WaitGroup

	mu    sync.Mutex
	state file.Progress
	known bool   // there is a state
	marks []mark // of the last drawings, oldest first
	noted string // why it waits, as it was last told
}

type mark struct {
	at    time.Time
	moved int64
}

func newMeter(w io.Writer, on bool) *meter {
	m := &meter{w: w, on: on, stop: make(chan struct{})}
	if !on {
		return m
	}
	m.done.Go(func() {
		tick := time.NewTicker(meterEvery)
		defer tick.Stop()
		for {
			select {
			case now := <-tick.C:
				m.draw(now)
			case <-m.stop:
				return
			}
		}
	})
	return m
}

// progress takes what the copy tells. Why it waits is told in a line of its own, also where no terminal is.
func (m *meter) progress(p file.Progress) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.state, m.known = p, true
	if p.Waiting == nil {
		m.noted = ""
	} else if text := waitingText(p.Waiting); text != m.noted {
		m.noted = text
		m.clear()
		fmt.Fprintf(m.w, "note: waiting: %s\n", text)
	}
}

// waitingText is why a copy waits, for people.
func waitingText(err error) string {
	if errors.Is(err, mesh.ErrNoPeer) || errors.Is(err, mesh.ErrOutcomeUnknown) {
		return "the other node has gone; the copy goes on when it is back"
	}
	return oneLine(err)
}

func (m *meter) clear() {
	if m.on {
		fmt.Fprint(m.w, "\r\x1b[K")
	}
}

func (m *meter) draw(now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.known {
		return
	}
	m.marks = append(m.marks, mark{now, m.state.Moved})
	if len(m.marks) > meterSpan {
		m.marks = m.marks[1:]
	}
	width, _, err := term.GetSize(int(os.Stderr.Fd()))
	if err != nil || width <= 0 {
		width = 80
	}
	fmt.Fprint(m.w, "\r"+meterLine(m.state, m.rate(), width-1)+"\x1b[K")
}

// rate is in bytes a second; 0: not known yet.
func (m *meter) rate() float64 {
	first, last := m.marks[0], m.marks[len(m.marks)-1]
	if span := last.at.Sub(first.at).Seconds(); span > 0 {
		return float64(last.moved-first.moved) / span
	}
	return 0
}

// meterLine is the state in one line of at most width characters.
func meterLine(p file.Progress, rate float64, width int) string {
	size := bytesText(float64(p.Done))
	length := meterBar
	if width < meterWide {
		length /= 2
	}
	bar := ""
	left := ""
	if p.Size > 0 {
		part := min(1, float64(p.Done)/float64(p.Size))
		filled := int(part * float64(length))
		bar = fmt.Sprintf(" %3d%% [%s%s]", int(part*100), strings.Repeat("#", filled), strings.Repeat(".", length-filled))
		size += " of " + bytesText(float64(p.Size))
		if seconds := float64(p.Size-p.Done) / rate; p.Done < p.Size && seconds < meterLongest.Seconds() {
			left = "  " + clockText(time.Duration(seconds*float64(time.Second))) + " left"
		}
	}
	tail := fmt.Sprintf("%s  %s  %s/s%s", bar, size, bytesText(rate), left)
	if p.Of > 1 {
		tail = fmt.Sprintf("  %d/%d%s", min(p.Files+1, p.Of), p.Of, tail)
	}
	name := []rune(printable(p.Path))
	if room := width - utf8.RuneCountInString(tail); len(name) > room {
		name = append([]rune("…"), name[len(name)-max(0, room-1):]...)
		if room < 1 {
			name = nil
		}
	}
	line := []rune(strings.TrimLeft(string(name)+tail, " "))
	return string(line[:min(len(line), width)])
}

// bytesText is a size for people, with three digits.
func bytesText(n float64) string {
	for _, unit := range []string{"B", "KiB", "MiB", "GiB"} {
		switch {
		case unit == "B" && n < 1024:
			return fmt.Sprintf("%.0f B", n)
		case n < 9.995:
			return fmt.Sprintf("%.2f %s", n, unit)
		case n < 99.95:
			return fmt.Sprintf("%.1f %s", n, unit)
		case n < 1024:
			return fmt.Sprintf("%.0f %s", n, unit)
		}
		n /= 1024
	}
	return fmt.Sprintf("%.2f TiB", n)
}

// clockText is a time as minutes and seconds.
func clockText(d time.Duration) string {
	s := int(d.Round(time.Second).Seconds())
	if s >= 3600 {
		return fmt.Sprintf("%d:%02d:%02d", s/3600, s/60%60, s%60)
	}
	return fmt.Sprintf("%d:%02d", s/60, s%60)
}

// end takes the line away.
func (m *meter) end() {
	if m.on {
		close(m.stop)
		m.done.Wait()
		m.clear()
	}
}

// report says on a terminal what was copied.
func (m *meter) report(r file.Result, took time.Duration) {
	if !m.on {
		return
	}
	files := fmt.Sprintf("%d files", r.Files)
	if r.Files == 1 {
		files = "1 file"
	}
	text := fmt.Sprintf("%s, %s in %v", files, bytesText(float64(r.Bytes)), roughly(took))
	if r.Same > 0 {
		text += fmt.Sprintf("; %d there already", r.Same)
	}
	if r.Moved > 0 {
		text += fmt.Sprintf("; %s moved, %s/s", bytesText(float64(r.Moved)), bytesText(float64(r.Moved)/took.Seconds()))
	}
	fmt.Fprintln(m.w, text)
}
