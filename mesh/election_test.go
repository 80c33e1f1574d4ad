package mesh

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"ultrasockets/codec"
)

func TestPromote(t *testing.T) {
	newcomer := standing{eligible: true, settled: true, best: true}
	orphan := standing{eligible: true, orphan: true, tried: true, best: true, electorate: 4, votes: 1}
	for name, c := range map[string]struct {
		from   standing
		change func(*standing)
		want   bool
	}{
		"newcomer alone":                      {newcomer, func(*standing) {}, true},
		"newcomer that is to have patience":   {newcomer, func(s *standing) { s.settled = false }, false},
		"newcomer and a better one":           {newcomer, func(s *standing) { s.best = false }, false},
		"newcomer that may not":               {newcomer, func(s *standing) { s.eligible = false }, false},
		"newcomer that cannot reach a relay":  {newcomer, func(s *standing) { s.relayLives = true }, false},
		"server":                              {newcomer, func(s *standing) { s.server, s.settled, s.relayLives = true, false, true }, true},
		"server that gave way":                {newcomer, func(s *standing) { s.server, s.settled, s.resigned = true, false, true }, false},
		"orphan alone":                        {orphan, func(*standing) {}, false},
		"orphan with half of the votes":       {orphan, func(s *standing) { s.votes = 2 }, false},
		"orphan with more than half":          {orphan, func(s *standing) { s.votes = 3 }, true},
		"orphan that has not dialled again":   {orphan, func(s *standing) { s.votes, s.tried = 3, false }, false},
		"orphan of a dead relay":              {orphan, func(s *standing) { s.relayDead = true }, true},
		"orphan of a dead relay, not best":    {orphan, func(s *standing) { s.relayDead, s.best = true, false }, false},
		"orphan of two whose relay refuses":   {orphan, func(s *standing) { s.electorate, s.relayRefuses = 1, true }, true},
		"orphan of many whose relay refuses":  {orphan, func(s *standing) { s.relayRefuses = true }, false},
		"orphan of two whose relay is silent": {orphan, func(s *standing) { s.electorate = 1 }, false},
	} {
		s := c.from
		c.change(&s)
		if why, got := s.promote(); got != c.want {
			t.Errorf("%s: %v (%s)", name, got, why)
		}
	}
}

func TestReigns(t *testing.T) {
	for _, c := range []struct {
		last, back, linked int
		want               bool
	}{{0, 0, 0, false}, {0, 0, 1, true}, {1, 0, 1, true}, {4, 1, 5, false}, {4, 2, 2, true}, {5, 2, 2, true}, {5, 1, 9, false}} {
		if got := confirmed(c.last, c.back, c.linked); got != c.want {
			t.Errorf("of %d, %d are back and %d are linked: confirmed %v", c.last, c.back, c.linked, got)
		}
	}
	if founded(0) != 0 || founded(1) != 1 || founded(2) <= founded(1) || founded(49) <= founded(5) {
		t.Error("a founder's term does not grow with its mesh")
	}
	best := []reign{{true, 0, 9}, {false, 3, 8}, {false, 2, 1}, {false, 2, 2}, {false, 0, 1}}
	for i := range best {
		for j := range best {
			if best[i].better(best[j]) != (i < j) {
				t.Errorf("%v before %v: %v", best[i], best[j], i >= j)
			}
		}
	}
}

// TestHereIsOfThisRelay: what the last relay listed says nothing of who has linked to this one.
func TestHereIsOfThisRelay(t *testing.T) {
	v := newView("me")
	list := func(names ...string) {
		var r codec.Roster
		for i, name := range names {
			r.Entries = append(r.Entries, codec.Entry{Name: name, Instance: uint64(i + 1)})
		}
		v.roster(0, codec.FlagFirst, r)
	}
	linked := func() (yes bool) {
		v.wait(func(_ map[string]listed, linked bool) bool { yes = linked; return true })
		return yes
	}
	v.setRelay("old")
	list("me", "a", "b", "old")
	if len(v.here()) != 4 || !linked() {
		t.Fatal(v.here())
	}
	v.setRelay("")
	v.setRelay("me")
	if len(v.here()) != 0 || linked() {
		t.Errorf("before the roster: %v", v.here())
	}
	list("me")
	if len(v.here()) != 1 || !linked() || len(v.entries()) != 4 {
		t.Errorf("then: %v, of %v", v.here(), v.entries())
	}
}

// TestGoesWhereTold: an orphan whose relay gave way dials the one that it named, and asks a candidate only when that was
// in vain, or takes too long.
func TestGoesWhereTold(t *testing.T) {
	now := time.Duration(0)
	u := &uplink{
		set: &settings{}, clock: func() time.Duration { return now },
		lost: "old", lostForGood: true, lostAddrs: []string{"10.0.0.1:1"}, referrals: [][]string{{"10.0.0.2:1"}},
		lastRoster: []codec.Entry{{Name: "old", Instance: 1, Relay: true}, {Name: "best", Instance: 2, Addrs: []string{"10.0.0.3:1"}}},
	}
	s := &seek{u: u, orphan: true, targets: make(map[string]*target)}
	wanted := func() (list []string) {
		s.plan()
		for key, target := range s.targets {
			if target.wanted {
				list = append(list, key)
			}
		}
		slices.Sort(list)
		return list
	}
	if got := wanted(); !slices.Equal(got, []string{"10.0.0.2:1"}) || s.relayTried() {
		t.Errorf("at first it dials %v", got)
	}
	s.targets["10.0.0.2:1"].tried = true
	if got := wanted(); !slices.Contains(got, "10.0.0.3:1") || !s.relayTried() {
		t.Errorf("after that failed it dials %v", got)
	}
	s.targets["10.0.0.2:1"].tried = false
	if now = relayRetry + 1; !slices.Contains(wanted(), "10.0.0.3:1") || !s.relayTried() {
		t.Error("it waits for the named one for ever")
	}
}

// TestRemembersTheLost: a light node whose relay is dead finds its mesh by those that it lost sight of.
func TestRemembersTheLost(t *testing.T) {
	v := newView("me")
	gone := func(name string, reason codec.LeftReason, addrs ...string) {
		e := codec.Entry{Name: name, Instance: 7, Addrs: addrs}
		v.update(codec.Update{Changes: []codec.Change{{Op: codec.Joined, Entry: e}}})
		v.update(codec.Update{Changes: []codec.Change{{Op: codec.Left, Entry: e, Reason: reason}}})
	}
	gone("light", codec.LeftLost)
	gone("polite", codec.LeftBye, "10.0.0.8:1")
	if got := v.lostAddrs(); len(got) != 0 {
		t.Error(got)
	}
	for i := range 3 * lostKept {
		gone("n", codec.LeftLost, fmt.Sprint("10.0.0.9:", i+1))
		gone("m", codec.LeftLost, "10.0.0.10:1")
	}
	got := v.lostAddrs()
	if len(got) != lostKept || got[lostKept-1][0] != "10.0.0.10:1" || got[lostKept-2][0] != fmt.Sprint("10.0.0.9:", 3*lostKept) {
		t.Error(got)
	}
}
