package relay

import (
	"context"
	"errors"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"ultrasockets/codec"
)

// pipes is a listener whose connections are in-memory pipes.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newPipes() *pipes { return &pipes{conns: make(chan net.Conn), closed: make(chan struct{})} }

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.closed) })
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)} }

func (p *pipes) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	ours, theirs := net.Pipe()
	select {
	case p.conns <- theirs:
		return ours, nil
	case <-p.closed:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// star is a hub in a bubble of fake time.
type star struct {
	t    *testing.T
	hub  *Hub
	pipe *pipes
	now  clock
	wg   sync.WaitGroup

	mu   sync.Mutex
	skew time.Duration // how much the machine slept beyond what the timers saw
}

// inBubble runs f with a hub on pipes and fake time.
func inBubble(t *testing.T, cfg HubConfig, f func(s *star)) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		s := &star{t: t, pipe: newPipes()}
		s.now = func() time.Duration {
			s.mu.Lock()
			defer s.mu.Unlock()
			return time.Since(start) + s.skew
		}
		cfg.Mesh, cfg.Own, cfg.Clock = "lab", hello("relay"), s.now
		s.hub = NewHub(cfg)
		s.wg.Go(func() { s.hub.Serve(s.pipe) })
		defer s.wg.Wait()
		defer s.hub.Close()
		f(s)
	})
}

func (s *star) sleepMachine(d time.Duration) {
	s.mu.Lock()
	s.skew += d
	s.mu.Unlock()
}

func (s *star) dial(name string, change func(*codec.Hello)) (*Link, error) {
	h := hello(name)
	if change != nil {
		change(&h)
	}
	return Dial(context.Background(), "pipe", DialConfig{Hello: h, Dial: s.pipe.dial, Clock: s.now})
}

// run runs a port in the bubble; the result is closed when Run has returned, with its error in *err.
func (s *star) run(p Port) *sink {
	k := newSink()
	s.wg.Go(func() {
		k.err = p.Run(k)
		close(k.done)
	})
	return k
}

func (s *star) join(name string, change func(*codec.Hello)) (*Link, *sink) {
	s.t.Helper()
	l, err := s.dial(name, change)
	if err != nil {
		s.t.Fatal(err)
	}
	return l, s.run(l)
}

func otherToken(h *codec.Hello) { h.Token, h.Instance = []byte("0123456789abcdef"), 99 }

func TestIdleLinkLives(t *testing.T) {
	inBubble(t, HubConfig{}, func(s *star) {
		own := s.run(s.hub.Reign(Reign{}))
		l, k := s.join("a", nil)
		time.Sleep(time.Minute)
		select {
		case <-k.done:
			t.Fatal(k.err)
		case <-own.done:
			t.Fatal(own.err)
		default:
		}
		if s.hub.Links() != 1 || l.RTT() == 0 {
			t.Fatal(s.hub.Links(), l.RTT())
		}
		l.Close()
		<-k.done
	})
}

// TestRelayShortOfTime: a relay that stood still itself gives those that it heard nothing from as long again to be heard.
func TestRelayShortOfTime(t *testing.T) {
	inBubble(t, HubConfig{}, func(s *star) {
		own := s.run(s.hub.Reign(Reign{}))
		l, err := s.dial("a", nil)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(300 * time.Millisecond)
		if _, err := s.dial("a", otherToken); err == nil { // now the relay asks a whether it lives
			t.Fatal("two nodes of one name")
		}
		s.sleepMachine(probeTime - 100*time.Millisecond)
		time.Sleep(600 * time.Millisecond)
		k := s.run(l) // only now it can answer
		time.Sleep(10 * time.Second)
		if s.hub.Links() != 1 {
			t.Errorf("%d links; it ended: %v", s.hub.Links(), k.err)
		}
		l.Close()
		<-k.done
		select {
		case <-own.done:
			t.Error(own.err)
		default:
		}
	})
}

// TestAsksItself: who dials itself, by an address that it did not know to be its own, is told at once that nobody is there yet.
func TestAsksItself(t *testing.T) {
	inBubble(t, HubConfig{}, func(s *star) {
		began := s.now()
		_, err := s.dial("relay", nil)
		wantRefusal(t, err, codec.RefuseNotNow)
		if waited := s.now() - began; waited > 0 || len(s.hub.Votes()) != 0 {
			t.Errorf("it waited %v and has %d votes", waited, len(s.hub.Votes()))
		}
	})
}

// TestSilentLink: a node that never writes is dropped after three heartbeats.
func TestSilentLink(t *testing.T) {
	inBubble(t, HubConfig{}, func(s *star) {
		own := s.run(s.hub.Reign(Reign{}))
		l, err := s.dial("a", nil) // and no Run: no pings
		if err != nil {
			t.Fatal(err)
		}
		begun := time.Now()
		for {
			if c := nextUpdate(t, own); c.Op == codec.Left {
				if c.Reason != codec.LeftLost {
					t.Fatalf("%+v", c)
				}
				break
			}
		}
		if d := time.Since(begun); d < 3*time.Second || d > 4*time.Second {
			t.Fatalf("dropped after %v", d)
		}
		l.Close()
	})
}

// TestSilentRelay: a relay that does not answer is dead after three heartbeats.
func TestSilentRelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ours, theirs := net.Pipe()
		start := time.Now()
		cfg := &DialConfig{Hello: hello("a"), Clock: func() time.Duration { return time.Since(start) }}
		l := newLink(ours, inbuf{}, codec.Welcome{Heartbeat: time.Second, Relay: "r", Mesh: "m"}, cfg)
		read := make(chan struct{})
		go func() {
			defer close(read)
			var b [1024]byte
			for {
				if _, err := theirs.Read(b[:]); err != nil {
					return
				}
			}
		}()
		if err := l.Run(ignore{}); !errors.Is(err, ErrLinkDead) {
			t.Fatal(err)
		}
		if d := time.Since(start); d < 3*time.Second || d > 4*time.Second {
			t.Fatalf("dead after %v", d)
		}
		theirs.Close()
		<-read
	})
}

// TestStuckWriter: a node that pings but does not read is dropped when a write has made no progress for the dead time.
func TestStuckWriter(t *testing.T) {
	inBubble(t, HubConfig{}, func(s *star) {
		a := s.hub.Reign(Reign{})
		own := s.run(a)
		l, err := s.dial("a", nil)
		if err != nil {
			t.Fatal(err)
		}
		stop := make(chan struct{})
		var pinger sync.WaitGroup
		pinger.Go(func() {
			for {
				select {
				case <-stop:
					return
				case <-time.After(time.Second):
					l.conn.Write(data("a", "relay", 0, 0, "alive"))
				}
			}
		})
		wantChange(t, own, codec.Joined, 0, "a")
		a.Write(data("relay", "a", 1, 1, "x"), false)
		for nextUpdate(t, own).Op != codec.Left {
		}
		close(stop)
		l.Close()
		pinger.Wait()
	})
}

func TestHeldVoteExpires(t *testing.T) {
	inBubble(t, HubConfig{}, func(s *star) {
		begun := time.Now()
		_, err := s.dial("a", nil)
		wantRefusal(t, err, codec.RefuseNotNow)
		if d := time.Since(begun); d != holdTime {
			t.Fatalf("held for %v", d)
		}
		if n := len(s.hub.Votes()); n != 0 {
			t.Fatal(n)
		}
	})
}

// TestRehold: a change back to holding does not prolong a vote, nor lose its end.
func TestRehold(t *testing.T) {
	inBubble(t, HubConfig{}, func(s *star) {
		begun := time.Now()
		s.wg.Go(func() {
			time.Sleep(time.Second)
			s.hub.Hold()
		})
		_, err := s.dial("a", nil)
		wantRefusal(t, err, codec.RefuseNotNow)
		if d := time.Since(begun); d != holdTime {
			t.Fatalf("held for %v", d)
		}
	})
}

func TestPlaceIsKept(t *testing.T) {
	inBubble(t, HubConfig{Connections: 1}, func(s *star) {
		own := s.run(s.hub.Reign(Reign{}))
		l, k := s.join("a", nil)
		l.Close() // without a Bye
		<-k.done
		for nextUpdate(t, own).Op != codec.Left {
		}
		_, err := s.dial("b", nil)
		wantRefusal(t, err, codec.RefuseMeshFull)
		l, k = s.join("a", otherToken) // its own name, a new instance
		l.Close()
		<-k.done
		time.Sleep(keepPlace + time.Second)
		l, k = s.join("b", nil)
		synctest.Wait() // until Run runs: else Leave does not wait for the relay
		if err := l.Leave(context.Background()); err != nil {
			t.Fatal(err)
		}
		<-k.done
		l, k = s.join("c", nil) // b said Bye: its place is free at once
		l.Close()
		<-k.done
	})
}

func TestExpected(t *testing.T) {
	inBubble(t, HubConfig{Connections: 2}, func(s *star) {
		s.run(s.hub.Reign(Reign{Expected: []codec.Entry{{Name: "a", Instance: instanceOf("a")}, {Name: "b", Instance: instanceOf("b")}}}))
		_, err := s.dial("a", otherToken)
		wantRefusal(t, err, codec.RefuseNameKept)
		_, err = s.dial("stranger", nil)
		wantRefusal(t, err, codec.RefuseMeshFull)
		l, k := s.join("a", nil)
		time.Sleep(expectFor)
		l2, k2 := s.join("b", otherToken)
		l.Close()
		l2.Close()
		<-k.done
		<-k2.done
	})
}

// TestLinkStall: what a link reads after a long stop is not handed on.
func TestLinkStall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ours, theirs := net.Pipe()
		start := time.Now()
		var mu sync.Mutex
		var skew time.Duration
		cfg := &DialConfig{Hello: hello("a"), Clock: func() time.Duration {
			mu.Lock()
			defer mu.Unlock()
			return time.Since(start) + skew
		}}
		l := newLink(ours, inbuf{}, codec.Welcome{Heartbeat: time.Hour, Relay: "r", Mesh: "m"}, cfg)
		s := newSink()
		go func() {
			s.err = l.Run(s)
			close(s.done)
		}()
		var drain sync.WaitGroup
		drain.Go(func() {
			var b [512]byte
			for {
				if _, err := theirs.Read(b[:]); err != nil {
					return
				}
			}
		})
		theirs.Write(data("b", "a", 1, 1, "before"))
		s.next(t, codec.KindData)
		mu.Lock()
		skew = 4 * time.Hour
		mu.Unlock()
		theirs.Write(data("b", "a", 1, 2, "after"))
		<-s.done
		if !errors.Is(s.err, ErrStalled) || len(s.frames) > 0 {
			t.Fatal(s.err, len(s.frames))
		}
		theirs.Close()
		drain.Wait()
	})
}

// TestHandshakeTimes: who says nothing is let go after five seconds.
func TestHandshakeTimes(t *testing.T) {
	inBubble(t, HubConfig{}, func(s *star) {
		for _, said := range [][]byte{nil, preamble(1, codec.ModeOpen)[:5]} {
			c, err := s.pipe.dial(context.Background(), "", "")
			if err != nil {
				t.Fatal(err)
			}
			begun := time.Now()
			if len(said) > 0 {
				c.Write(said)
			}
			var b [64]byte
			if n, err := c.Read(b[:]); err == nil {
				t.Fatalf("%q", b[:n])
			}
			if d := time.Since(begun); d != helloTime {
				t.Fatalf("%v", d)
			}
			c.Close()
		}
		if a := s.hub.Stats().TurnedAway; a.Timeout != 2 {
			t.Fatalf("%+v", a)
		}
	})
}

// TestOldestGivesWay: a newcomer gets the place of a handshake that has lasted for a second.
func TestOldestGivesWay(t *testing.T) {
	inBubble(t, HubConfig{}, func(s *star) {
		s.run(s.hub.Reign(Reign{}))
		var idle []net.Conn
		for range maxPlaces {
			c, err := s.pipe.dial(context.Background(), "", "")
			if err != nil {
				t.Fatal(err)
			}
			c.Write(preamble(1, codec.ModeOpen))
			c.Read(make([]byte, codec.PreambleSize))
			idle = append(idle, c)
		}
		time.Sleep(patience + time.Millisecond)
		begun := time.Now()
		l, k := s.join("a", nil)
		if d := time.Since(begun); d > 0 {
			t.Fatalf("it waited for %v", d)
		}
		if a := s.hub.Stats().TurnedAway; a.Oldest != 1 {
			t.Fatalf("%+v", a)
		}
		l.Close()
		<-k.done
		for _, c := range idle {
			c.Close()
		}
	})
}

// TestLobby: when too many have not sent their preamble, who has said nothing for the longest gives way, but not before it could have.
func TestLobby(t *testing.T) {
	inBubble(t, HubConfig{}, func(s *star) {
		s.run(s.hub.Reign(Reign{}))
		var silent []net.Conn
		begun := time.Now()
		for range 3 * maxLobby {
			c, err := s.pipe.dial(context.Background(), "", "")
			if err != nil {
				t.Fatal(err)
			}
			silent = append(silent, c)
		}
		if d := time.Since(begun); d < 2*lobbyGrace-time.Millisecond || d > 2*lobbyGrace+time.Millisecond {
			t.Fatalf("the third %d were taken after %v", maxLobby, d)
		}
		l, k := s.join("a", nil)
		if d := time.Since(begun); d > 3*lobbyGrace {
			t.Fatalf("it waited until %v", d)
		}
		if a := s.hub.Stats(); a.TurnedAway.Oldest != 2*maxLobby+1 || a.Pending > maxLobby {
			t.Fatalf("%+v", a)
		}
		l.Close()
		<-k.done
		for _, c := range silent {
			c.Close()
		}
	})
}

// TestMissedUpdates: a node too slow for updates gets the whole roster when it has caught up.
func TestMissedUpdates(t *testing.T) {
	inBubble(t, HubConfig{OutboxBytes: minOutbox, Heartbeat: time.Hour}, func(s *star) {
		s.run(s.hub.Reign(Reign{}))
		slow, err := s.dial("slow", nil)
		if err != nil {
			t.Fatal(err)
		}
		l, k := s.join("a", func(h *codec.Hello) { h.WantsRoster = false })
		big := make(map[string]string)
		for range 3 {
			big[time.Duration(len(big)).String()] = string(make([]byte, 200))
		}
		u := codec.Update{Changes: []codec.Change{{Op: codec.Changed, Entry: codec.Entry{Tags: big}}}}
		f := codec.Frame{Kind: codec.KindUpdate, Payload: u.Append(nil)}
		for range 400 {
			l.Write(f.Append(nil), true)
			synctest.Wait()
		}
		if d := s.hub.Stats().Dropped; d.Updates != 1 {
			t.Fatalf("%+v", d)
		}
		got := s.run(slow)
		synctest.Wait()
		time.Sleep(time.Second)
		rosters, last := 0, codec.Frame{}
		for len(got.frames) > 0 {
			if last = <-got.frames; last.Kind == codec.KindRoster {
				rosters++
			}
		}
		if rosters != 2 || last.Kind != codec.KindRoster {
			t.Fatalf("%d rosters, then %v", rosters, last.Kind)
		}
		l.Close()
		slow.Close()
		<-k.done
		<-got.done
	})
}
