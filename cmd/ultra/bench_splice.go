package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"

	"ultrasockets/cmd/ultra/load"
)

// The bare TCP forwarder that ultra bench compares with, and how one sends through it: no names, no numbers, no
// acknowledgements, one connection for each sender and receiver of its messages; as lean as a careful programmer makes it.
// With "frames" the same connections carry a frame of ours for each message, which the receiver verifies. (A mesh gathers small
// messages in one frame, and compresses: it moves fewer bytes then, and keeps a contract.) With "simplex" answers have a
// connection of their own: TCP then has nothing to send its acknowledgements along with.

const (
	keySize      = 8        // what a connection begins with; two with the same key are a pair
	pairedByte   = 1        // the forwarder's only own word: the pair is complete
	spliceBuffer = 64 << 10 // most that is read or written at a time
	spliceFirst  = 2 << 10  // a buffer's size until a read fills it: links on which little is sent need little
)

// benchForwarder starts the forwarder, in this process: "ultra bench-peer splice".
func benchForwarder(load.PeerConfig) (addr string, stop func(), err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	f := &forwarder{waiting: make(map[[keySize]byte]net.Conn)}
	go f.serve(l) // ends with the listener, as the process does
	return l.Addr().String(), func() { l.Close() }, nil
}

// forwarder passes on between the connections of a pair what it reads.
type forwarder struct {
	mu      sync.Mutex
	waiting map[[keySize]byte]net.Conn // for the other of their pair. Guarded by mu.
}

func (f *forwarder) serve(l net.Listener) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		go f.admit(conn) // ends with the connection
	}
}

func (f *forwarder) admit(conn net.Conn) {
	var key [keySize]byte
	if _, err := io.ReadFull(conn, key[:]); err != nil {
		conn.Close()
		return
	}
	f.mu.Lock()
	other := f.waiting[key]
	if other == nil {
		f.waiting[key] = conn
		f.mu.Unlock()
		return
	}
	delete(f.waiting, key)
	f.mu.Unlock()
	for _, c := range []net.Conn{conn, other} {
		if _, err := c.Write([]byte{pairedByte}); err != nil {
			c.Close() // the other end follows
		}
	}
	go forward(other, conn) // ends with the connections
	forward(conn, other)
}

// forward reads and writes until either end closes. It keeps the kernel from moving the bytes by itself (splice(2), as io.Copy
// would): a relay has to look at them.
func forward(to, from net.Conn) {
	defer to.Close()
	defer from.Close()
	buf := make([]byte, spliceFirst)
	for {
		n, err := from.Read(buf)
		if err != nil {
			return
		}
		if _, err := to.Write(buf[:n]); err != nil {
			return
		}
		if n == len(buf) && n < spliceBuffer {
			buf = make([]byte, spliceBuffer)
		}
	}
}

// bareSide is how one sends through the forwarder.
type bareSide struct {
	wrap    func() wrapping
	simplex bool
}

// spliceWay opens the way through a forwarder of its own, which has a connection for each pair of sender and receiver.
type spliceWay struct {
	bareSide
	addr  string
	pairs uint64
	conns []net.Conn
}

// open is for load.NewSide.
func (side bareSide) open(ctx context.Context, w load.Work) (*load.Way, error) {
	if side.simplex && w.Asks == 0 {
		return nil, load.ErrSkip // it is no different there
	}
	peer, err := startBenchPeer(peerSplice, load.PeerConfig{})
	if err != nil {
		return nil, err
	}
	b := &spliceWay{bareSide: side, addr: peer.Addr}
	way := &load.Way{Usage: peer.Usage, Link: b.link}
	way.Close = func() {
		for _, conn := range b.conns {
			conn.Close()
		}
		peer.Close()
	}
	if err := b.fill(ctx, way, w); err != nil {
		way.Close()
		return nil, err
	}
	return way, nil
}

func (b *spliceWay) fill(ctx context.Context, way *load.Way, w load.Work) error {
	for _, i := range w.Streams() {
		var outs []load.Outlet
		for range w.Targets(i) {
			from, to, err := b.pair(ctx)
			if err != nil {
				return err
			}
			outs = append(outs, newSpliceOutlet(from, b.wrap()))
			way.Ins = append(way.Ins, load.In{Inlet: newSpliceInlet(to, w.Size, b.wrap()), Sources: 1})
		}
		way.Outs = append(way.Outs, outs)
	}
	if w.Asks > 0 {
		from, to, err := b.pair(ctx)
		if err != nil {
			return err
		}
		back, answering := from, to
		if b.simplex {
			if answering, back, err = b.pair(ctx); err != nil {
				return err
			}
		}
		callers, _ := w.Callers()
		in := newSpliceInlet(back, load.HeaderSize, b.wrap())
		way.Asker = &spliceCallers{conn: from, in: in, wrap: b.wrap()}
		if callers == 1 {
			way.Asker = &spliceWindow{newSpliceOutlet(from, b.wrap()), in}
		}
		asked := newSpliceInlet(to, w.Size, b.wrap())
		asked.answering, asked.answer = answering, b.wrap()
		way.Ins = append(way.Ins, load.In{Inlet: asked, Sources: callers})
	}
	return nil
}

// pair connects two ends to each other.
func (b *spliceWay) pair(ctx context.Context) (from, to net.Conn, err error) {
	b.pairs++
	for _, conn := range []*net.Conn{&from, &to} {
		if *conn, err = dialSplice(ctx, b.addr, b.pairs); err != nil {
			return nil, nil, err
		}
		b.conns = append(b.conns, *conn)
	}
	for _, conn := range []net.Conn{from, to} {
		if err := awaitPaired(ctx, conn); err != nil {
			return nil, nil, err
		}
	}
	return from, to, nil
}

// link opens an idle connection; each two are a pair.
func (b *spliceWay) link(ctx context.Context, i int) (io.Closer, error) {
	conn, err := dialSplice(ctx, b.addr, 1<<32+uint64(i/2))
	if err != nil {
		return nil, err
	}
	if i%2 == 1 {
		if err := awaitPaired(ctx, conn); err != nil {
			conn.Close()
			return nil, err
		}
	}
	return conn, nil
}

func dialSplice(ctx context.Context, addr string, key uint64) (net.Conn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	if _, err := conn.Write(binary.BigEndian.AppendUint64(nil, key)); err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}

func awaitPaired(ctx context.Context, conn net.Conn) error {
	defer interruptible(ctx, conn)()
	var paired [1]byte
	_, err := io.ReadFull(conn, paired[:])
	return err
}

// spliceOutlet gathers messages and writes them when the buffer is full.
type spliceOutlet struct {
	conn net.Conn
	wrap wrapping
	buf  []byte
}

func newSpliceOutlet(conn net.Conn, wrap wrapping) *spliceOutlet {
	return &spliceOutlet{conn, wrap, make([]byte, 0, spliceBuffer)}
}

func (o *spliceOutlet) Send(_ context.Context, m []byte) error {
	size := o.wrap.size(len(m))
	if len(o.buf)+size > cap(o.buf) {
		if err := o.Flush(); err != nil {
			return err
		}
	}
	if size > cap(o.buf) { // a copy would not pay
		parts := o.wrap.parts(m)
		_, err := parts.WriteTo(o.conn)
		return err
	}
	o.buf = o.wrap.append(o.buf, m)
	return nil
}

func (o *spliceOutlet) Flush() error {
	if len(o.buf) == 0 {
		return nil
	}
	_, err := o.conn.Write(o.buf)
	o.buf = o.buf[:0]
	return err
}

// spliceInlet cuts messages out of what it reads. If it answers, then all of one read with one write.
type spliceInlet struct {
	conn net.Conn
	wrap wrapping
	buf  []byte
	r, w int // what of buf was read from conn and not taken

	answering net.Conn // where answers go …
	answer    wrapping // … in this; nil: it does not answer
	answers   []byte
}

func newSpliceInlet(conn net.Conn, size int, wrap wrapping) *spliceInlet {
	return &spliceInlet{conn: conn, wrap: wrap, buf: make([]byte, max(spliceBuffer, 4*wrap.size(size)))}
}

func (in *spliceInlet) Take(ctx context.Context, f func(m []byte) bool) error {
	defer interruptible(ctx, in.conn)()
	for {
		more, err := in.taken(f)
		if err == nil && len(in.answers) > 0 {
			_, err = in.answering.Write(in.answers)
			in.answers = in.answers[:0]
		}
		if err != nil || !more {
			return err
		}
		if err := in.read(); err != nil {
			return errors.Join(ctx.Err(), err)
		}
	}
}

// taken hands over what is there, until f wants no more.
func (in *spliceInlet) taken(f func(m []byte) bool) (more bool, err error) {
	for {
		m, n, err := in.wrap.cut(in.buf[in.r:in.w])
		if err != nil {
			return false, err
		}
		if n == 0 {
			return true, nil
		}
		in.r += n
		if m == nil {
			continue
		}
		if len(m) < load.HeaderSize {
			return false, fmt.Errorf("a message of %d bytes came through the splice, where none is sent", len(m))
		}
		if in.answer != nil {
			in.answers = in.answer.append(in.answers, m[:load.HeaderSize])
		}
		if !f(m) {
			return false, nil
		}
	}
}

// read reads more. What is left of a message moves to the front only when the rest of it would not fit behind.
func (in *spliceInlet) read() error {
	if in.r == in.w {
		in.r, in.w = 0, 0
	}
	need := in.wrap.need(in.buf[in.r:in.w])
	if need > len(in.buf) {
		return fmt.Errorf("a message of %d bytes begins in the splice, where none is sent", need)
	}
	if in.r+need > len(in.buf) || in.w == len(in.buf) {
		in.w = copy(in.buf, in.buf[in.r:in.w])
		in.r = 0
	}
	n, err := in.conn.Read(in.buf[in.w:])
	in.w += n
	return err
}

// spliceWindow is one caller: it sends as much as may be outstanding, writes that, and reads answers.
type spliceWindow struct {
	out *spliceOutlet
	in  *spliceInlet
}

func (a *spliceWindow) Ask(ctx context.Context, asks *load.Asks) error {
	s := asks.Source(0)
	defer interruptible(ctx, a.in.conn)()
	open, last := 0, false
	answered := func(m []byte) bool {
		asks.Check(m)
		open--
		return true
	}
	for !last || open > 0 {
		began := asks.Began()
		for ; open < asks.Outstanding && !last; open++ {
			var m []byte
			m, last = s.Next(0)
			if err := a.out.Send(ctx, m); err != nil {
				return err
			}
		}
		if err := a.out.Flush(); err != nil {
			return err
		}
		for before := open; open == before; {
			if err := a.in.read(); err != nil {
				return errors.Join(ctx.Err(), err)
			}
			if _, err := a.in.taken(answered); err != nil {
				return err
			}
		}
		asks.Answered(began)
	}
	return nil
}

// spliceCallers are many callers on one connection, each in a goroutine that waits for its own answer. Whoever finds nobody
// writing writes, also what others bring meanwhile; one goroutine reads, and wakes those who are answered.
type spliceCallers struct {
	conn net.Conn
	in   *spliceInlet

	mu      sync.Mutex
	wrap    wrapping // guarded by mu, like all below
	pending []byte   // to be written
	spare   []byte   // the other buffer, for while pending is written
	writing bool
}

func (a *spliceCallers) Ask(ctx context.Context, asks *load.Asks) error {
	defer interruptible(ctx, a.conn)()
	defer interruptible(ctx, a.in.conn)()
	errs := make(chan error, asks.Callers()+1)
	answers := make([]chan struct{}, asks.Callers())
	for i := range answers {
		answers[i] = make(chan struct{}, 1)
	}
	for i := range answers {
		go func() { errs <- a.call(ctx, asks.Source(i), answers[i]) }() // waited for below
	}
	go func() { errs <- a.answer(ctx, asks, answers) }()
	var first error
	for range asks.Callers() + 1 {
		if err := <-errs; err != nil && first == nil {
			first = err
			a.conn.Close() // the others would wait in vain
			a.in.conn.Close()
		}
	}
	return first
}

// call is one caller.
func (a *spliceCallers) call(ctx context.Context, s *load.Source, answered <-chan struct{}) error {
	for {
		m, last := s.Next(0)
		if err := a.send(m); err != nil {
			return err
		}
		select {
		case _, ok := <-answered:
			if !ok {
				return io.ErrUnexpectedEOF
			}
		case <-ctx.Done():
			return ctx.Err()
		}
		if last {
			return nil
		}
	}
}

func (a *spliceCallers) send(m []byte) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.pending = a.wrap.append(a.pending, m)
	if a.writing {
		return nil
	}
	a.writing = true
	defer func() { a.writing = false }()
	for len(a.pending) > 0 {
		out := a.pending
		a.pending = a.spare[:0]
		a.mu.Unlock()
		_, err := a.conn.Write(out)
		a.mu.Lock()
		a.spare = out
		if err != nil {
			return err
		}
	}
	return nil
}

// answer reads answers until all callers have had their last one.
func (a *spliceCallers) answer(ctx context.Context, asks *load.Asks, answers []chan struct{}) error {
	defer func() {
		for _, c := range answers {
			close(c)
		}
	}()
	for left := len(answers); left > 0; {
		if err := a.in.read(); err != nil {
			return errors.Join(ctx.Err(), err)
		}
		if _, err := a.in.taken(func(m []byte) bool {
			if caller := asks.Check(m); caller >= 0 {
				answers[caller] <- struct{}{}
			}
			if load.Last(m) {
				left--
			}
			return true
		}); err != nil {
			return err
		}
	}
	return nil
}

// interruptible makes reads and writes of conn fail when ctx ends, until the function is called that it returns.
func interruptible(ctx context.Context, conn net.Conn) (stop func() bool) {
	return context.AfterFunc(ctx, func() { conn.Close() })
}
