package discovery

import (
	"context"
	"errors"
	"fmt"
	"net"
)

// pairAttempts is how many ports ListenPair tries when it may choose: one free for TCP is rarely taken for UDP.
const pairAttempts = 32

// ListenPair opens a TCP listener and a UDP socket on the same address and port. addr is "host:port"; an empty
// host means all interfaces, IPv4 and IPv6 (IPv4 only on a machine without IPv6); port 0 picks one that is free
// for both. The caller closes both; Start takes the UDP socket over.
func ListenPair(ctx context.Context, addr string) (*net.TCPListener, *net.UDPConn, error) {
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
		tcp, udp, err := listenPair(ctx, host, port)
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

func listenPair(ctx context.Context, host, port string) (*net.TCPListener, *net.UDPConn, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", net.JoinHostPort(host, port))
	if err != nil {
		return nil, nil, err
	}
	tcp, ok := l.(*net.TCPListener)
	if !ok {
		return nil, nil, errors.Join(errors.New("not a TCP listener"), l.Close())
	}
	// The address the listener got, not host: a name with two addresses must not give one socket each.
	own := tcp.Addr().(*net.TCPAddr)
	ip := own.IP.String()
	if own.IP.IsUnspecified() && host == "" {
		ip = ""
	}
	if own.Zone != "" {
		ip += "%" + own.Zone
	}
	p, err := lc.ListenPacket(ctx, "udp", net.JoinHostPort(ip, fmt.Sprint(own.Port)))
	if err != nil {
		return nil, nil, errors.Join(err, tcp.Close())
	}
	udp, ok := p.(*net.UDPConn)
	if !ok {
		return nil, nil, errors.Join(errors.New("not a UDP socket"), p.Close(), tcp.Close())
	}
	return tcp, udp, nil
}
