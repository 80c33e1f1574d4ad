package load

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestRounds(t *testing.T) {
	for _, w := range Works {
		if w.Links > 0 || w.Secret {
			continue
		}
		t.Run(w.Name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				side := NewSide(openMemory(faults{}))
				defer side.Close()
				for range 2 {
					m, err := side.Round(t.Context(), w, 20*time.Millisecond)
					if err != nil || m.Wrong() > 0 || m.Sent == 0 || m.Got != m.Sent || m.Messages == 0 || m.Bytes != m.Messages*uint64(w.Size) {
						t.Fatalf("%+v, %v", m, err)
					}
					if m.Seconds < 0.02 || m.PerSecond() <= 0 || m.MiBPerSecond() <= 0 {
						t.Errorf("%+v", m)
					}
					if w.Asks == 1 && (m.P50 <= 0 || m.P50 > m.P90 || m.P90 > m.P99 || m.P99 > m.Max) {
						t.Errorf("%+v", m)
					}
					if perSecond := float64(m.Beside) / m.Seconds; w.Beside > 0 && (perSecond < 0.4*float64(w.Beside) || perSecond > 1.01*float64(w.Beside)) {
						t.Errorf("%.0f a second beside, not %d", perSecond, w.Beside)
					}
				}
			})
		})
	}
}

func TestFaultsAreCounted(t *testing.T) {
	for name, c := range map[string]struct {
		faults faults
		want   Measure
	}{
		"drop":   {faults{drop: true}, Measure{Lost: 1}},
		"repeat": {faults{repeat: true}, Measure{Repeated: 1}},
		"swap":   {faults{swap: true}, Measure{Disordered: 1}},
		"damage": {faults{damage: true}, Measure{Lost: 1, Damaged: 1}},
	} {
		for _, w := range []Work{{Senders: 1, Receivers: 1, Size: 16}, {Senders: 1, Receivers: 1, Size: 32, Asks: 1}} {
			synctest.Test(t, func(t *testing.T) {
				side := NewSide(openMemory(c.faults))
				defer side.Close()
				m, err := side.Round(t.Context(), w, 10*time.Millisecond)
				got := Measure{Lost: m.Lost, Repeated: m.Repeated, Disordered: m.Disordered, Damaged: m.Damaged}
				if err != nil || got != c.want {
					t.Errorf("%s, %d asks: %+v, %v", name, w.Asks, got, err)
				}
			})
		}
	}
}

// A last message that does not come is lost, and waited for only so long.
func TestLastIsLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		way, err := openMemory(faults{drop: true})(t.Context(), Work{Senders: 1, Receivers: 1, Size: 16, Beside: 1000})
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		m, err := Run(t.Context(), way, Work{Senders: 1, Receivers: 1, Size: 16, Beside: 1000}, 1, 2500*time.Microsecond)
		if err != nil || m.Sent != faultAt || m.Lost != 1 || time.Since(began) < patience {
			t.Errorf("%+v, %v after %v", m, err, time.Since(began))
		}
	})
}

func TestRoundEndsWithContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		side := NewSide(openMemory(faults{}))
		defer side.Close()
		began := time.Now()
		if _, err := side.Round(ctx, Works[0], time.Second); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) > 10*time.Millisecond {
			t.Error(err, time.Since(began))
		}
	})
}

func TestFind(t *testing.T) {
	for name, want := range map[string]Work{
		"1to1-16":     {Senders: 1, Receivers: 1, Size: 16},
		"64to1-1k":    {Senders: 64, Receivers: 1, Size: 1 << 10},
		"1to100-16":   {Senders: 1, Receivers: 100, Size: 16},
		"100pairs-1m": {Senders: 100, Receivers: 100, Size: 1 << 20},
	} {
		if w, ok := Find(name); !ok || w.Name != name || w.What == "" || w.Senders != want.Senders || w.Receivers != want.Receivers || w.Size != want.Size {
			t.Errorf("%s: %+v", name, w)
		}
	}
	for _, name := range []string{"", "x", "0to1-16", "1to0-16", "2to3-16", "501to1-16", "1to1-15", "1to1-2m", "1to1-16g", "1to1-99999999999999999999", "9999999999999999999to1-16", "0pairs-16", "pairs-16"} {
		if w, ok := Find(name); ok {
			t.Errorf("%q: %+v", name, w)
		}
	}
}

func TestTally(t *testing.T) {
	message := func(source, round uint32, number uint64, size int) []byte {
		var stop atomic.Bool
		s := newSource(Work{Size: size}, source, round, poolSize, 1, &stop)
		s.next[0] = number
		return s.make(0, false)
	}
	tl := newTally(20, 2, 7)
	for _, number := range []uint64{0, 1, 4, 3, 3, 5} {
		tl.take(message(1, 7, number, 20))
	}
	tl.take(message(0, 7, 0, 20))
	tl.take(message(0, 6, 1, 20)) // another round
	tl.take(message(2, 7, 0, 20)) // nobody
	tl.take(message(0, 7, 1, 16)) // short
	m := Measure{}
	m.add(tl)
	m.seal(9)
	if m.Got != 10 || m.Repeated != 1 || m.Disordered != 1 || m.Damaged != 3 || m.Lost != 3 || m.Wrong() != 8 {
		t.Errorf("%+v", m)
	}
}

func TestSource(t *testing.T) {
	for _, telemetry := range []bool{false, true} {
		var stop atomic.Bool
		s := newSource(Work{Size: 1 << 10, Telemetry: telemetry}, 3, 1, poolSize, 2, &stop)
		seen := make(map[string]bool)
		for i := range 100 {
			m, last := s.Next(i % 2)
			if len(m) != 1<<10 || last || seen[string(m[HeaderSize:])] {
				t.Fatalf("message %d: %d bytes, last: %v", i, len(m), last)
			}
			seen[string(m[HeaderSize:])] = true
		}
		stop.Store(true)
		if m, last := s.Next(1); !last || !Last(m) || s.sent() != 101 {
			t.Error(last, s.sent())
		}
	}
}

func TestMedian(t *testing.T) {
	for _, c := range []struct {
		list []float64
		want float64
	}{{nil, 0}, {[]float64{3}, 3}, {[]float64{9, 1}, 5}, {[]float64{9, 1, 2}, 2}} {
		if got := Median(c.list); got != c.want {
			t.Errorf("%v: %v", c.list, got)
		}
	}
	ours, theirs := []Measure{{P50: 2}, {P50: 20}, {P50: 3}}, []Measure{{P50: 1}, {P50: 10}, {}}
	if got := MedianRatio(ours, theirs, func(m Measure) float64 { return m.P50 }); got != 2 {
		t.Error(got)
	}
}

func TestIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		opened, began := atomic.Int64{}, time.Now()
		way := &Way{
			Usage: func(settled bool) (Usage, error) {
				u := Usage{RSS: 1000 + 10*uint64(opened.Load()), Heap: 500 + 5*uint64(opened.Load()), CPU: time.Since(began).Seconds() / 100}
				if !settled {
					u.RSS += 100
				}
				return u, nil
			},
			Link: func(context.Context, int) (io.Closer, error) {
				opened.Add(1)
				return nothing{}, nil
			},
		}
		m, err := Run(t.Context(), way, Work{Links: 50}, 1, time.Second)
		if err != nil || m.Idle == nil || m.Idle.RSSPerLink != 10 || m.Idle.RawPerLink != 12 || m.Idle.HeapPerLink != 5 || m.Idle.CPU < 0.0099 || m.Idle.CPU > 0.0101 {
			t.Errorf("%+v, %+v, %v", m, m.Idle, err)
		}
		way.Link = func(_ context.Context, i int) (io.Closer, error) {
			if i == 30 {
				return nil, io.ErrUnexpectedEOF
			}
			return nothing{}, nil
		}
		if _, err := Run(t.Context(), way, Work{Links: 50}, 1, time.Second); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Error(err)
		}
	})
}

func TestUsed(t *testing.T) {
	before := Used(true)
	var garbage [][]byte
	for range 1000 {
		garbage = append(garbage, make([]byte, 1000))
	}
	after := Used(false)
	if len(garbage) != 1000 || before.RSS < 1<<20 || before.Heap < 1<<10 || before.CPU < 0 || after.CPU < before.CPU || after.Allocs < before.Allocs+900 {
		t.Errorf("%+v, %+v", before, after)
	}
}

func TestOtherProgram(t *testing.T) {
	side, err := Outside(other(t, "side"))
	if err != nil {
		t.Fatal(err)
	}
	defer side.Close()
	w := Works[1]
	m, err := side.Round(t.Context(), w, time.Millisecond)
	if err != nil || m.Wrong() > 0 || m.Sent == 0 || m.Got != m.Sent {
		t.Errorf("%+v, %v", m, err)
	}
	side.Rest()
	w.Secret = true
	if _, err := side.Round(t.Context(), w, time.Millisecond); !errors.Is(err, ErrSkip) {
		t.Error(err)
	}
	if _, err := side.Round(t.Context(), Work{Name: "idle", Links: 1, Senders: 1}, time.Millisecond); err == nil {
		t.Error("a program without links opens one")
	}
}

func TestPeer(t *testing.T) {
	file := filepath.Join(t.TempDir(), "profile")
	p, err := StartPeer(other(t, "peer"), PeerConfig{Profile: file})
	if err != nil {
		t.Fatal(err)
	}
	if u, err := p.Usage(true); err != nil || p.Addr != "here" || u.RSS == 0 {
		t.Error(p.Addr, u, err)
	}
	p.Close()
	if info, err := os.Stat(file); err != nil || info.Size() == 0 {
		t.Error(info, err)
	}
	if _, err := p.Usage(false); err == nil {
		t.Error("a process that has ended answers")
	}
	if _, err := StartPeer(other(t, "peer"), PeerConfig{Secret: []byte("x")}); err == nil || !strings.Contains(err.Error(), "no secrets") {
		t.Error(err)
	}
	if _, err := StartPeer(other(t, "peer"), PeerConfig{Profile: filepath.Join(t.TempDir(), "no", "such")}); err == nil {
		t.Error("a profile goes nowhere")
	}
}

// What other programs are told, and tell, has names that stay.
func TestWireOfSides(t *testing.T) {
	var out bytes.Buffer
	in := strings.NewReader(`{"work":{"name":"x","senders":1,"receivers":1,"size":16},"seconds":0.001}` + "\n{}\n" + `{"work":{"name":"y","secret":true}}`)
	if err := Serve(t.Context(), in, &out, NewSide(openMemory(faults{}))); err != nil {
		t.Fatal(err)
	}
	d := json.NewDecoder(&out)
	var answers []map[string]any
	for d.More() {
		var a map[string]any
		if err := d.Decode(&a); err != nil {
			t.Fatal(err)
		}
		answers = append(answers, a)
	}
	if len(answers) != 3 || answers[2]["skip"] != true {
		t.Fatal(answers)
	}
	for _, key := range []string{"seconds", "messages", "bytes", "sent", "got", "lost", "repeated", "out_of_order", "damaged", "driver"} {
		if _, ok := answers[0][key]; !ok {
			t.Errorf("%s is not in %v", key, answers[0])
		}
	}
}
