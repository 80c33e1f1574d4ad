package relay

import (
	"errors"
	"fmt"
	"net"
	"testing"
	"time"

	"ultrasockets/codec"
)

// TestPacer: who stood still gives others as long, for as long, and not more if that happens again and again.
func TestPacer(t *testing.T) {
	const ms = time.Millisecond
	for name, c := range map[string]struct{ ticks, graces []time.Duration }{
		"steady":          {[]time.Duration{250 * ms, 500 * ms, 900 * ms}, []time.Duration{0, 0, 0}},
		"once":            {[]time.Duration{250 * ms, 2250 * ms, 2500 * ms, 4200 * ms, 4450 * ms}, []time.Duration{0, 2000 * ms, 2000 * ms, 2000 * ms, 2000 * ms}},
		"once, then well": {[]time.Duration{1000 * ms, 1250 * ms, 1750 * ms, 2000 * ms}, []time.Duration{1000 * ms, 1000 * ms, 1000 * ms, 0}},
		"asleep": {
			[]time.Duration{time.Hour, time.Hour + 500*ms, time.Hour + 1000*ms, time.Hour + 1500*ms, time.Hour + 2000*ms, time.Hour + 2500*ms, time.Hour + 3000*ms},
			[]time.Duration{3000 * ms, 3000 * ms, 3000 * ms, 3000 * ms, 3000 * ms, 3000 * ms, 0},
		},
		"again and again": {[]time.Duration{600 * ms, 1200 * ms, 1800 * ms, 2400 * ms}, []time.Duration{600 * ms, 600 * ms, 600 * ms, 600 * ms}},
	} {
		p := pacer{tick: 250 * ms}
		for i, now := range c.ticks {
			if _, grace := p.at(now); grace != c.graces[i] {
				t.Errorf("%s: %v at %v, want %v", name, grace, now, c.graces[i])
			}
		}
	}
}

func TestHubStall(t *testing.T) {
	inBubble(t, HubConfig{}, func(s *star) {
		own := s.run(s.hub.Reign(Reign{}))
		_, k := s.join("a", nil)
		time.Sleep(2 * time.Second)
		s.sleepMachine(time.Hour)
		<-own.done
		<-k.done
		if !errors.Is(own.err, ErrStalled) {
			t.Fatal(own.err)
		}
		if !errors.Is(k.err, ErrStalled) && k.err == nil {
			t.Fatal(k.err)
		}
		if s.hub.Links() != 0 {
			t.Fatal(s.hub.Links())
		}
		_, err := s.dial("a", nil)
		wantRefusal(t, err, codec.RefuseNotNow) // it holds
		again := s.run(s.hub.Reign(Reign{}))
		l, k := s.join("a", nil)
		l.Close()
		<-k.done
		s.hub.Close()
		<-again.done
	})
}

// TestProbe: a name's holder that does not answer is dropped after two seconds, one that does keeps its name.
func TestProbe(t *testing.T) {
	inBubble(t, HubConfig{Heartbeat: 10 * time.Second}, func(s *star) {
		s.run(s.hub.Reign(Reign{}))
		dead, err := s.dial("a", nil) // no Run
		if err != nil {
			t.Fatal(err)
		}
		live, k := s.join("b", nil)
		for _, name := range []string{"a", "b"} {
			_, err = s.dial(name, otherToken)
			wantRefusal(t, err, codec.RefuseNameTaken)
		}
		time.Sleep(probeTime + time.Second)
		_, err = s.dial("b", otherToken)
		wantRefusal(t, err, codec.RefuseNameTaken)
		l, k2 := s.join("a", otherToken)
		dead.Close()
		live.Close()
		l.Close()
		<-k.done
		<-k2.done
	})
}

// TestWheelFollowsTheHeartbeat: when a large mesh has become small, links are looked at as often as in any small one.
func TestWheelFollowsTheHeartbeat(t *testing.T) {
	const tick = 250 * time.Millisecond
	for _, links := range []int{1, 1_000, 20_000} {
		now := time.Second
		h := NewHub(HubConfig{Mesh: "lab", Own: hello("relay"), Clock: func() time.Duration { return now }})
		defer h.Close()
		turn := func() {
			now += tick
			h.clock.publish(now)
			h.turn(now, tick, 0)
		}
		for i := range links {
			h.names[fmt.Sprint("n", i)] = nil
		}
		turn()
		clear(h.names)
		turn()
		conn, other := net.Pipe()
		defer other.Close()
		p := &peer{hub: h, conn: conn, ended: make(chan struct{})}
		p.out.conn, p.out.clock = conn, &h.clock
		p.beat.Store(int64(h.heartbeat()))
		p.lastRead.Store(int64(now))
		h.peers[p] = struct{}{}
		silent := now
		for !isClosed(p.ended) {
			turn()
		}
		delete(h.peers, p)
		if dead := p.dead(); now-silent > dead+2*tick {
			t.Errorf("after %d links: dead after %v, and not %v", links, now-silent, dead)
		}
	}
}
