package relay

import (
	"testing"
	"time"
)

func TestFrameWatch(t *testing.T) {
	type look struct {
		at          time.Duration
		whole, left int
		fails       bool
	}
	for name, looks := range map[string][]look{
		"whole frames":           {{0, 100, 0, false}, {time.Minute, 100, 0, false}},
		"a slow frame":           {{0, 0, 5, false}, {9 * time.Second, 0, 500, false}, {10 * time.Second, 600, 5, false}, {19 * time.Second, 0, 9, false}},
		"a frame without an end": {{0, 0, 5, false}, {9 * time.Second, 0, 500, false}, {11 * time.Second, 0, 600, true}},
		"after a whole one":      {{0, 50, 5, false}, {11 * time.Second, 0, 600, true}},
		"each is new":            {{0, 50, 5, false}, {8 * time.Second, 50, 5, false}, {16 * time.Second, 50, 5, false}, {30 * time.Second, 0, 6, true}},
		"rest in between":        {{0, 0, 5, false}, {5 * time.Second, 10, 0, false}, {50 * time.Second, 0, 5, false}, {59 * time.Second, 0, 6, false}},
	} {
		var p frameWatch
		for i, l := range looks {
			if err := p.check(l.at, l.whole, l.left); (err != nil) != l.fails {
				t.Errorf("%s, look %d: %v", name, i, err)
			}
		}
	}
}
