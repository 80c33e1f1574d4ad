package discovery

import (
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"testing"
	"time"
)

func testJoiner(seeds ...string) *joiner {
	return &joiner{
		facts: newFacts(1), seeds: seeds, log: slog.New(slog.DiscardHandler),
		own:      func() []netip.AddrPort { return []netip.AddrPort{netip.MustParseAddrPort("192.168.1.1:7000")} },
		kick:     make(chan struct{}, 1),
		attempts: make(map[string]*attempt), nameless: make(map[string]string),
	}
}

func TestDue(t *testing.T) {
	var (
		j      = testJoiner("192.168.1.1:7000", "192.168.1.2:7000", "relay.lab:7000")
		now    = time.Now()
		second = netip.MustParseAddrPort("192.168.1.2:7000")
		third  = netip.MustParseAddrPort("192.168.1.3:7000")
		fourth = netip.MustParseAddrPort("192.168.1.4:7000")
		local  = netip.MustParseAddrPort("[fe80::3%eth0]:7000")
	)
	expect := func(what string, want ...string) {
		t.Helper()
		if got := j.due(now, joinParallel); !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", what, got, want)
		}
	}
	expect("seeds but for itself", "192.168.1.2:7000", "relay.lab:7000")
	expect("they are being tried")
	j.facts.hear(hint{instance: 3, addrs: []netip.AddrPort{third, local}}, now)
	expect("a hint, as far as gossip can dial it", third.String())
	j.offer([]netip.AddrPort{fourth, fourth, {}})
	expect("an offer", fourth.String())
	j.done("relay.lab:7000", fmt.Errorf("no such host"), now)
	j.done(third.String(), fmt.Errorf("refused"), now)
	j.done(fourth.String(), nil, now)
	expect("nothing before the pause is over")
	j.facts.joined(2, second, Meta{Name: "two"}, now)
	j.done("192.168.1.2:7000", nil, now)
	now = now.Add(joinPause)
	expect("what failed", "relay.lab:7000", third.String())
	j.facts.left(2, now)
	now = now.Add(joinSlowPause)
	expect("the seed that is gone, once", "192.168.1.2:7000")
}

func TestDueIsBounded(t *testing.T) {
	j := testJoiner()
	now := time.Now()
	for n := range uint16(1000) {
		j.offer([]netip.AddrPort{netip.AddrPortFrom(netip.MustParseAddr("192.168.1.9"), n+1)})
	}
	if len(j.offered) != maxOffered || j.offered[0].Port() != 1000-maxOffered+1 {
		t.Errorf("%d offered, from %v", len(j.offered), j.offered[0])
	}
	if n := len(j.due(now, 3)); n != 3 {
		t.Errorf("%d due", n)
	}
	if n := len(j.due(now, 0)); n != 0 {
		t.Errorf("%d due without a place", n)
	}
}

func TestOffersEnd(t *testing.T) {
	j := testJoiner()
	now := time.Now()
	j.offer([]netip.AddrPort{netip.MustParseAddrPort("192.168.1.9:7000")})
	tries := 0
	for range 100 {
		for _, target := range j.due(now, 1) {
			tries++
			j.done(target, fmt.Errorf("a light node has no gossip"), now)
		}
		now = now.Add(joinPause)
	}
	if tries < 3 || tries > 10 {
		t.Errorf("tried %d times", tries)
	}
}

func TestJoinPause(t *testing.T) {
	now := time.Now()
	for _, c := range []struct {
		attempt attempt
		members int
		want    time.Duration
	}{
		{attempt{first: now}, 0, 2 * time.Second},
		{attempt{first: now.Add(-59 * time.Minute)}, 15, 2 * time.Second},
		{attempt{first: now.Add(-61 * time.Minute)}, 0, 30 * time.Second},
		{attempt{first: now}, 64, 8 * time.Second},
		{attempt{first: now}, 4000, 30 * time.Second},
		{attempt{first: now, joined: 2}, 0, 8 * time.Second},
		{attempt{first: now, joined: 1000}, 0, 30 * time.Second},
	} {
		if got := c.attempt.pause(now, c.members); got != c.want {
			t.Errorf("%+v among %d: %v, want %v", c.attempt, c.members, got, c.want)
		}
	}
}

func TestBrowsePause(t *testing.T) {
	var total time.Duration
	for n := range 4 {
		total += browsePause(n, 0)
	}
	if total > time.Second {
		t.Errorf("the fifth question comes after %v", total)
	}
	for members, want := range map[int]time.Duration{0: 30 * time.Second, 32: 30 * time.Second, 320: 300 * time.Second} {
		if got := browsePause(1000, members); got != want {
			t.Errorf("%d members: %v, want %v", members, got, want)
		}
		if life := hintLifeAmong(members); life < 2*want*6/5 {
			t.Errorf("%d members: hints live for %v", members, life)
		}
	}
	if hintLifeAmong(0) != hintLife {
		t.Errorf("hints live for %v", hintLifeAmong(0))
	}
}

func TestSplitSeed(t *testing.T) {
	for seed, ok := range map[string]bool{
		"10.0.0.1:7000": true, "[fe80::1%eth0]:7000": true, "relay.lab:1": true,
		"10.0.0.1": false, ":7000": false, "relay:0": false, "relay:65536": false, "relay:http": false, "": false,
	} {
		if _, _, err := splitSeed(seed); (err == nil) != ok {
			t.Errorf("%q: %v", seed, err)
		}
	}
}
