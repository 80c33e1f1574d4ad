package relay

import (
	"crypto/subtle"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"time"

	"ultrasockets/codec"
)

// What connections may cost before they are admitted.
const (
	maxLobby    = 256                    // connections whose preamble is to come
	maxPlaces   = 64                     // handshakes after it
	maxPerAddr  = 8                      // of them from one address, loopback excepted
	maxVotes    = 1024                   // held Hellos
	maxLinger   = 64                     // connections that are kept open until their last words are read
	lobbyGrace  = 25 * time.Millisecond  // a preamble that has not come by then may be late for ever
	patience    = time.Second            // a handshake that takes longer gives its place to a newcomer
	waitTime    = 250 * time.Millisecond // what a dialler is told to wait
	helloTime   = 5 * time.Second        // from connecting to Welcome
	holdTime    = 3 * time.Second        // of a held Hello
	maxTakeover = 8                      // links of the same token that one Hello may chase away
)

// addrKey is what maxPerAddr counts by. IPv6 hosts own a /64.
type addrKey struct{ p netip.Prefix }

// addrOf is the key of a connection's other end; ok is false for those that are not counted.
func addrOf(c net.Conn) (addrKey, bool) {
	ap, err := netip.ParseAddrPort(addrString(c))
	if err != nil {
		return addrKey{}, false
	}
	ip := ap.Addr().Unmap().WithZone("")
	bits := 32
	if ip.Is6() {
		bits = 64
	}
	p, err := ip.Prefix(bits)
	return addrKey{p}, err == nil && !ip.IsLoopback()
}

func addrString(c net.Conn) string {
	if a := c.RemoteAddr(); a != nil {
		return a.String()
	}
	return ""
}

// hostOf is the address that a connection comes from, without its port.
func hostOf(c net.Conn) string {
	host, _, err := net.SplitHostPort(addrString(c))
	if err != nil {
		return "somewhere"
	}
	return host
}

// receive takes a new connection into the lobby, where it is to send its preamble. When the lobby is full the one that has
// said nothing for the longest gives way. Nobody does so within the time in which an honest preamble arrives: rather than that,
// the accept loop waits, and the kernel keeps the newcomers.
func (h *Hub) receive(conn net.Conn) {
	h.count.accepted.Add(1)
	s := &shake{hub: h, raw: conn, conn: conn}
	s.addr, s.counted = addrOf(conn)
	h.mu.Lock()
	defer h.mu.Unlock()
	for len(h.lobby) >= maxLobby && !h.closed {
		oldest := h.lobby[0]
		if wait := lobbyGrace - (h.now() - oldest.since); wait > 0 {
			h.mu.Unlock()
			h.sleep(wait)
			h.mu.Lock()
			continue
		}
		h.evict(oldest)
	}
	if h.closed {
		conn.Close()
		return
	}
	s.since = h.now()
	h.lobby = append(h.lobby, s)
	h.shakes[s] = struct{}{}
	h.wg.Add(1)
	go s.run()
}

// sleep waits, but not for a hub that closes.
func (h *Hub) sleep(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-h.done:
	}
}

// evict closes a handshake in favour of another; mu is held.
func (h *Hub) evict(s *shake) {
	h.count.turnAway(awayOldest)
	s.raw.Close()
	h.leave(s)
}

// seat gives a handshake whose preamble has come a place. If there is none, it is to be told to come again.
func (h *Hub) seat(s *shake) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.leave(s)
	if s.counted && h.perAddr[s.addr] >= maxPerAddr {
		h.count.turnAway(awayAddress)
		return false
	}
	if len(h.places) >= maxPlaces {
		victim := h.victim(s)
		if victim == nil {
			h.count.turnAway(awayFull)
			return false
		}
		h.evict(victim)
	}
	s.placed, s.since = true, h.now()
	h.places = append(h.places, s)
	if s.counted {
		h.perAddr[s.addr]++
	}
	return true
}

// victim is who gives way to s when all places are taken: the oldest, if it has had its time; else the oldest of
// the address that has the most places, if that is more than that of s would have. So few hosts cannot keep the others out. mu is held.
func (h *Hub) victim(s *shake) *shake {
	if h.now()-h.places[0].since > patience {
		return h.places[0]
	}
	var victim *shake
	most := h.perAddr[s.addr] + 1
	for _, o := range h.places {
		if n := h.perAddr[o.addr]; o.counted && n > most {
			victim, most = o, n
		}
	}
	return victim
}

// leave takes a handshake out of the lobby, or frees its place; mu is held.
func (h *Hub) leave(s *shake) {
	same := func(o *shake) bool { return o == s }
	if !s.placed {
		h.lobby = slices.DeleteFunc(h.lobby, same)
		return
	}
	s.placed = false
	h.places = slices.DeleteFunc(h.places, same)
	if s.counted {
		if h.perAddr[s.addr]--; h.perAddr[s.addr] == 0 {
			delete(h.perAddr, s.addr)
		}
	}
}

// release forgets a handshake.
func (h *Hub) release(s *shake) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.leave(s)
	h.unvote(s)
	delete(h.shakes, s)
}

// dismiss closes a connection that was told something, so that it can be read: but only so many wait for that at a time.
func (h *Hub) dismiss(c net.Conn) {
	if h.lingering.Add(1) <= maxLinger {
		lingerClose(c)
	} else {
		_ = c.Close()
	}
	h.lingering.Add(-1)
}

// admit decides about a good Hello. One of the results is set: a link, a
// refusal, or hold: the Hello was registered as a vote.
func (h *Hub) admit(s *shake) (p *peer, refusal *codec.Refusal, hold bool) {
	if err := h.rule(&s.hello); err != nil {
		return nil, err, false
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	var old *peer
	for n := 0; ; n++ {
		var holder *peer
		refusal, holder, hold = h.judge(s)
		if holder == nil {
			break
		}
		if n == maxTakeover {
			refusal = notNow("the name changes hands too often")
			break
		}
		// The same instance on a new link: its old reader must have gone before the new link is welcome.
		old = holder
		old.replaced = true
		old.stop()
		h.mu.Unlock()
		<-old.gone
		h.mu.Lock()
	}
	if old != nil && (refusal != nil || hold) {
		h.removeName(old, codec.LeftReplaced)
	}
	if refusal != nil || hold {
		return nil, refusal, hold
	}
	return h.link(s), nil, false
}

// rule applies what needs no lock.
func (h *Hub) rule(hello *codec.Hello) *codec.Refusal {
	if hello.Mesh != "" && hello.Mesh != h.cfg.Mesh {
		return &codec.Refusal{Code: codec.RefuseMesh, Text: fmt.Sprintf("this is the mesh %q, not %q", h.cfg.Mesh, hello.Mesh)}
	}
	if h.cfg.Admit != nil {
		if err := h.cfg.Admit(*hello); err != nil {
			return &codec.Refusal{Code: codec.RefuseRule, Text: err.Error()}
		}
	}
	return nil
}

func notNow(text string) *codec.Refusal { return &codec.Refusal{Code: codec.RefuseNotNow, Text: text} }

// judge decides what to do with a Hello by the mood, the name and the number
// of links. A holder is a link that must go first. All nil and false: link it. mu is held.
func (h *Hub) judge(s *shake) (refusal *codec.Refusal, holder *peer, hold bool) {
	hello := &s.hello
	switch {
	case h.closed:
		return notNow("the relay is closing"), nil, false
	case s.evicted:
		return notNow("a newer Hello of the same instance came"), nil, false
	case h.mood == referring || h.mood == resigning:
		refer := h.refer
		return &refer, nil, false
	case h.mood == holding:
		return h.holdVote(s)
	case hello.Name == h.cfg.Own.Name:
		return nameTaken("the relay's own name is %q", hello.Name), nil, false
	}
	if p := h.names[hello.Name]; p != nil {
		if !sameToken(p.token, hello.Token) {
			h.probe(p)
			return nameTaken("the other %q is linked from %s", hello.Name, hostOf(p.conn)), nil, false
		}
		if h.full(hello, p) {
			return h.meshFull(), nil, false
		}
		if isClosed(p.gone) {
			return nil, nil, false // its reader has gone already: link takes its name over
		}
		return nil, p, false
	}
	if e, ok := h.expected[hello.Name]; ok && e.Instance != hello.Instance && h.now() < h.expectEnd {
		return &codec.Refusal{Code: codec.RefuseNameKept, Text: fmt.Sprintf("a new relay keeps the name %q some seconds for who had it before", hello.Name)}, nil, false
	}
	if h.full(hello, nil) {
		return h.meshFull(), nil, false
	}
	return nil, nil, false
}

func nameTaken(format string, args ...any) *codec.Refusal {
	return &codec.Refusal{Code: codec.RefuseNameTaken, Text: fmt.Sprintf(format, args...)}
}

func (h *Hub) meshFull() *codec.Refusal {
	return &codec.Refusal{Code: codec.RefuseMeshFull, Text: fmt.Sprintf("it has %d places, and all are taken", h.cfg.Connections)}
}

func sameToken(a, b []byte) bool { return len(a) > 0 && subtle.ConstantTimeCompare(a, b) == 1 }

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// full tells whether there is no place for a Hello. Places are kept for names
// that were lost a moment ago, and for those expected at the start of a reign. mu is held.
func (h *Hub) full(hello *codec.Hello, replaces *peer) bool {
	if h.cfg.Connections <= 0 || hello.Visitor {
		return false
	}
	n := h.listed
	if replaces != nil && replaces.seat.listed {
		n--
	}
	now := h.now()
	for name, until := range h.kept {
		if name != hello.Name && now < until {
			n++
		}
	}
	if now < h.expectEnd {
		for name := range h.expected {
			if _, kept := h.kept[name]; name != hello.Name && !kept {
				n++
			}
		}
	}
	return n >= h.cfg.Connections
}

// holdVote registers a Hello as a vote; it gives its place back. mu is held.
func (h *Hub) holdVote(s *shake) (refusal *codec.Refusal, holder *peer, hold bool) {
	if s.voted && h.now()-s.held >= holdTime {
		return notNow("this node is not the relay, nor does it know who is"), nil, false
	}
	if s.hello.Instance == h.cfg.Own.Instance {
		return notNow("that is this node itself, under an address that it did not know to be its own"), nil, false
	}
	if len(h.votes) >= maxVotes {
		return notNow("too many nodes ask at once"), nil, false
	}
	for _, v := range h.votes {
		if v.hello.Instance == s.hello.Instance {
			v.evicted = true
			v.wakeUp()
		}
	}
	if !s.voted {
		s.voted, s.held = true, h.now()
	}
	_ = s.raw.SetReadDeadline(time.Now().Add(holdTime - (h.now() - s.held)))
	h.leave(s)
	h.votes = append(h.votes, s)
	h.signal()
	return nil, nil, true
}

// unvote takes a Hello off the votes; mu is held.
func (h *Hub) unvote(s *shake) {
	if i := slices.Index(h.votes, s); i >= 0 {
		h.votes = slices.Delete(h.votes, i, i+1)
		h.signal()
	}
}

// wakeVotes lets all held Hellos be judged again; mu is held.
func (h *Hub) wakeVotes() {
	for _, s := range h.votes {
		s.wakeUp()
	}
}

// refused counts and logs a refusal.
func (h *Hub) refused(hello *codec.Hello, r *codec.Refusal) {
	h.count.refuse(r.Code)
	h.logf(slog.LevelDebug, "refused a node", "peer", hello.Name, "why", r.Code.String(), "text", r.Text)
}
