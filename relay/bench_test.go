package relay

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"runtime"
	"sync"
	"testing"
	"time"

	"ultrasockets/codec"
)

// rawLink dials and gives the bare connection, for load that costs next to nothing.
func rawLink(b testing.TB, addr, name string, secret []byte) net.Conn {
	b.Helper()
	hello := hello(name)
	hello.WantsRoster = false
	ctx, cancel := context.WithTimeout(context.Background(), waitLimit)
	defer cancel()
	l, err := Dial(ctx, addr, DialConfig{Hello: hello, Secret: secret})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { l.Close() })
	return l.conn
}

// ignore is a Handler for ports that nobody looks at.
type ignore struct{}

func (ignore) HandleFrame(codec.Raw, *Memory) {}
func (ignore) HandleBatchEnd() (int, int)     { return 0, 0 }
func (ignore) HandleWritable()                {}

func runIdle(b testing.TB, p Port) {
	var run sync.WaitGroup
	run.Go(func() { p.Run(ignore{}) })
	b.Cleanup(func() {
		p.Close()
		run.Wait()
	})
}

// credit keeps a sender from having more than a window under way.
type credit struct {
	mu   sync.Mutex
	cond *sync.Cond
	free int
}

func newCredit(n int) *credit {
	c := &credit{free: n}
	c.cond = sync.NewCond(&c.mu)
	return c
}

func (c *credit) take(n int) {
	c.mu.Lock()
	for c.free < n {
		c.cond.Wait()
	}
	c.free -= n
	c.mu.Unlock()
}

func (c *credit) give(n int) {
	c.mu.Lock()
	c.free += n
	c.mu.Unlock()
	c.cond.Signal()
}

// pump writes frames round and round until total bytes are written, and
// returns when the receivers have read them.
func pump(b *testing.B, from net.Conn, to []net.Conn, unit []byte, n int) {
	const window = 512 << 10
	c := newCredit(window)
	total := n * len(unit)
	perUnit := len(unit) / len(to)
	var readers sync.WaitGroup
	for _, conn := range to {
		readers.Go(func() {
			buf := make([]byte, 64<<10)
			for left := n * perUnit; left > 0; {
				m, err := conn.Read(buf[:min(len(buf), left)])
				if err != nil {
					b.Error(err)
					return
				}
				left -= m
				c.give(m)
			}
		})
	}
	block := bytes.Repeat(unit, max(1, (32<<10)/len(unit)))
	for total > 0 {
		m := min(len(block), total)
		c.take(m)
		if _, err := from.Write(block[:m]); err != nil {
			b.Fatal(err)
		}
		total -= m
	}
	readers.Wait()
}

var payloadSizes = []int{16, 128, 1 << 10, 16 << 10}

func BenchmarkForward(b *testing.B) {
	for _, secret := range [][]byte{nil, make([]byte, 32)} {
		kind := "open"
		if secret != nil {
			kind = "secret"
		}
		for _, size := range payloadSizes {
			b.Run(fmt.Sprintf("%s/%dB", kind, size), func(b *testing.B) {
				h, addr := hubOn(b, HubConfig{Heartbeat: time.Minute, Secret: secret})
				runIdle(b, h.Reign(Reign{}))
				from, to := rawLink(b, addr, "from", secret), rawLink(b, addr, "to", secret)
				unit := data("from", "to", 1, 1, string(make([]byte, size)))
				b.SetBytes(int64(len(unit)))
				b.ReportAllocs()
				b.ResetTimer()
				pump(b, from, []net.Conn{to}, unit, b.N)
				b.StopTimer()
				if s := h.Stats(); s.Dropped != (Drops{}) {
					b.Fatalf("dropped: %+v", s.Dropped)
				}
			})
		}
	}
}

// BenchmarkForwardTo8 sends to eight receivers in turn.
func BenchmarkForwardTo8(b *testing.B) {
	for _, size := range []int{128, 1 << 10} {
		b.Run(fmt.Sprintf("%dB", size), func(b *testing.B) {
			h, addr := hubOn(b, HubConfig{Heartbeat: time.Minute})
			runIdle(b, h.Reign(Reign{}))
			from := rawLink(b, addr, "from", nil)
			var unit []byte
			var to []net.Conn
			for i := range 8 {
				name := fmt.Sprintf("to%d", i)
				to = append(to, rawLink(b, addr, name, nil))
				unit = append(unit, data("from", name, 1, 1, string(make([]byte, size)))...)
			}
			b.SetBytes(int64(len(unit) / 8))
			b.ReportAllocs()
			b.ResetTimer()
			pump(b, from, to, unit, (b.N+7)/8)
			b.StopTimer()
			if s := h.Stats(); s.Dropped != (Drops{}) {
				b.Fatalf("dropped: %+v", s.Dropped)
			}
		})
	}
}

// BenchmarkSplice is the same load through a bare forwarder, to compare with.
func BenchmarkSplice(b *testing.B) {
	for _, size := range payloadSizes {
		b.Run(fmt.Sprintf("%dB", size), func(b *testing.B) {
			from, in := tcpPair(b)
			out, to := tcpPair(b)
			var splice sync.WaitGroup
			splice.Go(func() {
				// The wrappers keep the kernel's own splice out: a relay must look at the bytes.
				io.CopyBuffer(struct{ io.Writer }{out}, struct{ io.Reader }{in}, make([]byte, 64<<10))
			})
			unit := data("from", "to", 1, 1, string(make([]byte, size)))
			b.SetBytes(int64(len(unit)))
			b.ResetTimer()
			pump(b, from, []net.Conn{to}, unit, b.N)
			b.StopTimer()
			from.Close()
			splice.Wait()
		})
	}
}

func tcpPair(b testing.TB) (dialled, accepted net.Conn) {
	b.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	if dialled, err = net.Dial("tcp", l.Addr().String()); err != nil {
		b.Fatal(err)
	}
	if accepted, err = l.Accept(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { dialled.Close(); accepted.Close() })
	return dialled, accepted
}

// BenchmarkRoundTrip sends one small frame there and back.
func BenchmarkRoundTrip(b *testing.B) {
	b.Run("open", func(b *testing.B) { benchRoundTrip(b, nil) })
	b.Run("secret", func(b *testing.B) { benchRoundTrip(b, make([]byte, 32)) })
}

func benchRoundTrip(b *testing.B, secret []byte) {
	h, addr := hubOn(b, HubConfig{Heartbeat: time.Minute, Secret: secret})
	runIdle(b, h.Reign(Reign{}))
	x, y := rawLink(b, addr, "x", secret), rawLink(b, addr, "y", secret)
	there, back := data("x", "y", 1, 1, "ping"), data("y", "x", 1, 1, "pong")
	var echo sync.WaitGroup
	echo.Go(func() {
		buf := make([]byte, len(there))
		for {
			if _, err := io.ReadFull(y, buf); err != nil {
				return
			}
			y.Write(back)
		}
	})
	buf := make([]byte, len(back))
	b.ReportAllocs()
	for b.Loop() {
		x.Write(there)
		if _, err := io.ReadFull(x, buf); err != nil {
			b.Fatal(err)
		}
	}
	y.Close()
	echo.Wait()
}

// BenchmarkIdleLink measures the memory of an idle link: the hub's end with its
// socket, and what the dialling end holds beyond its socket.
func BenchmarkIdleLink(b *testing.B) {
	b.Run("open", func(b *testing.B) { benchIdle(b, nil) })
	b.Run("secret", func(b *testing.B) { benchIdle(b, make([]byte, 32)) })
}

func benchIdle(b *testing.B, secret []byte) {
	const links = 1000
	h, addr := hubOn(b, HubConfig{Heartbeat: time.Minute, Secret: secret})
	runIdle(b, h.Reign(Reign{}))
	var before, after runtime.MemStats
	for b.Loop() {
		runtime.GC()
		runtime.ReadMemStats(&before)
		bare := memoryOf(b, links) // what the dialling ends and the test itself cost
		conns := make([]net.Conn, 0, links)
		for i := range links {
			conns = append(conns, rawLink(b, addr, fmt.Sprintf("n%d", i), secret))
		}
		runtime.GC()
		runtime.GC()
		runtime.ReadMemStats(&after)
		used := after.HeapInuse + after.StackInuse - before.HeapInuse - before.StackInuse
		b.ReportMetric(float64(int64(used)-bare)/links, "B/link")
		for _, c := range conns {
			c.Close()
		}
		waitFor(b, h, "the links' end", func() bool { return h.Links() == 0 })
	}
}

// memoryOf measures the dialling end of bare connections.
func memoryOf(b *testing.B, n int) int64 {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	conns := make([]net.Conn, 0, n)
	accepted := make([]net.Conn, 0, n)
	for range n {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			b.Fatal(err)
		}
		a, err := l.Accept()
		if err != nil {
			b.Fatal(err)
		}
		conns, accepted = append(conns, c), append(accepted, a)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	used := int64(after.HeapInuse+after.StackInuse) - int64(before.HeapInuse+before.StackInuse)
	for i := range conns {
		conns[i].Close()
		accepted[i].Close()
	}
	return used / 2 // one end
}

// BenchmarkRouter is the pure routing of one read of 64 KiB, without sockets.
func BenchmarkRouter(b *testing.B) {
	for _, size := range payloadSizes {
		b.Run(fmt.Sprintf("%dB", size), func(b *testing.B) {
			bench := newRouterBench(size)
			b.SetBytes(int64(len(bench.data)))
			b.ReportAllocs()
			for b.Loop() {
				bench.turn()
			}
		})
	}
}

// routerBench is a router with one sender and one receiver whose outbox is emptied by hand.
type routerBench struct {
	batch batch
	to    outbox
	data  []byte
}

func newRouterBench(size int) *routerBench {
	var count counters
	r := &router{count: &count, seats: make(map[string]*seat)}
	x := &routerBench{}
	x.to = outbox{limit: defaultOutbox, reserve: controlReserve, clock: new(coarse), drain: func() {}}
	r.set(&seat{name: "to", out: &x.to})
	x.batch = batch{router: r, from: &seat{name: "from", out: new(outbox)}, own: func(codec.Raw) error { return nil }}
	for len(x.data) < 48<<10 {
		x.data = append(x.data, data("from", "to", 1, 1, string(make([]byte, size)))...)
	}
	return x
}

func (x *routerBench) turn() {
	if n, err := x.batch.route(x.data, nil); n != len(x.data) || err != nil {
		panic(err)
	}
	for x.to.next() {
		x.to.done()
	}
}
