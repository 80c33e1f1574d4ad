// Command nats runs the workloads of ultra bench over NATS core, for "ultra bench --against": the same loops, payloads and
// counts, with a nats-server in a process of its own in place of the relay. NATS core delivers at most once and acknowledges nothing.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"ultrasockets/cmd/ultra/load"
)

// beServer is the argument with which this program starts itself as the server.
const beServer = "server"

func main() {
	var err error
	if len(os.Args) == 2 && os.Args[1] == beServer {
		err = load.BePeer(os.Stdin, os.Stdout, startServer)
	} else {
		err = load.Serve(context.Background(), os.Stdin, os.Stdout, load.NewSide(open))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "nats:", err)
		os.Exit(1)
	}
}

func startServer(load.PeerConfig) (addr string, stop func(), err error) {
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, NoLog: true, NoSigs: true})
	if err != nil {
		return "", nil, err
	}
	s.Start()
	if !s.ReadyForConnections(5 * time.Second) {
		return "", nil, errors.New("the server does not start")
	}
	return s.Addr().String(), s.Shutdown, nil
}

// way is a server and its clients.
type way struct {
	addr  string
	conns []*nats.Conn
	wire  *load.Counter // nil: bytes are not counted
}

func open(ctx context.Context, w load.Work) (*load.Way, error) {
	if w.Secret {
		return nil, load.ErrSkip // TLS would be another thing
	}
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	peer, err := load.StartPeer(exec.Command(exe, beServer), load.PeerConfig{})
	if err != nil {
		return nil, err
	}
	b := &way{addr: peer.Addr}
	out := &load.Way{Usage: peer.Usage, Link: b.link}
	if w.Counted {
		b.wire = new(load.Counter)
		out.Wire = b.wire.Total
	}
	out.Close = func() {
		for _, nc := range b.conns {
			nc.Close()
		}
		peer.Close()
	}
	if err := b.fill(ctx, out, w); err != nil {
		out.Close()
		return nil, err
	}
	return out, nil
}

func (b *way) fill(ctx context.Context, out *load.Way, w load.Work) error {
	sources := make([]int, w.Receivers)
	for _, i := range w.Streams() {
		nc, err := b.connect()
		if err != nil {
			return err
		}
		var outs []load.Outlet
		for _, target := range w.Targets(i) {
			outs = append(outs, outlet{nc, subject(target)})
			sources[target]++
		}
		out.Outs = append(out.Outs, outs)
	}
	if w.Asks > 0 {
		nc, err := b.connect()
		if err != nil {
			return err
		}
		callers, _ := w.Callers()
		sources[0] += callers
		if w.Window {
			if out.Asker, err = newWindow(nc); err != nil {
				return err
			}
		} else {
			out.Asker = callersOf{nc}
		}
	}
	for i := range w.Receivers {
		in, err := b.inlet(i, i == 0 && w.Asks > 0)
		if err != nil {
			return err
		}
		out.Ins = append(out.Ins, load.In{Inlet: in, Sources: sources[i]})
	}
	for _, nc := range b.conns { // the server has all subscriptions
		if err := nc.FlushWithContext(ctx); err != nil {
			return err
		}
	}
	return nil
}

func subject(receiver int) string { return fmt.Sprintf("r%d", receiver) }

func (b *way) connect() (*nats.Conn, error) {
	nc, err := b.dial()
	if err == nil {
		b.conns = append(b.conns, nc)
	}
	return nc, err
}

func (b *way) dial() (*nats.Conn, error) {
	options := []nats.Option{nats.NoReconnect()}
	if b.wire != nil {
		options = append(options, nats.SetCustomDialer(dialer{b.wire}))
	}
	return nats.Connect("nats://"+b.addr, options...)
}

type dialer struct{ wire *load.Counter }

func (d dialer) Dial(network, addr string) (net.Conn, error) {
	return d.wire.Dial(context.Background(), network, addr)
}

// inlet subscribes a client to its subject, without a bound on what waits in it, so that it drops nothing.
func (b *way) inlet(i int, answer bool) (load.Inlet, error) {
	nc, err := b.connect()
	if err != nil {
		return nil, err
	}
	in := load.NewPushed()
	ctx, cancel := context.WithCancel(context.Background())
	nc.SetClosedHandler(func(*nats.Conn) { cancel() })
	subscription, err := nc.Subscribe(subject(i), func(m *nats.Msg) {
		if answer {
			if err := m.Respond(m.Data[:min(load.HeaderSize, len(m.Data))]); err != nil {
				return // whoever asked says that nothing came
			}
		}
		_ = in.Push(ctx, m.Data) // fails when the round is over: its count says what is missing
	})
	if err != nil {
		return nil, err
	}
	return in, subscription.SetPendingLimits(-1, -1)
}

// link opens an idle connection.
func (b *way) link(context.Context, int) (io.Closer, error) {
	nc, err := b.dial()
	if err != nil {
		return nil, err
	}
	return closer{nc}, nil
}

type closer struct{ nc *nats.Conn }

func (c closer) Close() error {
	c.nc.Close()
	return nil
}

type outlet struct {
	nc *nats.Conn
	to string
}

func (o outlet) Send(_ context.Context, m []byte) error { return o.nc.Publish(o.to, m) }

// Flush has nothing to do: the client's own flusher is on its way.
func (o outlet) Flush() error { return nil }

// callersOf are goroutines that each wait for the answer to their request.
type callersOf struct{ nc *nats.Conn }

func (c callersOf) Ask(ctx context.Context, asks *load.Asks) error {
	var (
		all   sync.WaitGroup
		mu    sync.Mutex // of Check
		first error
	)
	check := func(err error, answer []byte) {
		mu.Lock()
		defer mu.Unlock()
		if err == nil {
			asks.Check(answer)
		} else if first == nil {
			first = err
		}
	}
	for i := range asks.Callers() {
		all.Go(func() {
			for s, last := asks.Source(i), false; !last; {
				var m []byte
				m, last = s.Next(0)
				began := asks.Began()
				answer, err := c.nc.RequestWithContext(ctx, subject(0), m)
				if err != nil {
					check(err, nil)
					return
				}
				asks.Answered(began)
				check(nil, answer.Data)
			}
		})
	}
	all.Wait()
	return first
}

// window is one caller, who publishes as much as may be outstanding; answers are counted as they come.
type window struct {
	nc    *nats.Conn
	inbox string

	mu   sync.Mutex
	less sync.Cond  // open has become less
	asks *load.Asks // of the round. Guarded by mu, like all below.
	open int
}

func newWindow(nc *nats.Conn) (*window, error) {
	w := &window{nc: nc, inbox: nats.NewInbox()}
	w.less.L = &w.mu
	subscription, err := nc.Subscribe(w.inbox, func(m *nats.Msg) {
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.asks != nil {
			w.asks.Check(m.Data)
			w.open--
			w.less.Signal()
		}
	})
	if err != nil {
		return nil, err
	}
	return w, subscription.SetPendingLimits(-1, -1)
}

func (w *window) Ask(ctx context.Context, asks *load.Asks) error {
	defer context.AfterFunc(ctx, w.less.Broadcast)()
	s := asks.Source(0)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.asks, w.open = asks, 0
	defer func() { w.asks = nil }()
	for last := false; !last; {
		if err := w.await(ctx, asks.Outstanding-1); err != nil {
			return err
		}
		free := asks.Outstanding - w.open
		w.open += free
		w.mu.Unlock()
		sent := 0
		var err error
		for ; sent < free && !last && err == nil; sent++ {
			var m []byte
			m, last = s.Next(0)
			err = w.nc.PublishRequest(subject(0), w.inbox, m)
		}
		w.mu.Lock()
		w.open -= free - sent
		if err != nil {
			return err
		}
	}
	return w.await(ctx, 0)
}

// await waits until no more than n are open. The caller holds mu.
func (w *window) await(ctx context.Context, n int) error {
	for w.open > n {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		w.less.Wait()
	}
	return nil
}
