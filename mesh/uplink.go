package mesh

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"ultrasockets/codec"
	"ultrasockets/discovery"
	"ultrasockets/relay"
)

// The life of a node, seen from its link:
//
//	             Welcome                      link lost, relay resigned
//	  seeking ------------> linked ----------------------------------> seeking
//	     |                                                                ^
//	     |  promoted                           resigned, stood still      |
//	     +------------> reigning -----------------------------------------+
//
// uplink.run is that state machine: a single goroutine, which owns all fields of uplink that are not static.

const (
	probeBetter   = time.Second           // how often a relay that hears of a better one checks whether that is true
	pauseFirst    = 10 * time.Millisecond // a node whose link did not last waits before it looks for another …
	pauseMax      = time.Second           // … doubling up to this; a link lasted if it lived for so long
	resignTime    = 3 * time.Second       // how long a relay that resigns waits for its nodes to go
	referralsKept = 8
)

type uplink struct {
	// static
	n        *Node
	set      *settings
	clock    func() time.Duration
	hostname string               // Dial: the relay's address; else ""
	hub      *relay.Hub           // nil: this node never is the relay
	disc     *discovery.Discovery // nil: no discovery
	static   bool                 // Listen: the relay from the start, for good

	// owned by run
	hello        codec.Hello
	wasLinked    bool
	resigned     bool          // gave its reign to a better relay and has not linked since
	lost         string        // name of the relay that was lost; "": a newcomer
	lostInstance uint64        //
	lostAddrs    []string      // where it was
	lostForGood  bool          // it said so: no use to dial it again
	lostShutdown bool          // it said that the mesh needs another
	founder      bool          // its reign is the first of its mesh
	predecessor  uint64        // else the instance of the relay before it; 0: not known
	lastRoster   []codec.Entry // as of the last relay
	referrals    [][]string    // where others say the relay is, newest first
	lastDialled  []string      // addresses of the target that led to the link
	maxTerm      uint32        // highest term seen
}

// run keeps the node linked until ctx ends or the mesh has put it out; then it says why. linked is called at the first link.
func (u *uplink) run(ctx context.Context, join context.Context, linked func()) error {
	pause := time.Duration(0) // before the next seek; grows while links do not last
	for {
		if !u.pause(ctx, pause) {
			return ErrClosed
		}
		seekCtx, cancel := context.WithCancel(ctx)
		if !u.wasLinked {
			// The first time the caller of Join decides how long to wait.
			stop := context.AfterFunc(join, cancel)
			defer stop()
		}
		port, err := u.seek(seekCtx)
		cancel()
		if err != nil {
			if ctx.Err() != nil {
				return ErrClosed
			}
			if !u.wasLinked && join.Err() != nil {
				return fmt.Errorf("%w: %w", err, join.Err())
			}
			return err
		}
		u.attach(port)
		first := !u.wasLinked
		u.wasLinked = true
		if first {
			linked()
		}
		began := u.clock()
		err = u.serve(ctx, port)
		u.detach(port, err)
		if pause = min(max(2*pause, pauseFirst), pauseMax); u.clock()-began >= pauseMax {
			pause = 0
		}
		if ctx.Err() != nil || u.n.leaving.Load() {
			return ErrClosed
		}
		if err := putOut(err); err != nil {
			return err
		}
	}
}

// pause waits; false: ctx has ended.
func (u *uplink) pause(ctx context.Context, d time.Duration) bool {
	if d == 0 {
		return ctx.Err() == nil
	}
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}

// putOut tells whether the end of a link means that the node is not wanted any more.
func putOut(err error) error {
	var bye *relay.ByeError
	if errors.As(err, &bye) && bye.Bye.Reason == codec.ByePutOut {
		return fmt.Errorf("%w: %s", ErrNotAdmitted, bye.Bye.Text)
	}
	return nil
}

// attach makes a port the one that everything goes through.
func (u *uplink) attach(port relay.Port) {
	w := port.Welcome()
	u.maxTerm = max(u.maxTerm, w.Term)
	u.hello.Term = u.maxTerm
	u.lost, u.lostForGood, u.lostShutdown, u.resigned = "", false, false, false
	u.referrals = nil
	u.n.view.setRelay(w.Relay)
	self := port.Addr() == nil
	if u.hub != nil && !self {
		u.hub.Refer(w.Relay, u.lastDialled)
	}
	u.set.log.Info("linked", "relay", w.Relay, "self", self, "mesh", w.Mesh, "term", w.Term)
	u.n.events.publish(Event{Kind: EventLinked, Name: w.Relay, Self: self})
	u.n.time.look()
	u.n.tick(u.clock()) // what expired while the machine slept is not sent
	u.n.in.setPort(port)
	u.n.out.setPort(port)
	u.n.port.Store(&portRef{port})
	u.n.sendState()
}

// serve runs the port until it ends; a relay meanwhile looks for better ones.
func (u *uplink) serve(ctx context.Context, port relay.Port) error {
	stop := context.AfterFunc(ctx, func() { port.Close() })
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- port.Run(session{u.n, port}) }() // serve waits for it
	reigning := port.Addr() == nil && !u.static
	check := time.NewTicker(probeBetter)
	defer check.Stop()
	for {
		var joins <-chan struct{}
		if reigning && u.n.term.Load() == 0 {
			joins = u.n.view.changes() // until the reign is confirmed
		}
		select {
		case err := <-ended:
			port.Close()
			return err
		case <-check.C:
			u.offerHints()
		case <-u.discovered():
		case <-joins:
		}
		if reigning {
			u.confirm()
			if better := u.betterRelay(ctx); better != nil {
				u.resign(ctx, better)
			}
		}
	}
}

// detach notes what is known of the relay that was lost, for the next seek.
func (u *uplink) detach(port relay.Port, err error) {
	u.n.port.Store(nil)
	u.n.out.setPort(nil)
	u.n.in.setPort(nil)
	w := port.Welcome()
	var bye *relay.ByeError
	if errors.As(err, &bye) && bye.Bye.Reason == codec.ByeShutdown {
		u.n.relayLeft(w.Relay, w.Instance)
	}
	u.lastRoster = u.n.view.entries()
	u.n.view.setRelay("")
	u.set.log.Info("link lost", "relay", w.Relay, "err", err)
	reason := ""
	if err != nil {
		reason = err.Error()
	}
	u.n.events.publish(Event{Kind: EventUnlinked, Name: w.Relay, Reason: reason})
	if u.disc != nil {
		u.disc.Browse()
	}
	if port.Addr() == nil {
		u.abdicated()
		return
	}
	u.lost, u.lostInstance, u.lostAddrs = w.Relay, w.Instance, u.lastDialled
	if bye != nil {
		switch bye.Bye.Reason {
		case codec.ByeResigned, codec.ByeShutdown:
			u.lostForGood, u.lostShutdown = true, bye.Bye.Reason == codec.ByeShutdown
			u.refer(bye.Bye.Addrs)
		}
	}
	u.holdVotes()
}

// holdVotes keeps Hellos that come while there is no relay, if this node may become it.
func (u *uplink) holdVotes() {
	switch {
	case u.eligible():
		u.hub.Hold()
	case u.hub != nil:
		u.hub.Refer("", nil)
	}
}

// abdicated: this node was the relay, and is it no more. It goes on like a newcomer.
func (u *uplink) abdicated() {
	u.lost, u.lostAddrs = "", nil
	if u.disc != nil {
		u.disc.SetMeta(u.meta(false, 0))
	}
	if !u.resigned {
		u.holdVotes()
	}
}

// reign makes this node the relay.
func (u *uplink) reign(why string) (relay.Port, error) {
	u.set.log.Info("becomes the relay", "reason", why)
	var expected []codec.Entry
	if u.lost != "" {
		for _, e := range u.lastRoster {
			if !e.Relay && e.Instance != u.hello.Instance {
				expected = append(expected, e)
			}
		}
	}
	u.founder = u.maxTerm == 0 && len(u.lastRoster) == 0
	u.predecessor = u.lostInstance
	u.n.term.Store(0)
	if u.lost == "" && len(u.set.Seeds) > 0 && u.set.Role == RoleAuto {
		text := fmt.Sprintf("no seed answers (%s), so this node is alone for now; it tries on: check addresses, ports and firewalls", strings.Join(u.set.Seeds, ", "))
		u.set.log.Warn(text, "problem", discovery.ProblemSeed)
	}
	port := u.hub.Reign(relay.Reign{Expected: expected, ExpectFor: expectFor})
	if u.disc != nil {
		u.disc.SetMeta(u.meta(true, 0))
	}
	return port, nil
}

// confirm gives the reign a term of its own once enough of the mesh has come; the term of a founder grows with its mesh.
func (u *uplink) confirm() {
	own := u.n.term.Load()
	if own > 0 && !u.founder {
		return
	}
	last := electorate(u.lastRoster)
	back, linked := 0, 0
	for _, e := range u.n.view.here() {
		if e.Instance == u.hello.Instance {
			continue
		}
		linked++
		if last[e.Instance] {
			back++
		}
	}
	term := founded(linked)
	if !u.founder {
		if !confirmed(len(last), back, linked) {
			return
		}
		// If the relay before was a founder, its term may have grown since this node linked to it, and may still: by what
		// gossip said, or by the number of those that it had linked.
		for _, n := range u.nodes() {
			if n.Instance == u.predecessor {
				u.maxTerm = max(u.maxTerm, n.Meta.Term)
			}
		}
		u.maxTerm = max(u.maxTerm, founded(len(last)))
		term = u.maxTerm + 1
	}
	if term <= own {
		return
	}
	u.maxTerm = term
	u.hello.Term = term
	u.n.term.Store(term)
	u.hub.SetTerm(term)
	u.set.log.Info("reign confirmed", "term", term)
	if u.disc != nil {
		u.disc.SetMeta(u.meta(true, term))
	}
}

// betterRelay finds a relay of the same mesh that outranks this one, and proves by a handshake that it is one.
func (u *uplink) betterRelay(ctx context.Context) *relay.Link {
	mine := reign{server: u.set.Role == RoleServer, term: u.n.term.Load(), instance: u.hello.Instance}
	for _, n := range u.nodes() {
		theirs := reign{server: n.Meta.Role == discovery.RoleServer, term: n.Meta.Term, instance: n.Instance}
		if !n.Meta.Relay || n.State != discovery.Alive || !theirs.better(mine) {
			continue
		}
		link := u.visit(ctx, addrStrings(n.Addrs))
		if link == nil {
			continue
		}
		// Gossip may be of yesterday: what the relay itself says counts.
		w := link.Welcome()
		theirs.term, theirs.instance = w.Term, w.Instance
		if w.Instance == n.Instance && theirs.better(mine) {
			return link
		}
	}
	return nil
}

// visit links to a relay as a visitor for a moment, to see that it is one.
func (u *uplink) visit(ctx context.Context, addrs []string) *relay.Link {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	cfg := u.dialConfig()
	cfg.Hello.Name = fmt.Sprintf("visit-%016x", u.hello.Instance)
	cfg.Hello.Visitor, cfg.Hello.WantsRoster, cfg.Hello.Addrs = true, false, nil
	cfg.Dial = func(ctx context.Context, network, _ string) (net.Conn, error) { return u.dialAny(ctx, network, addrs) }
	link, err := relay.Dial(ctx, addrs[0], cfg)
	if err != nil {
		u.set.log.Debug("a better relay was announced and does not answer", "addr", addrs[0], "err", err)
		return nil
	}
	link.Close()
	u.lastDialled = addrs
	return link
}

// resign hands the mesh over to a better relay.
func (u *uplink) resign(ctx context.Context, better *relay.Link) {
	name := better.Welcome().Relay
	u.set.log.Info("resigns", "relay", name)
	u.resigned = true
	u.refer(u.lastDialled)
	if u.disc != nil {
		u.disc.SetMeta(u.meta(false, 0))
	}
	ctx, cancel := context.WithTimeout(ctx, resignTime)
	defer cancel()
	u.hub.Resign(ctx, name, u.lastDialled)
	u.hub.Refer(name, u.lastDialled)
}

func (u *uplink) refer(addrs []string) {
	if len(addrs) == 0 || slices.ContainsFunc(u.referrals, func(r []string) bool { return slices.Equal(r, addrs) }) {
		return
	}
	u.referrals = append([][]string{addrs}, u.referrals...)
	u.referrals = u.referrals[:min(len(u.referrals), referralsKept)]
}

// eligible tells whether this node may become the relay at all.
func (u *uplink) eligible() bool {
	return u.hub != nil && u.set.Role != RolePeer && !u.set.Visitor
}

// candidates are those who may become the relay, in the order in which they are asked, this node among them.
// Orphans go by what their last relay said, so that all ask the same; newcomers by what discovery says, if there is any.
// Those of whom only multicast tells count while hints is true, and if they spoke for themselves.
func (u *uplink) candidates(orphan, hints bool, nodes []discovery.Node) []candidate {
	var list []candidate
	if orphan || u.disc == nil {
		for _, e := range u.lastRoster {
			if !e.Relay && e.Role != RolePeer && len(e.Addrs) > 0 {
				list = append(list, candidate{e.Instance, e.Role == RoleServer, e.Addrs, sourceTrusted})
			}
		}
		rankCandidates(list)
		return list
	}
	for _, n := range nodes {
		from := sourceOf(n)
		if from == sourceRumour || from == sourceHeard && !hints {
			continue
		}
		if n.State != discovery.Gone && n.Meta.Role != discovery.RolePeer && len(n.Addrs) > 0 {
			list = append(list, candidate{n.Instance, n.Meta.Role == discovery.RoleServer, addrStrings(n.Addrs), from})
		}
	}
	if u.eligible() {
		list = append(list, candidate{u.hello.Instance, u.set.Role == RoleServer, u.hello.Addrs, sourceTrusted})
	}
	rankCandidates(list)
	return list
}

func (u *uplink) meta(relaying bool, term uint32) discovery.Meta {
	return discovery.Meta{Name: u.set.Name, Role: discoveryRole(u.set.Role), Relay: relaying, Term: term}
}

func (u *uplink) dialConfig() relay.DialConfig {
	return relay.DialConfig{Hello: u.n.withState(u.hello), Secret: u.set.Secret, OldSecrets: u.set.OldSecrets, Logger: u.set.log, Clock: u.set.Clock}
}

func (u *uplink) nodes() []discovery.Node {
	if u.disc == nil {
		return nil
	}
	return u.disc.Nodes()
}

func (u *uplink) discovered() <-chan struct{} {
	if u.disc == nil {
		return nil
	}
	return u.disc.Changed()
}

func (u *uplink) voted() <-chan struct{} {
	if u.hub == nil {
		return nil
	}
	return u.hub.Changed()
}

func (u *uplink) multicastFails() bool {
	return slices.ContainsFunc(u.disc.Problems(), func(p discovery.Problem) bool {
		return p.Code == discovery.ProblemMulticast || p.Code == discovery.ProblemInterface || p.Code == discovery.ProblemPort
	})
}

// offerHints lets gossip know of the nodes that the relay names.
func (u *uplink) offerHints() {
	if u.disc == nil {
		return
	}
	for _, e := range u.n.view.entries() {
		for _, a := range e.Addrs {
			if ap, err := netip.ParseAddrPort(a); err == nil && !u.isOwn([]string{a}) {
				u.disc.Hint(ap)
			}
		}
	}
}

func (u *uplink) isOwn(addrs []string) bool {
	return slices.ContainsFunc(addrs, func(a string) bool { return slices.Contains(u.hello.Addrs, a) })
}

func (u *uplink) notOwn(addrs []string) []string {
	if !u.isOwn(addrs) {
		return addrs
	}
	return slices.DeleteFunc(slices.Clone(addrs), func(a string) bool { return slices.Contains(u.hello.Addrs, a) })
}

func addrStrings(list []netip.AddrPort) []string {
	out := make([]string, len(list))
	for i, a := range list {
		out[i] = a.String()
	}
	return out
}
