package meshtest

import (
	"context"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/nettest"
)

// pair makes both ends of a connection from one host to another.
func pair(n *network) (from, to net.Conn, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	l, err := n.host("b").Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, nil, err
	}
	defer l.Close()
	if from, err = n.host("a").DialContext(ctx, "tcp", l.Addr().String()); err != nil {
		return nil, nil, err
	}
	to, err = l.Accept()
	return from, to, err
}

// TestConn runs the conformance test of net.Conn, over both kinds of network, with and without a slow cable.
func TestConn(t *testing.T) {
	for name, inMemory := range map[string]bool{"memory": true, "sockets": false} {
		for what, cable := range map[string]Cable{"good": {}, "slow": {Latency: time.Millisecond, Jitter: time.Millisecond}} {
			t.Run(name+"/"+what, func(t *testing.T) {
				t.Parallel()
				nettest.TestConn(t, func() (c1, c2 net.Conn, stop func(), err error) {
					n := newNetwork(inMemory)
					n.change(func(c *conditions) { c.others = cable })
					c1, c2, err = pair(n)
					stop = func() {
						if err == nil {
							c1.Close()
							c2.Close()
						}
						n.close()
					}
					return c1, c2, stop, err
				})
			})
		}
	}
}

// said writes a byte and tells when the other end has it.
func said(t *testing.T, from, to net.Conn) time.Duration {
	t.Helper()
	began := time.Now()
	if _, err := from.Write([]byte("U")); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(to, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	return time.Since(began)
}

// inBubbleOf runs f with a connection in memory and virtual time.
func inBubbleOf(t *testing.T, f func(t *testing.T, n *network, a, b net.Conn)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(true)
		a, b, err := pair(n)
		if err != nil {
			t.Fatal(err)
		}
		f(t, n, a, b)
		a.Close()
		b.Close()
		n.close()
	})
}

func (n *network) setCable(name string, c Cable) {
	n.change(func(to *conditions) { to.cables = map[string]Cable{name: c} })
}

func TestCableLatency(t *testing.T) {
	inBubbleOf(t, func(t *testing.T, n *network, a, b net.Conn) {
		if d := said(t, a, b); d != 0 {
			t.Errorf("a good cable takes %v", d)
		}
		n.setCable("a", Cable{Latency: 30 * time.Millisecond})
		if d := said(t, a, b); d != 30*time.Millisecond {
			t.Errorf("takes %v", d)
		}
		n.setCable("a", Cable{Latency: 30 * time.Millisecond, Jitter: 10 * time.Millisecond})
		least, most := time.Hour, time.Duration(0)
		for range 100 {
			d := said(t, b, a)
			least, most = min(least, d), max(most, d)
		}
		if least < 30*time.Millisecond || most > 40*time.Millisecond || most-least < 5*time.Millisecond {
			t.Errorf("with jitter it takes %v to %v", least, most)
		}
		n.setCable("a", Cable{Latency: time.Hour, Only: Gossip})
		if d := said(t, a, b); d != 0 {
			t.Errorf("a cable that is bad for gossip delays a link by %v", d)
		}
	})
}

func TestCableRate(t *testing.T) {
	inBubbleOf(t, func(t *testing.T, n *network, a, b net.Conn) {
		n.setCable("b", Cable{Rate: 10_000})
		go func() {
			a.Write(make([]byte, 200_000))
			a.Close()
		}()
		began := time.Now()
		got, err := io.Copy(io.Discard, b)
		if d := time.Since(began); got != 200_000 || err != nil || d < 19*time.Second || d > 21*time.Second {
			t.Errorf("%d bytes (%v) at 10,000 a second took %v", got, err, d)
		}
	})
}

// TestCableCutOneWay: a half open connection. What waits arrives when the cable is good again, in order.
func TestCableCutOneWay(t *testing.T) {
	inBubbleOf(t, func(t *testing.T, n *network, a, b net.Conn) {
		said(t, a, b)
		n.setCable("a", Cable{Cut: Out})
		said(t, b, a)
		if _, err := a.Write([]byte("lost?")); err != nil {
			t.Fatal(err)
		}
		b.SetReadDeadline(time.Now().Add(time.Hour))
		if k, err := b.Read(make([]byte, 9)); err == nil {
			t.Fatalf("%d bytes passed a cut cable", k)
		}
		b.SetReadDeadline(time.Time{})
		n.change(func(c *conditions) { c.cables = nil })
		got := make([]byte, 9)
		if k, err := b.Read(got); err != nil || string(got[:k]) != "lost?" {
			t.Errorf("%q %v", got[:k], err)
		}
	})
}

// TestCloseBehindCut: nobody hears of the end of a connection whose cable is cut.
func TestCloseBehindCut(t *testing.T) {
	inBubbleOf(t, func(t *testing.T, n *network, a, b net.Conn) {
		said(t, a, b)
		n.change(func(c *conditions) { c.groups = map[string]int{"a": 1} })
		a.Close()
		written := make(chan int)
		go func() { // until it hears
			k, _ := b.Write(make([]byte, 10*pipeBytes))
			written <- k
		}()
		synctest.Wait()
		b.SetReadDeadline(time.Now().Add(time.Hour))
		if _, err := b.Read(make([]byte, 1)); err == io.EOF {
			t.Error("heard of the end")
		}
		n.change(func(c *conditions) { c.groups = nil })
		if k := <-written; k != pipeBytes {
			t.Errorf("%d bytes fit into a connection that nobody reads", k)
		}
		b.SetReadDeadline(time.Time{})
		if _, err := b.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("then %v", err)
		}
	})
}

func TestDialThroughPartition(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(true)
		defer n.close()
		l, err := n.host("b").Listen(t.Context(), "tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		dial := func() (time.Duration, error) {
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
			defer cancel()
			began := time.Now()
			c, err := n.host("a").DialContext(ctx, "tcp", l.Addr().String())
			if err == nil {
				c.Close()
			}
			return time.Since(began), err
		}
		n.change(func(c *conditions) { c.groups = map[string]int{"a": 1} })
		if d, err := dial(); err == nil || d != 2*time.Second {
			t.Errorf("through a partition: %v after %v", err, d)
		}
		l.Close()
		if d, err := dial(); err == nil || d != 2*time.Second {
			t.Errorf("to a dead node through a partition: %v after %v", err, d)
		}
		n.change(func(c *conditions) { c.groups = nil })
		if d, err := dial(); err == nil || d != 0 {
			t.Errorf("to a dead node: %v after %v", err, d)
		}
	})
}

func TestPackets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(true)
		defer n.close()
		a, err := n.host("a").ListenPacket(t.Context(), "udp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		b, err := n.host("b").ListenPacket(t.Context(), "udp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		// received is how many of 1000 packets arrive within a second, and whether in order.
		received := func() (count int, ordered bool) {
			for i := range 1000 {
				a.WriteTo([]byte{byte(i), byte(i >> 8)}, b.LocalAddr())
			}
			b.SetReadDeadline(time.Now().Add(time.Second))
			buf := make([]byte, 10)
			ordered = true
			for last := -1; ; count++ {
				k, from, err := b.ReadFrom(buf)
				if err != nil {
					return count, ordered
				}
				if k != 2 || from.String() != a.LocalAddr().String() {
					t.Fatalf("%d bytes from %v", k, from)
				}
				i := int(buf[0]) | int(buf[1])<<8
				ordered = ordered && i == last+1
				last = i
			}
		}
		if k, ordered := received(); k != 1000 || !ordered {
			t.Errorf("good cable: %d, in order: %v", k, ordered)
		}
		n.setCable("b", Cable{Jitter: 10 * time.Millisecond})
		if k, ordered := received(); k != 1000 || ordered {
			t.Errorf("jitter: %d, in order: %v", k, ordered)
		}
		n.setCable("b", Cable{Loss: 0.3})
		if k, _ := received(); k < 600 || k > 800 {
			t.Errorf("%d of 1000 pass a cable that loses 30 %%", k)
		}
		n.setCable("b", Cable{Cut: In})
		if k, _ := received(); k != 0 {
			t.Errorf("%d pass a cut cable", k)
		}
		n.setCable("b", Cable{Cut: Both, Only: Links})
		if k, _ := received(); k != 1000 {
			t.Errorf("%d pass a cable that is cut for links", k)
		}
	})
}
