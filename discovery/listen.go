package discovery

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
)

// pairAttempts is how many ports ListenPair tries when it may choose: one free for TCP is rarely taken for UDP.
const pairAttempts = 32

// Listener opens what others connect and send to. *net.ListenConfig is one.
type Listener interface {
	Listen(ctx context.Context, network, addr string) (net.Listener, error)
	ListenPacket(ctx context.Context, network, addr string) (net.PacketConn, error)
}

// ListenPair opens a TCP listener and a UDP socket on the same address and port. addr is "host:port"; an empty
// host means all interfaces, IPv4 and IPv6 (IPv4 only on a machine without IPv6); port 0 picks one that is free
// for both. The caller closes both; Start takes the UDP socket over.
func ListenPair(ctx context.Context, via Listener, addr string) (net.Listener, net.PacketConn, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, nil, fmt.Errorf("discovery: listen on %q: %w", addr, err)
	}
	attempts := 1
	if port == "0" || port == "" {
		attempts = pairAttempts
	}
	var failed error
	for range attempts {
		tcp, udp, err := listenPair(ctx, via, host, port)
		if err == nil {
			return tcp, udp, nil
		}
		failed = err
		if ctx.Err() != nil {
			break
		}
	}
	return nil, nil, fmt.Errorf("discovery: listen on %q: %w", addr, failed)
}

func listenPair(ctx context.Context, via Listener, host, port string) (net.Listener, net.PacketConn, error) {
	tcp, err := via.Listen(ctx, "tcp", net.JoinHostPort(host, port))
	if err != nil {
		return nil, nil, err
	}
	// The address the listener got, not host: a name with two addresses must not give one socket each.
	own, err := netip.ParseAddrPort(tcp.Addr().String())
	if err != nil {
		return nil, nil, errors.Join(err, tcp.Close())
	}
	ip := own.Addr().String()
	if own.Addr().IsUnspecified() && host == "" {
		ip = ""
	}
	udp, err := via.ListenPacket(ctx, "udp", net.JoinHostPort(ip, fmt.Sprint(own.Port())))
	if err != nil {
		return nil, nil, errors.Join(err, tcp.Close())
	}
	return tcp, udp, nil
}
