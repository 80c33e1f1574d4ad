package discovery

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/miekg/dns"
)

// What a survey keeps at most.
const maxSurveyed = 256 // nodes heard

// surveyPauses are the pauses before each question of a survey: the first packets of a radio that wakes up are often lost.
var surveyPauses = []time.Duration{0, 150 * time.Millisecond, 350 * time.Millisecond, 500 * time.Millisecond}

// InterfaceKind is what an interface leads to, as far as its flags and its name tell.
type InterfaceKind string

const (
	InterfaceLAN       InterfaceKind = "lan"
	InterfaceLoopback  InterfaceKind = "loopback"
	InterfaceVPN       InterfaceKind = "vpn"       // a tunnel; multicast mostly does not pass through one
	InterfaceContainer InterfaceKind = "container" // containers and virtual machines of this host
)

// Interface is one network interface of this machine as it is now.
type Interface struct {
	Name      string
	Kind      InterfaceKind
	Up        bool
	Multicast bool           // whether it takes multicast
	Used      bool           // whether a node works on it
	Prefixes  []netip.Prefix // its own addresses, each with the length of its subnet
}

// Interfaces returns the interfaces of this machine, and which of them a node uses that is bound to bind (see
// Config.Bind; not valid: to none). Those it uses come first, best first. The caller owns the result.
func Interfaces(bind netip.Addr) ([]Interface, error) {
	system, err := readInterfaces()
	if err != nil {
		return nil, err
	}
	used := choose(system, bind)
	all := make([]Interface, 0, len(system))
	for _, i := range used {
		all = append(all, i.describe(true))
	}
	for _, i := range system {
		if !slices.ContainsFunc(used, func(u netInterface) bool { return u.index == i.index }) {
			all = append(all, i.describe(false))
		}
	}
	return all, nil
}

func (i netInterface) describe(used bool) Interface {
	return Interface{
		Name: i.name, Kind: i.kind(), Up: i.flags&net.FlagUp != 0, Multicast: i.multicasts(), Used: used,
		Prefixes: slices.Clone(i.prefixes),
	}
}

// kind tells what the interface leads to.
func (i netInterface) kind() InterfaceKind {
	switch {
	case i.loopback():
		return InterfaceLoopback
	case i.flags&net.FlagPointToPoint != 0 || hasAnyPrefix(i.name, "tun", "tap", "utun", "wg", "ppp", "tailscale", "zt", "nordlynx", "ipsec"):
		return InterfaceVPN
	case i.virtual():
		return InterfaceContainer
	}
	return InterfaceLAN
}

// Channel is what a survey found of mDNS on one interface in one IP family.
type Channel struct {
	Interface string
	IPv6      bool
	PortErr   error // why port 5353 cannot be shared; then Echo is false, too
	SendErr   error // why no question can be sent
	Echo      bool  // whether a question of this survey was heard on port 5353, as every multicast is by its own machine
	Packets   int   // mDNS packets of others heard, of any service
}

// Heard is one node, of any mesh, that answered a survey. All of it is hearsay.
type Heard struct {
	Instance   uint64
	Version    string // of the wire, as it stands in DNS; Version is this one's
	MeshHash   string // see MeshHash
	Relay      bool
	Term       uint32
	Addrs      []netip.AddrPort // where it may be dialled, at most 8
	Interfaces []string         // on which it was heard
}

// Survey is what was found by Look.
type Survey struct {
	Channels []Channel
	Heard    []Heard // sorted by instance, at most 256
}

// Group is where multicast DNS is sent by IPv4.
func Group() netip.AddrPort { return mdnsGroup4 }

// Version is the wire's version as nodes tell it in DNS.
const Version = txtVersion

// MeshHash is how the mesh of a name is told apart in DNS.
func MeshHash(mesh string) string { return meshHash(mesh) }

// Look asks by mDNS, on all interfaces that a node bound to bind would use, who is there, of whatever mesh, and listens
// until ctx ends. It answers nobody and leaves no trace. What does not work stands in the result.
func Look(ctx context.Context, bind netip.Addr) (Survey, error) {
	system, err := readInterfaces()
	if err != nil {
		return Survey{}, fmt.Errorf("discovery: interfaces: %w", err)
	}
	var (
		looks   []*look
		looking sync.WaitGroup
	)
	all := &heard{nodes: make(map[uint64]*Heard)}
	for _, i := range choose(system, bind) {
		for _, v6 := range []bool{false, true} {
			if source, ok := i.source(v6); ok && i.multicasts() {
				l := &look{iface: i, source: source, all: all, Channel: Channel{Interface: i.name, IPv6: v6}}
				looks = append(looks, l)
				looking.Go(func() { l.run(ctx) })
			}
		}
	}
	<-ctx.Done()
	looking.Wait()
	s := Survey{Heard: all.list()}
	for _, l := range looks {
		s.Channels = append(s.Channels, l.Channel)
	}
	return s, nil
}

// look is the survey of one interface in one IP family.
type look struct {
	iface  netInterface
	source netip.Addr
	all    *heard

	mu      sync.Mutex
	Channel // guarded by mu
}

// run asks and listens until ctx ends.
func (l *look) run(ctx context.Context) {
	group, err := openGroup(l.iface, l.source)
	l.PortErr = err
	ask, err := openAsk(l.iface, l.source)
	if err != nil {
		l.SendErr = err
	}
	own := netip.AddrPort{}
	if ask != nil {
		own = ask.conn.LocalAddr().(*net.UDPAddr).AddrPort()
	}
	var readers sync.WaitGroup
	for _, s := range []*socket{group, ask} {
		if s != nil {
			readers.Go(func() { l.read(s, s == group, own.Port()) })
		}
	}
	l.question(ctx, ask, group)
	<-ctx.Done()
	for _, s := range []*socket{group, ask} {
		if s != nil {
			_ = s.close()
		}
	}
	readers.Wait()
}

// question asks now and then, from both sockets: those who hear it answer one to us alone and the other to the group.
func (l *look) question(ctx context.Context, ask, group *socket) {
	msg := new(dns.Msg).SetQuestion(srvName, dns.TypePTR)
	msg.Id, msg.RecursionDesired = 0, false
	b, err := msg.Pack()
	if err != nil {
		return // the message above is constant
	}
	for _, pause := range surveyPauses {
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
		if ask != nil {
			err := ask.multicast(b)
			l.mu.Lock()
			l.SendErr = err
			l.mu.Unlock()
		}
		if group != nil {
			_ = group.multicast(b) // what cannot be sent here could not be sent above
		}
	}
}

// read listens until the socket is closed.
func (l *look) read(s *socket, isGroup bool, ownPort uint16) {
	buf := make([]byte, maxMDNSPacket)
	for {
		n, from, err := s.read(buf)
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			time.Sleep(readErrorPause) // Windows reports here that an earlier packet found no receiver
			continue
		}
		var msg dns.Msg
		if msg.Unpack(buf[:n]) != nil {
			continue
		}
		own := isGroup && !msg.Response && from.Port() == ownPort && l.iface.has(from.Addr())
		l.mu.Lock()
		if own {
			l.Echo = true
		} else if !l.iface.has(from.Addr()) {
			l.Packets++
		}
		l.mu.Unlock()
		if msg.Response && msg.Opcode == dns.OpcodeQuery && msg.Rcode == dns.RcodeSuccess {
			l.all.take(&msg, l.iface)
		}
	}
}

// heard is who answered, on all interfaces.
type heard struct {
	mu    sync.Mutex
	nodes map[uint64]*Heard // guarded by mu
}

// take notes what a response says of nodes.
func (h *heard) take(msg *dns.Msg, via netInterface) {
	instances, hosts := toldIn(msg, via)
	h.mu.Lock()
	defer h.mu.Unlock()
	for instance, t := range instances {
		keys := txtKeys(t.txt)
		if t.gone {
			delete(h.nodes, instance)
			continue
		}
		if t.port == 0 || len(hosts[t.host]) == 0 || keys["v"] == "" {
			continue
		}
		n := h.nodes[instance]
		if n == nil {
			if len(h.nodes) >= maxSurveyed {
				continue
			}
			n = &Heard{Instance: instance}
			h.nodes[instance] = n
		}
		n.Version, n.MeshHash, n.Relay = clip(keys["v"]), clip(keys["mesh"]), keys["relay"] == "1"
		term, _ := strconv.ParseUint(keys["term"], 10, 32)
		n.Term = uint32(term)
		for _, a := range hosts[t.host] {
			addr := netip.AddrPortFrom(a, t.port)
			if len(n.Addrs) < maxAddrs && !slices.Contains(n.Addrs, addr) {
				n.Addrs = append(n.Addrs, addr)
			}
		}
		if !slices.Contains(n.Interfaces, via.name) {
			n.Interfaces = append(n.Interfaces, via.name)
		}
	}
}

// clip bounds and cleans what strangers said, which is to be shown.
func clip(s string) string {
	const most = 32
	quoted := fmt.Sprintf("%.*q", most, s)
	return quoted[1 : len(quoted)-1]
}

func (h *heard) list() []Heard {
	h.mu.Lock()
	defer h.mu.Unlock()
	all := make([]Heard, 0, len(h.nodes))
	for _, n := range h.nodes {
		slices.Sort(n.Interfaces)
		all = append(all, *n)
	}
	slices.SortFunc(all, func(a, b Heard) int { return cmp.Compare(a.Instance, b.Instance) })
	return all
}
