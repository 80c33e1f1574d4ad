package relay

import (
	"cmp"
	"errors"
	"log/slog"
	"math"
	"slices"
	"time"

	"ultrasockets/codec"
)

// maxCandidates bounds what a Welcome or a roster says about where to go next.
const maxCandidates = 8

func entryOf(hello *codec.Hello, addr string) codec.Entry {
	return codec.Entry{
		Name: hello.Name, Instance: hello.Instance, Role: hello.Role, State: hello.State, Tags: hello.Tags,
		Groups: hello.Groups, Transforms: hello.Transforms, Required: hello.Required, MaxMessage: hello.MaxMessage,
		Addr: addr, Addrs: hello.Addrs,
	}
}

// listing is what the roster says of a node; guarded by Hub.mu.
type listing struct {
	entry   codec.Entry
	packed  []byte // entry, encoded; nil of a visitor, whom no roster lists
	changed uint64 // number of its last change in the news
}

func listingOf(hello *codec.Hello, addr string) listing {
	l := listing{entry: entryOf(hello, addr)}
	if !hello.Visitor {
		l.packed = l.entry.Append(nil)
	}
	return l
}

// link gives a place to a node that may have it; mu is held. Welcome and
// roster are queued before anything else can be.
func (h *Hub) link(s *shake) *peer {
	hello := &s.hello
	beat := h.heartbeat()
	p := &peer{
		hub: h, conn: s.conn, token: hello.Token, instance: hello.Instance, wantsRoster: hello.WantsRoster,
		gone: make(chan struct{}), ended: make(chan struct{}), in: s.in,
		limit:   newLimit(h.cfg.Rate, s.conn, h.now()),
		updates: newBucket(updateRate, updateRate, h.now()),
		listing: listingOf(hello, addrString(s.raw)),
		heard:   math.MaxUint64, // nothing of what follows
	}
	p.beat.Store(int64(beat))
	if p.limit != nil {
		p.in.top = p.limit.most()
	}
	p.seat = seat{name: hello.Name, listed: !hello.Visitor, out: &p.out, groups: hello.Groups}
	p.out = outbox{
		limit: h.cfg.OutboxBytes, reserve: controlReserve, budget: &h.budget, clock: &h.clock,
		conn: p.conn, direct: newDirect(p.conn),
	}
	writer := p.out.writer
	p.out.drain = func() { go writer() }
	if p.wantsRoster {
		p.out.onCaughtUp = func() { h.resendRoster(&p.out, &p.heard) }
	}
	p.batch = batch{router: &h.router, from: &p.seat, own: p.own}
	p.lastRead.Store(int64(h.now()))
	tune(s.raw, p.dead())

	h.count.admitted.Add(1)
	if s.old {
		h.count.old.Add(1)
		h.logf(slog.LevelInfo, "a node came with an old secret", "peer", hello.Name)
	}

	old := h.names[hello.Name]
	h.names[hello.Name] = p
	h.peers[p] = struct{}{}
	delete(h.kept, hello.Name)
	delete(h.expected, hello.Name)
	if old == nil && p.seat.listed {
		h.listed++
	} else if old != nil && old.seat.listed != p.seat.listed {
		h.listed += map[bool]int{true: 1, false: -1}[p.seat.listed]
	}
	welcome := h.welcome()
	frame := codec.Frame{Kind: codec.KindWelcome, Payload: welcome.Append(nil)}
	first := frame.Append(nil)
	if old != nil && old.seat.listed {
		h.push(codec.Change{Op: codec.Left, Reason: codec.LeftReplaced, Entry: old.entry})
	}
	if p.wantsRoster {
		first = append(first, h.rosterFrames()...)
	}
	// Who reads the Welcome can be reached already: so it is queued, the name set, and only then written.
	p.out.prime(first)
	h.router.set(&p.seat)
	p.out.wake()
	if p.seat.listed {
		h.push(codec.Change{Op: codec.Joined, Entry: p.entry})
	}
	p.heard = h.news.end() // its roster has all that
	h.wg.Add(1)
	h.signal()
	return p
}

// unlink takes a link whose reader has gone off the router and the roster,
// unless the one that replaces it will.
func (h *Hub) unlink(p *peer, err error) {
	reason := codec.LeftLost
	switch {
	case errors.Is(err, errBye):
		reason = codec.LeftBye
	case errors.Is(err, errReplaced):
		reason = codec.LeftReplaced
	case errors.Is(err, ErrProtocol):
		h.count.protocol.Add(1)
		h.logf(levelWarn, "a link broke the protocol", "peer", p.seat.name, "err", err)
	default:
		h.count.lost.Add(1)
		h.logf(levelDebug, "a link is lost", "peer", p.seat.name, "err", err)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if !p.replaced {
		h.removeName(p, reason)
	}
}

// removeName is unlink's work; mu is held.
func (h *Hub) removeName(p *peer, reason codec.LeftReason) {
	if h.names[p.seat.name] != p {
		return
	}
	delete(h.names, p.seat.name)
	h.router.remove(&p.seat)
	if p.seat.listed {
		h.listed--
		if reason == codec.LeftLost && h.mood == reigning {
			h.kept[p.seat.name] = h.now() + keepPlace
		}
		h.push(codec.Change{Op: codec.Left, Reason: reason, Entry: p.entry})
	}
	h.signal()
}

// forget is the very end of a link.
func (h *Hub) forget(p *peer) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.peers, p)
	h.checkIdle()
}

// checkIdle tells a resigning hub that all links have gone; mu is held.
func (h *Hub) checkIdle() {
	if h.idle != nil && len(h.peers) == 0 {
		close(h.idle)
		h.idle = nil
	}
}

// update takes over what a node says about itself.
func (h *Hub) update(p *peer, e codec.Entry) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.names[p.seat.name] == p {
		h.changeEntry(&p.listing, &p.seat, e)
	}
}

func (h *Hub) updateOwn(a *Attachment, e codec.Entry) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.att == a {
		h.changeEntry(&a.listing, &a.seat, e)
	}
}

// changeEntry changes what the roster says of a node, and tells it. Of several changes of one node that wait to be told, the newest has it
// all: so a node that changes faster than it can be told costs no more.
func (h *Hub) changeEntry(l *listing, s *seat, e codec.Entry) {
	l.entry.State, l.entry.Tags, l.entry.Groups = e.State, e.Tags, e.Groups
	l.packed = l.entry.Append(nil)
	h.router.regroup(s, e.Groups)
	if s.listed {
		h.news.overtake(l.changed)
		l.changed = h.push(codec.Change{Op: codec.Changed, Entry: l.entry})
	}
}

// rosterFrames is the whole roster; mu is held.
func (h *Hub) rosterFrames() []byte {
	return codec.AppendEncodedRoster(nil, func(yield func([]byte) bool) {
		if h.att != nil && !h.att.ended() && !yield(h.att.packed) {
			return
		}
		for _, p := range h.names {
			if p.seat.listed && !yield(p.packed) {
				return
			}
		}
	}, h.candidates())
}

// welcome is what a link is told now; mu is held.
func (h *Hub) welcome() codec.Welcome {
	return codec.Welcome{
		Mesh: h.cfg.Mesh, Relay: h.cfg.Own.Name, Term: h.term, Outbox: uint32(h.cfg.OutboxBytes),
		Heartbeat: h.heartbeat(), Candidates: h.candidates(), Instance: h.cfg.Own.Instance,
	}
}

// heartbeat is what is told to a link that is admitted now: it grows in
// proportion to the links beyond linksPerBeat. mu is held.
func (h *Hub) heartbeat() time.Duration {
	beat := h.cfg.Heartbeat
	if n := len(h.names); n > linksPerBeat {
		beat = (beat * time.Duration(n) / linksPerBeat).Round(time.Millisecond)
	}
	return beat
}

// candidates are the addresses of those who would be the next relay, best
// first: configured servers, then smaller instances. Those who are expected at
// the start of a reign are among them, for who links first must not be left
// without anybody to turn to. mu is held.
func (h *Hub) candidates() [][]string {
	best := make([]*codec.Entry, 0, maxCandidates+1)
	add := func(e *codec.Entry) {
		if len(e.Addrs) == 0 || e.Role == codec.RolePeer {
			return
		}
		at, _ := slices.BinarySearchFunc(best, e, byRank)
		if at < maxCandidates {
			best = slices.Insert(best, at, e)
			best = best[:min(len(best), maxCandidates)]
		}
	}
	for _, p := range h.names {
		if p.seat.listed {
			add(&p.entry)
		}
	}
	for _, e := range h.expected {
		add(&e)
	}
	list := make([][]string, 0, len(best))
	for _, e := range best {
		list = append(list, e.Addrs)
	}
	return list
}

func byRank(a, b *codec.Entry) int {
	if (a.Role == codec.RoleServer) != (b.Role == codec.RoleServer) {
		if a.Role == codec.RoleServer {
			return -1
		}
		return 1
	}
	return cmp.Compare(a.Instance, b.Instance)
}
