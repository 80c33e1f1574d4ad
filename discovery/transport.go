package discovery

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"
)

// StreamByte is the first byte of every gossip stream (memberlist's label header; the label is always set). The
// owner of the node's TCP listener tells gossip streams by it from links, and gives them to HandleStream.
const StreamByte = 0xF4

const (
	maxPacket      = 65536   // bytes of one UDP packet
	packetsBuffer  = 2 << 20 // bytes asked of the kernel, so that a burst from a large mesh is not lost
	maxStreams     = 64      // accepted gossip streams at a time; one more is closed at once
	readErrorPause = 10 * time.Millisecond
)

var (
	errTransportClosed = errors.New("discovery: gossip has ended")
	errForeignAddr     = errors.New("discovery: address is out of bounds")
	errTooManyStreams  = errors.New("discovery: too many gossip streams")
)

// transport is how memberlist speaks: packets by a UDP socket it is lent, streams that are handed in, and dialled
// ones. It counts what is open, so that Shutdown ends it. Safe for concurrent use.
type transport struct {
	// Set at the start, never changed.
	packets   net.PacketConn
	bind      netip.Addr // if loopback, nothing else is dialled
	advertise netip.AddrPort
	dial      dialFunc
	packetCh  chan *memberlist.Packet
	streamCh  chan net.Conn
	ctx       context.Context // ends with Shutdown
	cancel    context.CancelFunc

	reader sync.WaitGroup // waited for by Shutdown

	mu       sync.Mutex
	streams  map[*stream]struct{} // guarded by mu: all that are open; nil after Shutdown
	accepted int                  // guarded by mu: how many of them others opened
}

var _ memberlist.Transport = (*transport)(nil)

func newTransport(packets net.PacketConn, bind netip.Addr, advertise netip.AddrPort, dial dialFunc) *transport {
	t := &transport{
		packets: packets, bind: bind, advertise: advertise, dial: dial,
		packetCh: make(chan *memberlist.Packet),
		streamCh: make(chan net.Conn, maxStreams),
		streams:  make(map[*stream]struct{}),
	}
	t.ctx, t.cancel = context.WithCancel(context.Background())
	if p, ok := packets.(interface{ SetReadBuffer(int) error }); ok {
		_ = p.SetReadBuffer(packetsBuffer) // what the system grants is good enough
	}
	_ = packets.SetReadDeadline(time.Time{}) // the one before us may have ended with one
	t.reader.Go(t.readPackets)
	return t
}

// FinalAdvertiseAddr implements memberlist.Transport. What is configured there does not count.
func (t *transport) FinalAdvertiseAddr(string, int) (net.IP, int, error) {
	return t.advertise.Addr().AsSlice(), int(t.advertise.Port()), nil
}

// PacketCh implements memberlist.Transport.
func (t *transport) PacketCh() <-chan *memberlist.Packet { return t.packetCh }

// StreamCh implements memberlist.Transport.
func (t *transport) StreamCh() <-chan net.Conn { return t.streamCh }

// WriteTo implements memberlist.Transport.
func (t *transport) WriteTo(b []byte, addr string) (time.Time, error) {
	to, err := netip.ParseAddrPort(addr)
	if err != nil {
		return time.Time{}, err
	}
	if !t.inBounds(to.Addr()) {
		return time.Time{}, fmt.Errorf("%w: %s", errForeignAddr, addr)
	}
	_, err = t.packets.WriteTo(b, net.UDPAddrFromAddrPort(to))
	return time.Now(), err
}

type dialFunc func(ctx context.Context, network, addr string) (net.Conn, error)

// dialFrom dials from an address of this machine, if it is valid.
func dialFrom(source netip.Addr) dialFunc {
	var d net.Dialer
	if source.IsValid() {
		d.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(source, 0))
	}
	return d.DialContext
}

// DialTimeout implements memberlist.Transport.
func (t *transport) DialTimeout(addr string, timeout time.Duration) (net.Conn, error) {
	to, err := netip.ParseAddrPort(addr)
	if err != nil {
		return nil, err
	}
	if !t.inBounds(to.Addr()) {
		return nil, fmt.Errorf("%w: %s", errForeignAddr, addr)
	}
	ctx, cancel := context.WithTimeout(t.ctx, timeout)
	defer cancel()
	conn, err := t.dial(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	return t.track(conn, false)
}

// inBounds keeps a node that is bound to loopback on loopback, whatever others tell it.
func (t *transport) inBounds(addr netip.Addr) bool {
	return !t.bind.IsLoopback() || addr.Unmap().IsLoopback()
}

// handle gives an accepted stream to memberlist, or closes it.
func (t *transport) handle(conn net.Conn) error {
	s, err := t.track(conn, true)
	if err != nil {
		return err
	}
	t.streamCh <- s // never blocks: there is room for as many as may be open
	return nil
}

// track counts an open stream, or closes it when there are too many.
func (t *transport) track(conn net.Conn, accepted bool) (*stream, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.streams == nil:
		return nil, errors.Join(errTransportClosed, conn.Close())
	case accepted && t.accepted >= maxStreams:
		return nil, errors.Join(errTooManyStreams, conn.Close())
	case accepted:
		t.accepted++
	}
	s := &stream{Conn: conn, of: t, accepted: accepted}
	t.streams[s] = struct{}{}
	return s, nil
}

// Shutdown implements memberlist.Transport. The socket stays open, for the gossip after this one.
func (t *transport) Shutdown() error {
	t.cancel()
	err := t.packets.SetReadDeadline(time.Now())
	t.reader.Wait()
	t.mu.Lock()
	open := t.streams
	t.streams = nil
	t.mu.Unlock()
	for s := range open {
		_ = s.Conn.Close() // cut off, as announced
	}
	return err
}

func (t *transport) readPackets() {
	buf := make([]byte, maxPacket)
	for {
		n, addr, err := t.packets.ReadFrom(buf)
		now := time.Now()
		if err != nil {
			// Windows reports here that an earlier packet found no receiver, which means nothing.
			if t.ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return
			}
			select {
			case <-t.ctx.Done():
				return
			case <-time.After(readErrorPause):
			}
			continue
		}
		if n == 0 {
			continue
		}
		packet := &memberlist.Packet{
			Buf:       append([]byte(nil), buf[:n]...), // memberlist keeps it
			From:      addr,
			Timestamp: now,
		}
		select {
		case t.packetCh <- packet:
		case <-t.ctx.Done():
			return
		}
	}
}

// stream is a gossip stream that is counted for as long as it is open.
type stream struct {
	net.Conn
	of       *transport
	accepted bool
}

func (s *stream) Close() error {
	s.of.mu.Lock()
	if _, open := s.of.streams[s]; open {
		delete(s.of.streams, s)
		if s.accepted {
			s.of.accepted--
		}
	}
	s.of.mu.Unlock()
	return s.Conn.Close()
}
