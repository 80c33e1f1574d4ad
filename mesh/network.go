package mesh

import (
	"context"
	"net"
	"time"
)

// Network is what a node listens on and dials through. A Config without one uses the machine's; package meshtest has
// one with faults, and one in memory. Addresses are "host:port" with an IP address, also those that listeners,
// packet sockets and connections tell. All methods are safe for concurrent use. Multicast does not go through it.
type Network interface {
	// Listen listens on "tcp" for links and gossip.
	Listen(ctx context.Context, network, addr string) (net.Listener, error)
	// ListenPacket opens a "udp" socket for gossip, on the address of a listener. What it reads comes from the
	// address of such a socket.
	ListenPacket(ctx context.Context, network, addr string) (net.PacketConn, error)
	// DialContext connects to a listener, by "tcp", until ctx ends.
	DialContext(ctx context.Context, network, addr string) (net.Conn, error)
}

// dialTimeout bounds how long one address is dialled.
const dialTimeout = 2 * time.Second

// machine is the network of the machine.
type machine struct{}

func (machine) Listen(ctx context.Context, network, addr string) (net.Listener, error) {
	return new(net.ListenConfig).Listen(ctx, network, addr)
}

func (machine) ListenPacket(ctx context.Context, network, addr string) (net.PacketConn, error) {
	return new(net.ListenConfig).ListenPacket(ctx, network, addr)
}

func (machine) DialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	return new(net.Dialer).DialContext(ctx, network, addr)
}
