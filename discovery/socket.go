package discovery

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"runtime"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
)

const (
	mdnsPort      = 5353
	mdnsHopLimit  = 255  // RFC 6762, section 11: proof to old receivers that a packet crossed no router
	maxMDNSPacket = 9000 // bytes, RFC 6762, section 17
)

var (
	mdnsGroup4 = netip.MustParseAddrPort("224.0.0.251:5353")
	mdnsGroup6 = netip.MustParseAddrPort("[ff02::fb]:5353")
)

// socket is one UDP socket on one interface in one IP family. It always names the interface and the source
// address, so that no packet depends on the machine's routes. Safe for one reader and any number of writers.
type socket struct {
	conn   *net.UDPConn
	v4     *ipv4.PacketConn // nil in an IPv6 socket
	v6     *ipv6.PacketConn // nil in an IPv4 socket
	iface  netInterface
	source netip.Addr
}

// openGroup opens the socket that shares port 5353 with all other mDNS programs of the machine and hears what
// is sent to the group on iface.
func openGroup(iface netInterface, source netip.Addr) (*socket, error) {
	network, group := "udp4", mdnsGroup4
	if source.Is6() {
		network, group = "udp6", mdnsGroup6
	}
	conn, err := net.ListenMulticastUDP(network, iface.system(), net.UDPAddrFromAddrPort(group))
	if err != nil {
		return nil, err
	}
	return newSocket(conn, iface, source)
}

// openAsk opens the socket that queries are sent from: on a port of its own, so that the answers come to it by
// unicast and to no other program of the machine (RFC 6762, section 6.7).
func openAsk(iface netInterface, source netip.Addr) (*socket, error) {
	network := "udp4"
	if source.Is6() {
		network = "udp6"
	}
	conn, err := net.ListenUDP(network, net.UDPAddrFromAddrPort(netip.AddrPortFrom(source, 0)))
	if err != nil {
		return nil, err
	}
	return newSocket(conn, iface, source)
}

func newSocket(conn *net.UDPConn, iface netInterface, source netip.Addr) (*socket, error) {
	s := &socket{conn: conn, iface: iface, source: source}
	var err error
	if source.Is4() {
		s.v4 = ipv4.NewPacketConn(conn)
		err = errors.Join(
			s.v4.SetMulticastInterface(iface.system()),
			s.v4.SetMulticastTTL(mdnsHopLimit),
			s.v4.SetTTL(mdnsHopLimit),
			s.v4.SetMulticastLoopback(true), // other nodes of this machine are nodes too
			optional(s.v4.SetControlMessage(ipv4.FlagInterface, true)),
		)
	} else {
		s.v6 = ipv6.NewPacketConn(conn)
		err = errors.Join(
			s.v6.SetMulticastInterface(iface.system()),
			s.v6.SetMulticastHopLimit(mdnsHopLimit),
			s.v6.SetHopLimit(mdnsHopLimit),
			s.v6.SetMulticastLoopback(true),
			optional(s.v6.SetControlMessage(ipv6.FlagInterface, true)),
		)
	}
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return s, nil
}

// optional forgives an option that Windows does not have; local does without what it would tell.
func optional(err error) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	return err
}

// read reads the next packet that came by the socket's interface from a source on its link. Others are skipped:
// a system may hand a packet to every socket on port 5353, whichever interface it joined the group on.
func (s *socket) read(b []byte) (int, netip.AddrPort, error) {
	for {
		var (
			n, via int
			from   net.Addr
			err    error
		)
		if s.v4 != nil {
			var cm *ipv4.ControlMessage
			if n, cm, from, err = s.v4.ReadFrom(b); cm != nil {
				via = cm.IfIndex
			}
		} else {
			var cm *ipv6.ControlMessage
			if n, cm, from, err = s.v6.ReadFrom(b); cm != nil {
				via = cm.IfIndex
			}
		}
		if err != nil {
			return 0, netip.AddrPort{}, err
		}
		udp, ok := from.(*net.UDPAddr)
		if !ok {
			return 0, netip.AddrPort{}, fmt.Errorf("read from %v", from)
		}
		src := udp.AddrPort()
		src = netip.AddrPortFrom(src.Addr().Unmap(), src.Port())
		if s.local(src.Addr(), via) {
			return n, src, nil
		}
	}
}

// local tells whether a packet belongs to this socket's link. via is the interface's index, 0 when unknown.
func (s *socket) local(src netip.Addr, via int) bool {
	if via != 0 && via != s.iface.index {
		return false
	}
	if zone := src.Zone(); zone != "" {
		return zone == s.iface.name
	}
	// What is heard on loopback was sent by this machine, whatever address it took for its source.
	return s.iface.onLink(src) || via != 0 && s.iface.loopback()
}

// write sends b to dst, which is the group or an address on the link.
func (s *socket) write(b []byte, dst netip.AddrPort) error {
	to := net.UDPAddrFromAddrPort(dst)
	var err error
	if s.v4 != nil {
		_, err = s.v4.WriteTo(b, &ipv4.ControlMessage{Src: s.source.AsSlice(), IfIndex: s.iface.index}, to)
	} else {
		_, err = s.v6.WriteTo(b, &ipv6.ControlMessage{Src: s.source.AsSlice(), IfIndex: s.iface.index}, to)
	}
	return err
}

// multicast sends b to the group.
func (s *socket) multicast(b []byte) error {
	if s.v4 != nil {
		return s.write(b, mdnsGroup4)
	}
	return s.write(b, mdnsGroup6)
}

func (s *socket) close() error { return s.conn.Close() }

// system returns what the net packages want to know of an interface.
func (i netInterface) system() *net.Interface {
	return &net.Interface{Index: i.index, Name: i.name, Flags: i.flags}
}
