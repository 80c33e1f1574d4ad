package doctor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"ultrasockets/codec"
	"ultrasockets/discovery"
	"ultrasockets/relay"
)

// How long is waited for a node.
const (
	connectTime = 2 * time.Second         // for a connection: a first packet that was lost is sent again after a second
	verdictTime = 4 * time.Second         // for what it says to a Hello: who looks for a relay itself holds it for 3 s
	probeTime   = 1500 * time.Millisecond // for gossip
	rosterTime  = time.Second
	stagger     = 50 * time.Millisecond // between the addresses of one node
)

// examine examines nodes: those of our mesh wholly, and one of each other mesh for its name.
func (e *exam) examine(ctx context.Context, nodes []Node) {
	var running sync.WaitGroup
	others := make(map[string]bool)
	for i := range nodes {
		n := &nodes[i]
		switch {
		case len(n.Addrs) == 0, n.Source == SourceMDNS && n.Version != discovery.Version:
			continue
		case !n.Ours && (others[n.Mesh] || len(others) >= maxOthers):
			continue
		case !n.Ours:
			others[n.Mesh] = true
		}
		running.Go(func() { e.node(ctx, n) }) // at most maxNodes at a time
	}
	running.Wait()
}

// node examines one node.
func (e *exam) node(ctx context.Context, n *Node) {
	addrs := parseAddrs(n.Addrs)
	if len(addrs) == 0 {
		return
	}
	defer func() {
		e.cfg.Logger.Debug("examined", "addr", n.Link.Addr, "source", n.Source, "relay", n.Link.Relay, "link", string(n.Link.State),
			"udp", string(n.GossipUDP.State), "tcp", string(n.GossipTCP.State), "err", n.Link.Error)
	}()
	via, err := e.way(addrs[0])
	n.Route = Route{Interface: via, Error: text(err)}
	if !n.Ours {
		e.link(ctx, n, addrs)
		return
	}
	var asking sync.WaitGroup
	var packets Probe
	gossips := e.cfg.Hostname == "" // the link is all that is to be examined, and it may be one to a static star
	asked, cancel := context.WithCancel(ctx)
	defer cancel()
	if gossips {
		asking.Go(func() { packets = e.packets(asked, addrs) })
	}
	e.link(ctx, n, addrs)
	if !n.Link.State.proven() && !n.Link.State.cut() {
		cancel() // of a node with another secret, gossip says nothing
	}
	if gossips && n.Link.State.proven() {
		n.GossipTCP = e.stream(ctx, n.Link.Addr)
	}
	asking.Wait()
	if n.Link.State.proven() || n.Link.State.cut() {
		n.GossipUDP = packets
	}
}

// link dials a node as a visitor, and notes how that ended.
func (e *exam) link(whole context.Context, n *Node, addrs []netip.AddrPort) {
	ctx, cancel := context.WithTimeout(whole, min(verdictTime, e.cfg.Within/2))
	defer cancel()
	began := time.Now()
	connected := false
	l, err := relay.Dial(ctx, addrs[0].String(), relay.DialConfig{
		Hello: e.newHello(), Secret: e.cfg.Secret, Logger: e.cfg.Logger,
		Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
			conn, err := e.connect(ctx, addrs)
			if err == nil {
				connected = true
				addrs = []netip.AddrPort{conn.RemoteAddr().(*net.TCPAddr).AddrPort()}
			}
			return conn, err
		},
	})
	n.Link = Link{State: verdict(err, connected), Addr: unmapped(addrs[0]).String(), MS: milliseconds(time.Since(began)), Error: text(err)}
	var refusal *codec.Refusal
	switch {
	case whole.Err() != nil && (n.Link.State.cut() || n.Link.State == LinkSilent):
		n.Link = Link{Addr: n.Link.Addr, Error: "the examination ended before"}
		e.mu.Lock()
		e.facts.Unfinished++
		e.mu.Unlock()
	case err == nil:
		n.Relay = true
		n.Instance = fmt.Sprintf("%016x", l.Welcome().Instance)
		n.Link.Relay = l.Welcome().Relay
		e.visit(ctx, l)
	case errors.As(err, &refusal):
		n.Link.Relay, n.Link.referral = refusal.Relay, refusal.Addrs
		n.Link.Error = refusal.Error()
	}
}

func unmapped(a netip.AddrPort) netip.AddrPort { return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()) }

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// verdict tells what a dial's error means.
func verdict(err error, connected bool) LinkState {
	var refusal *codec.Refusal
	var timeout net.Error
	switch {
	case err == nil:
		return LinkWelcome
	case errors.As(err, &refusal):
		switch refusal.Code {
		case codec.RefuseMesh:
			return LinkWrongMesh
		case codec.RefuseNotRelay:
			if len(refusal.Addrs) > 0 {
				return LinkReferred
			}
			return LinkSeeking
		case codec.RefuseNotNow:
			return LinkSeeking
		}
		return LinkNotAdmitted
	case errors.Is(err, relay.ErrSecretNeeded):
		return LinkSecretNeeded
	case errors.Is(err, relay.ErrNoSecret):
		return LinkNoSecret
	case errors.Is(err, relay.ErrWrongSecret):
		return LinkWrongSecret
	case errors.Is(err, relay.ErrVersion):
		return LinkVersion
	case errors.Is(err, relay.ErrNotARelay), errors.Is(err, relay.ErrProtocol):
		return LinkStranger
	case connected:
		return LinkSilent
	case errors.As(err, &timeout) && timeout.Timeout(), errors.Is(err, context.DeadlineExceeded), errors.Is(err, syscall.EHOSTUNREACH):
		return LinkTimeout // no route to host: nobody on the link answers for that address
	}
	return LinkRefused
}

// connect connects to the first of several addresses of one node that answers.
func (e *exam) connect(ctx context.Context, addrs []netip.AddrPort) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, connectTime)
	defer cancel()
	var d net.Dialer
	if e.bind.IsValid() {
		d.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(e.bind, 0))
	}
	type outcome struct {
		conn net.Conn
		err  error
	}
	outcomes := make(chan outcome, len(addrs))
	for i, addr := range addrs {
		go func() { // the loop below waits for it
			select {
			case <-time.After(time.Duration(i) * stagger):
			case <-ctx.Done():
			}
			conn, err := d.DialContext(ctx, "tcp", addr.String())
			outcomes <- outcome{conn, err}
		}()
	}
	var won net.Conn
	var failed error
	for range addrs {
		o := <-outcomes
		switch {
		case o.err != nil:
			if failed == nil {
				failed = o.err
			}
		case won == nil:
			won = o.conn
			cancel()
		default:
			_ = o.conn.Close()
		}
	}
	if won != nil {
		return won, nil
	}
	return nil, failed
}

// visit reads the relay's roster, if none was read yet, and leaves.
func (e *exam) visit(ctx context.Context, l *relay.Link) {
	r := &listener{whole: make(chan struct{})}
	var running sync.WaitGroup
	running.Go(func() { _ = l.Run(r) }) // however it ends, what was read counts
	select {
	case <-r.whole:
	case <-ctx.Done():
	case <-time.After(rosterTime):
	}
	_ = l.Leave(ctx) // a visitor's goodbye need not arrive
	_ = l.Close()
	running.Wait()
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.facts.Relay == "" {
		e.facts.Relay, e.roster = l.Welcome().Relay, r.entries
		e.facts.Mesh = l.Welcome().Mesh
	}
}

// listener takes the first whole roster from a link.
type listener struct {
	entries []codec.Entry // owned by the link's Run until whole is closed or Run has returned
	done    bool          // likewise
	whole   chan struct{} // closed when all entries are there
}

// HandleFrame implements relay.Handler.
func (r *listener) HandleFrame(f codec.Raw, _ *relay.Memory) {
	if f.Kind() != codec.KindRoster || r.done || !f.Valid() {
		return
	}
	part, err := codec.ParseRoster(f.Payload())
	if err != nil {
		return
	}
	r.entries = append(r.entries, part.Entries...)
	if f.Flags()&codec.FlagMore == 0 {
		r.done = true
		close(r.whole)
	}
}

// HandleBatchEnd and HandleWritable implement relay.Handler: nothing is written.
func (r *listener) HandleBatchEnd() (int, int) { return 0, 0 }

// HandleWritable implements relay.Handler.
func (r *listener) HandleWritable() {}

// packets pings the gossip of a node by UDP, at all its addresses at once: one that answers is enough.
func (e *exam) packets(ctx context.Context, addrs []netip.AddrPort) Probe {
	ctx, cancel := context.WithTimeout(ctx, probeTime)
	defer cancel()
	results := make(chan Probe, len(addrs))
	for _, addr := range addrs {
		go func() { // the loop below waits for it
			rtt, err := e.probe.Packets(ctx, addr)
			if err != nil {
				results <- Probe{State: ProbeSilent, Error: text(err)}
				return
			}
			results <- Probe{State: ProbeOK, MS: milliseconds(rtt)}
		}()
	}
	var best Probe
	for range addrs {
		p := <-results
		if p.State == ProbeOK && best.State != ProbeOK {
			cancel()
		}
		if best.State != ProbeOK {
			best = p
		}
	}
	return best
}

// stream pings the gossip of a node by TCP.
func (e *exam) stream(ctx context.Context, addr string) Probe {
	ctx, cancel := context.WithTimeout(ctx, probeTime)
	defer cancel()
	conn, err := e.connect(ctx, parseAddrs([]string{addr}))
	if err != nil {
		return Probe{State: ProbeSilent, Error: text(err)}
	}
	defer conn.Close()
	began := time.Now()
	if err := e.probe.Stream(ctx, conn); err != nil {
		return Probe{State: ProbeSilent, Error: text(err)}
	}
	return Probe{State: ProbeOK, MS: milliseconds(time.Since(began))}
}
