package mesh_test

import (
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"ultrasockets/mesh"
)

// proxy is a bad cable between a light node and its relay: what passes it is delayed, throttled, cut into single bytes,
// changed, swallowed, or ended by a reset.
type proxy struct {
	t     *testing.T
	l     net.Listener
	to    string
	conns sync.WaitGroup

	delay, jitter time.Duration
	rate          int // bytes a second; 0: any
	dribble       bool
	flip          float64 // probability for a chunk that one bit of it changes

	swallow atomic.Bool // nothing passes towards the relay
	flipped atomic.Int64

	mu   sync.Mutex
	open map[net.Conn]bool
}

func newProxy(t *testing.T, to string) *proxy {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{t: t, l: l, to: to, open: map[net.Conn]bool{}}
	p.conns.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			p.conns.Go(func() { p.serve(c) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		p.reset()
		p.conns.Wait()
	})
	return p
}

func (p *proxy) addr() string { return p.l.Addr().String() }

// reset ends every connection abruptly.
func (p *proxy) reset() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.open {
		if tc, ok := c.(*net.TCPConn); ok {
			tc.SetLinger(0)
		}
		c.Close()
	}
}

func (p *proxy) keep(c net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.open[c] = true
}

func (p *proxy) drop(c net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.open, c)
	c.Close()
}

func (p *proxy) serve(c net.Conn) {
	defer p.drop(c)
	p.keep(c)
	up, err := net.Dial("tcp", p.to)
	if err != nil {
		return
	}
	defer p.drop(up)
	p.keep(up)
	var both sync.WaitGroup
	both.Go(func() { p.pass(up, c, true); up.Close() })
	both.Go(func() { p.pass(c, up, false); c.Close() })
	both.Wait()
}

type chunk struct {
	b  []byte
	at time.Time
}

// pass copies one direction.
func (p *proxy) pass(dst, src net.Conn, towardsRelay bool) {
	chunks := make(chan chunk, 64)
	var reader sync.WaitGroup
	reader.Go(func() {
		defer close(chunks)
		last := time.Time{}
		for {
			b := make([]byte, 16<<10)
			n, err := src.Read(b)
			if n > 0 && !(towardsRelay && p.swallow.Load()) {
				at := time.Now().Add(p.delay)
				if p.jitter > 0 {
					at = at.Add(rand.N(p.jitter))
				}
				if at.Before(last) {
					at = last // TCP keeps the order
				}
				last = at
				if p.flip > 0 && rand.Float64() < p.flip {
					b[rand.IntN(n)] ^= 1 << rand.IntN(8)
					p.flipped.Add(1)
				}
				chunks <- chunk{b[:n], at}
			}
			if err != nil {
				return
			}
		}
	})
	broken := false
	for c := range chunks {
		if broken {
			continue
		}
		time.Sleep(time.Until(c.at))
		if p.rate > 0 {
			time.Sleep(time.Duration(len(c.b)) * time.Second / time.Duration(p.rate))
		}
		step := len(c.b)
		if p.dribble {
			step = 1
		}
		for i := 0; i < len(c.b) && !broken; i += step {
			if _, err := dst.Write(c.b[i:min(i+step, len(c.b))]); err != nil {
				broken = true
				src.Close()
			}
		}
	}
	reader.Wait()
}

// badCable runs traffic both ways between two light nodes, one of them behind a proxy, for a while, and checks that
// everything arrives once and in order.
//
// Messages have up to so many bytes that do not shrink; and links and messages are encrypted if there is a secret.
func badCable(t *testing.T, d time.Duration, rate, size int, secret []byte, change func(*proxy), during func(p *proxy, until time.Time)) {
	ctx := within(t, d+time.Minute)
	noise := make([]byte, size)
	rand.NewChaCha8([32]byte{}).Read(noise)
	message := func(n int) string { return fmt.Sprintf("%08d %s", n, noise[:n*997%size]) }
	s, err := mesh.Listen(ctx, "127.0.0.1:0", mesh.Config{Name: "relay", Secret: secret, Logger: testLog(t)})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	p := newProxy(t, s.Addr().String())
	change(p)
	dial := func(name, addr string) *mesh.Node {
		n, err := mesh.Dial(ctx, addr, mesh.Config{Name: name, Secret: secret, Logger: testLog(t)})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { n.Close() })
		return n
	}
	a, b := dial("a", p.addr()), dial("b", s.Addr().String())
	until := time.Now().Add(d)
	var all sync.WaitGroup
	sent := [2]int{}
	for i, pair := range [][2]*mesh.Node{{a, b}, {b, a}} {
		all.Go(func() {
			for start := time.Now(); time.Now().Before(until); time.Sleep(5 * time.Millisecond) {
				// On a machine that is too slow for the rate it is never there.
				for ; sent[i] < int(time.Since(start).Seconds()*float64(rate)) && time.Now().Before(until); sent[i]++ {
					if err := pair[0].Send(ctx, pair[1].Name(), []byte(message(sent[i]))); err != nil {
						t.Error(err)
						return
					}
				}
			}
			if err := pair[0].Send(ctx, pair[1].Name(), fmt.Sprint("last after ", sent[i])); err != nil {
				t.Error(err)
			}
		})
		all.Go(func() {
			for n := 0; ; n++ {
				m, err := pair[1].Receive(ctx)
				if err != nil {
					t.Errorf("%s, message %d: %v", pair[1].Name(), n, err)
					return
				}
				if m.Text() == fmt.Sprint("last after ", n) {
					return
				}
				if got := string(m.Bytes()); got != message(n) {
					t.Errorf("%s got %.8s at place %d, or not as it was sent", pair[1].Name(), got, n)
					return
				}
			}
		})
	}
	if during != nil {
		during(p, until)
	}
	all.Wait()
	t.Logf("%d and %d messages: 0 lost, 0 twice, 0 out of order; %d bits flipped", sent[0], sent[1], p.flipped.Load())
}

func TestFaultsOnTheCable(t *testing.T) {
	t.Parallel()
	d := pick(3*time.Second, time.Minute)
	resets := func(p *proxy, until time.Time) {
		for time.Now().Before(until) {
			time.Sleep(rand.N(600 * time.Millisecond))
			p.reset()
		}
	}
	for _, c := range []struct {
		name       string
		rate, size int
		secret     []byte
		change     func(*proxy)
		during     func(*proxy, time.Time)
	}{
		{"delay", 1000, 500, nil, func(p *proxy) { p.delay, p.jitter = 50*time.Millisecond, 20*time.Millisecond }, nil},
		{"bandwidth", 2000, 500, nil, func(p *proxy) { p.rate = 1 << 20 }, nil},
		{"dribble", 50, 500, nil, func(p *proxy) { p.dribble = true }, nil},
		{"resets", 2000, 500, nil, func(p *proxy) {}, resets},
		{"everything", 200, 500, nil, func(p *proxy) { p.delay, p.jitter, p.rate = 20*time.Millisecond, 30*time.Millisecond, 1<<20 }, resets},
		{"flips", 1000, 500, nil, func(p *proxy) { p.flip = 0.02 }, nil},
		{"flips of what is sealed", 200, 50_000, mesh.NewSecret(), func(p *proxy) { p.flip = 0.02 }, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			badCable(t, d, c.rate, c.size, c.secret, c.change, c.during)
		})
	}
}

// TestFaultsHalfOpen: a link of which one direction is a black hole is noticed by both ends, and replaced.
func TestFaultsHalfOpen(t *testing.T) {
	parallel(t)
	ctx := within(t, 30*time.Second)
	s, err := mesh.Listen(ctx, "127.0.0.1:0", mesh.Config{Name: "relay"})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	p := newProxy(t, s.Addr().String())
	n, err := mesh.Dial(ctx, p.addr(), mesh.Config{Name: "a"})
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	events := n.Events(ctx)
	p.swallow.Store(true)
	start := time.Now()
	if err := n.Send(ctx, "relay", "into the hole"); err != nil {
		t.Fatal(err)
	}
	for e := range events {
		if e.Kind == mesh.EventUnlinked {
			break
		}
	}
	noticed := time.Since(start)
	p.swallow.Store(false)
	m, err := s.Receive(ctx)
	if err != nil || m.Text() != "into the hole" {
		t.Fatal(m.Text(), err)
	}
	t.Logf("noticed after %v, healed after %v, 0 lost", noticed, time.Since(start))
	if noticed > 4*time.Second {
		t.Error("noticed too late")
	}
}
