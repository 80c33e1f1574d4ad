package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"ultrasockets/cmd/ultra/load"
	"ultrasockets/codec"
	"ultrasockets/mesh"
)

// How ultra bench sends through a mesh: with what everybody has, and the full delivery contract.

// benchRelay starts a relay of its own, in this process: "ultra bench-peer relay".
func benchRelay(config load.PeerConfig) (addr string, stop func(), err error) {
	node, err := mesh.Listen(context.Background(), "127.0.0.1:0", mesh.Config{Name: "relay", Secret: config.Secret})
	if err != nil {
		return "", nil, err
	}
	return node.Addr().String(), func() { node.Close() }, nil
}

// meshSide opens ways through a relay: one of its own, or that at hostname.
type meshSide struct {
	hostname string
	prefix   string // of the clients' names
	secret   []byte // of a relay of its own, if a workload wants one
	profile  string // file for the CPU profile of a relay of its own; "": none
}

// open is for load.NewSide.
func (side meshSide) open(ctx context.Context, w load.Work) (*load.Way, error) {
	way := &load.Way{}
	c := &meshClients{addr: side.hostname, prefix: side.prefix, nodes: make(map[string]*mesh.Node)}
	if w.Secret {
		c.cfg.Secret = side.secret
	}
	if w.Plain {
		c.cfg.Transforms = []codec.Transform{}
	}
	if w.Counted {
		network := new(countedNetwork)
		c.cfg.Network, way.Wire = network, network.Total
	}
	if side.hostname != "" {
		if w.Secret || w.Links > 0 {
			return nil, load.ErrSkip // that relay has no secret that we know, and does not tell what it uses
		}
		bounded, cancel := context.WithTimeout(ctx, benchDialTime)
		defer cancel()
		ctx = bounded
	} else {
		peer, err := startBenchPeer(peerRelay, load.PeerConfig{Secret: c.cfg.Secret, Profile: side.profile})
		if err != nil {
			return nil, err
		}
		c.addr, c.peer, way.Usage = peer.Addr, peer, peer.Usage
	}
	way.Link, way.Settle, way.Close = c.link, c.settle, c.close
	if err := c.fill(ctx, way, w); err != nil {
		c.close()
		return nil, err
	}
	return way, nil
}

// meshClients are the clients of one way.
type meshClients struct {
	addr   string     // of the relay
	peer   *load.Peer // the relay, if it is our own
	prefix string
	cfg    mesh.Config // of all
	nodes  map[string]*mesh.Node
}

func (c *meshClients) close() {
	for _, node := range c.nodes {
		node.Close()
	}
	if c.peer != nil {
		c.peer.Close()
	}
}

// benchDialTime is how long a relay at --hostname is dialled, by all clients together.
const benchDialTime = 5 * time.Second

// fill dials the clients and puts their outlets and inlets into the way.
func (c *meshClients) fill(ctx context.Context, way *load.Way, w load.Work) error {
	receiver := func(i int) string { return fmt.Sprintf("%sr%d", c.prefix, i) }
	sources := make([]int, w.Receivers)
	for i := range w.Receivers {
		if err := c.dial(ctx, receiver(i)); err != nil {
			return err
		}
	}
	for _, i := range w.Streams() {
		name := fmt.Sprintf("%ss%d", c.prefix, i)
		if err := c.dial(ctx, name); err != nil {
			return err
		}
		var outs []load.Outlet
		for _, target := range w.Targets(i) {
			outs = append(outs, &meshOutlet{node: c.nodes[name], to: receiver(target), each: w.Each})
			sources[target]++
		}
		way.Outs = append(way.Outs, outs)
	}
	if w.Asks > 0 {
		name := c.prefix + "a"
		if err := c.dial(ctx, name); err != nil {
			return err
		}
		way.Asker = meshCallers{c.nodes[name], receiver(0), w.Handled}
		if w.Window {
			way.Asker = meshWindow{c.nodes[name], receiver(0)}
		}
		callers, _ := w.Callers()
		sources[0] += callers
	}
	for i := range w.Receivers {
		var in load.Inlet = meshInlet{c.nodes[receiver(i)]}
		switch {
		case i == 0 && w.Handled:
			in = newHandledInlet(c.nodes[receiver(i)])
		case i == 0 && w.Window:
			in = answeringInlet{c.nodes[receiver(i)], c.prefix + "a"}
		case w.Each:
			in = eachInlet{c.nodes[receiver(i)]}
		}
		way.Ins = append(way.Ins, load.In{Inlet: in, Sources: sources[i]})
	}
	for _, node := range c.nodes {
		for name := range c.nodes {
			if err := node.WaitFor(ctx, name); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *meshClients) dial(ctx context.Context, name string) error {
	cfg := c.cfg
	cfg.Name = name
	node, err := mesh.Dial(ctx, c.addr, cfg)
	if errors.Is(err, mesh.ErrNoRelay) {
		return fmt.Errorf("no mesh answers at %s%s; start \"ultra serve\" there, or mend the address", c.addr, systemReason(err))
	}
	if err != nil {
		return classify(err)
	}
	c.nodes[name] = node
	return nil
}

// link opens an idle link. A visitor is no different to the relay but for not being listed: so the rosters of thousands of
// nodes in this one process do not grow with their square.
func (c *meshClients) link(ctx context.Context, i int) (io.Closer, error) {
	cfg := c.cfg
	cfg.Name, cfg.Visitor = fmt.Sprintf("%sl%d", c.prefix, i), true
	node, err := mesh.Dial(ctx, c.addr, cfg)
	if err != nil {
		return nil, err
	}
	return node, nil
}

// settle waits until everything is acknowledged, and fails if something was given up.
func (c *meshClients) settle(ctx context.Context) error {
	for _, node := range c.nodes {
		if err := node.Flush(ctx); err != nil {
			return err
		}
	}
	return nil
}

// meshOutlet gathers messages and sends them together, as the splice's gathers them for a write. Large ones would gain nothing.
type meshOutlet struct {
	node  *mesh.Node
	to    string
	ctx   context.Context // of the last Send
	batch [][]byte        // what is gathered …
	size  int             // … and its bytes
	each  bool            // nothing is gathered
	alone []byte          // what is sent by itself
}

// outletLarge is the size of a message from which on nothing is gathered.
const outletLarge = 2 << 10

func (o *meshOutlet) Send(ctx context.Context, m []byte) error {
	o.ctx = ctx
	if o.each || len(m) >= outletLarge {
		o.alone = m
		return o.node.Send(ctx, o.to, &o.alone) // to make an any of a slice takes an allocation
	}
	if o.size+len(m) > load.Gathered {
		if err := o.Flush(); err != nil {
			return err
		}
	}
	o.batch = append(o.batch, m)
	o.size += len(m)
	return nil
}

func (o *meshOutlet) Flush() error {
	_, err := o.node.SendBatch(o.ctx, o.to, o.batch)
	o.batch, o.size = o.batch[:0], 0
	return err
}

type meshInlet struct{ node *mesh.Node }

func (in meshInlet) Take(ctx context.Context, f func(m []byte) bool) error {
	for batch := range in.node.Batches(ctx) {
		for i := range batch {
			if !f(batch[i].Bytes()) {
				return nil
			}
		}
	}
	return context.Cause(ctx)
}

// eachInlet takes messages one by one.
type eachInlet struct{ node *mesh.Node }

func (in eachInlet) Take(ctx context.Context, f func(m []byte) bool) error {
	for m := range in.node.Messages(ctx) {
		if !f(m.Bytes()) {
			return nil
		}
	}
	return context.Cause(ctx)
}

// newHandledInlet takes requests, and answers each with its header.
func newHandledInlet(node *mesh.Node) load.Inlet {
	in := load.NewPushed()
	node.Handle(func(ctx context.Context, request mesh.Message) (any, error) {
		m := request.Bytes()
		return m[:min(load.HeaderSize, len(m))], in.Push(ctx, m)
	})
	return in
}

// answeringInlet answers every message with one that is its header.
type answeringInlet struct {
	node *mesh.Node
	to   string
}

func (in answeringInlet) Take(ctx context.Context, f func(m []byte) bool) error {
	for m := range in.node.Messages(ctx) {
		bytes := m.Bytes()
		if err := in.node.Send(ctx, in.to, bytes[:min(load.HeaderSize, len(bytes))]); err != nil {
			return err
		}
		if !f(bytes) {
			return nil
		}
	}
	return context.Cause(ctx)
}

// meshCallers are goroutines that each wait until what they have sent is delivered, or answered.
type meshCallers struct {
	node    *mesh.Node
	to      string
	request bool
}

func (a meshCallers) Ask(ctx context.Context, asks *load.Asks) error {
	errs := make(chan error, asks.Callers())
	for i := range asks.Callers() {
		go func() { errs <- a.call(ctx, asks, asks.Source(i)) }() // waited for below
	}
	var first error
	for range asks.Callers() {
		if err := <-errs; err != nil && first == nil {
			first = err
		}
	}
	return first
}

// call is one caller.
func (a meshCallers) call(ctx context.Context, asks *load.Asks, s *load.Source) error {
	for {
		m, last := s.Next(0)
		began := asks.Began()
		if a.request {
			reply, err := a.node.Request(ctx, a.to, m)
			if err != nil {
				return err
			}
			asks.Check(reply.Bytes())
		} else if err := a.node.Deliver(ctx, a.to, m); err != nil {
			return err
		}
		asks.Answered(began)
		if last {
			return nil
		}
	}
}

// meshWindow is one caller, who sends as much as may be outstanding and takes answers from the inbox.
type meshWindow struct {
	node *mesh.Node
	to   string
}

func (a meshWindow) Ask(ctx context.Context, asks *load.Asks) error {
	s := asks.Source(0)
	open, last := 0, false
	for !last || open > 0 {
		for ; open < asks.Outstanding && !last; open++ {
			var m []byte
			m, last = s.Next(0)
			if err := a.node.Send(ctx, a.to, m); err != nil {
				return err
			}
		}
		answer, err := a.node.Receive(ctx)
		if err != nil {
			return err
		}
		asks.Check(answer.Bytes())
		open--
	}
	return nil
}

// countedNetwork is the machine's, with a count of the bytes that all connections carry. Links are a little slower over
// connections that they do not know.
type countedNetwork struct{ load.Counter }

func (n *countedNetwork) Listen(ctx context.Context, network, addr string) (net.Listener, error) {
	return new(net.ListenConfig).Listen(ctx, network, addr)
}

func (n *countedNetwork) ListenPacket(ctx context.Context, network, addr string) (net.PacketConn, error) {
	return new(net.ListenConfig).ListenPacket(ctx, network, addr)
}

func (n *countedNetwork) DialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	return n.Dial(ctx, network, addr)
}
