package mesh

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"ultrasockets/codec"
	"ultrasockets/discovery"
	"ultrasockets/relay"
)

// How a node without a relay gets one: it dials what may lead to the relay, asks the best candidate to become it, and
// becomes it when the rules of election.go say so. One seek runs at a time; it belongs to the goroutine of uplink.run,
// and so does all its state, but for what it shares with its dials: turn, and tickets and reached of targets.

const (
	settleMDNS     = 900 * time.Millisecond  // a newcomer on a network with multicast looks for a relay for so long …
	settleSeeds    = time.Second             // … and with seeds alone at most so long, until each has been tried
	settleResigned = 2 * time.Second         // and one that gave its reign to a better relay, for so long
	relayRetry     = 500 * time.Millisecond  // an orphan that hears nothing from its relay's port asks others after this
	orphanFor      = 10 * time.Second        // an orphan that finds nobody to agree with is a newcomer then
	failedFor      = 3 * time.Second         // a candidate that could not be reached is not asked again for so long
	refusedFor     = expectFor - time.Second // a name or place that is taken may become free for so long
	hearFor        = 8 * time.Second         // a seed that is slow to answer is waited for at most so long …
	hearTimes      = 20                      // … or for so many times what the slowest answer took …
	hearMost       = 30 * time.Second        // … and never longer than this
	keptFor        = 3 * time.Second         // a relay that keeps the name is believed to live so long
	hintFor        = 3 * time.Second         // a newcomer believes so long that somebody is there of whom only multicast tells
	maxTargets     = 256                     // targets remembered
)

type dialled struct {
	key  string
	link *relay.Link
	err  error
	took time.Duration // from the Hello to the outcome; 0: it came to no Hello
}

type seek struct {
	u       *uplink
	ctx     context.Context
	started time.Duration
	orphan  bool
	results chan dialled
	dials   sync.WaitGroup
	targets map[string]*target
	turn    turn

	refusal   error         // the last that is not to be mended by another try
	refusedAt time.Duration // when that was first said
	refusals  int           // how often
	refusedBy string        // key of the target that said it
	slowest   time.Duration // the longest that an answer took
	answered  bool          // somebody of this mesh has spoken, who knows a relay

	kept   error         // a relay keeps the name of this node for somebody else; nil: none has said so
	keptAt time.Duration // when that was last said
}

// seek finds the relay, or becomes it. It returns when there is a port, when the mesh has refused this node for good,
// or when ctx ends, with the best explanation there is.
func (u *uplink) seek(ctx context.Context) (relay.Port, error) {
	ctx, cancel := context.WithCancel(ctx)
	s := &seek{
		u: u, ctx: ctx, started: u.clock(), orphan: u.lost != "",
		results: make(chan dialled), targets: make(map[string]*target),
	}
	defer s.stop(cancel)
	for {
		s.plan()
		s.dialDue()
		if err := s.refusedForGood(); err != nil {
			return nil, err
		}
		if why, ok := s.standing().promote(); ok {
			return u.reign(why)
		}
		wait := time.NewTimer(s.nextLook())
		select {
		case r := <-s.results:
			if port := s.result(r); port != nil {
				wait.Stop()
				return port, nil
			}
		case <-u.discovered():
		case <-u.voted():
		case <-wait.C:
		case <-ctx.Done():
			wait.Stop()
			return nil, s.explain()
		}
		wait.Stop()
	}
}

// stop ends all dials; a link that comes too late is closed.
func (s *seek) stop(cancel context.CancelFunc) {
	cancel()
	go func() { // ends with the last dial; the loop below waits for that
		s.dials.Wait()
		close(s.results)
	}()
	for r := range s.results {
		if r.link != nil {
			r.link.Close()
		}
	}
}

func (s *seek) elapsed() time.Duration { return s.u.clock() - s.started }

// plan notes everything that is worth dialling now.
func (s *seek) plan() {
	if s.orphan && s.elapsed() > orphanFor {
		s.orphan = false
	}
	for _, t := range s.targets {
		t.wanted = false
	}
	u := s.u
	for _, addrs := range u.referrals {
		s.want(targetRelay, addrs)
	}
	if s.orphan && u.lostForGood && !s.relayTried() {
		return // its relay said who is it now: nobody else is asked before, for only one Hello at a time is
	}
	if u.hostname != "" {
		s.want(targetRelay, []string{u.hostname})
	}
	if (s.orphan && !u.lostForGood || u.disc == nil) && len(u.lostAddrs) > 0 {
		s.want(targetRelay, u.lostAddrs)
	}
	nodes := u.nodes()
	for _, n := range nodes {
		if !n.Meta.Relay || n.State == discovery.Gone {
			continue
		}
		from := sourceOf(n)
		if from == sourceTrusted {
			s.want(targetRelay, addrStrings(n.Addrs))
			continue
		}
		for _, a := range addrStrings(n.Addrs) { // each for itself: one that was forged does not stand before the true one
			s.wantFrom(from, targetRelay, []string{a})
		}
	}
	if !s.orphan || s.elapsed() > 2*time.Second {
		for _, seed := range u.set.Seeds {
			s.want(targetSeed, []string{seed})
		}
		if u.disc == nil { // a light node has nobody else to ask
			for _, addrs := range u.n.view.lostAddrs() {
				s.want(targetSeed, addrs)
			}
		}
	}
	if best, self := s.bestCandidate(nodes); best != nil && !self && s.mayAsk() {
		s.wantFrom(best.source, targetCandidate, best.addrs)
	}
	for key, t := range s.targets {
		if !t.wanted && !t.busy && len(s.targets) > maxTargets {
			delete(s.targets, key)
		}
	}
}

// mayAsk tells whether it is time to ask a candidate: an orphan first dials its relay again.
func (s *seek) mayAsk() bool { return !s.orphan || s.relayTried() }

// relayTried tells whether the lost relay was dialled again in vain; or, if it said that it goes, the relay that it named.
// Until then nobody is asked to become the relay, and nobody becomes it.
func (s *seek) relayTried() bool {
	if s.elapsed() > relayRetry {
		return true
	}
	u := s.u
	where := [][]string{u.lostAddrs}
	if u.lostForGood {
		where = u.referrals
	}
	for _, addrs := range where {
		if addrs = u.notOwn(addrs); len(addrs) == 0 {
			continue
		}
		if t := s.targets[addrs[0]]; t == nil || !t.tried {
			return false
		}
	}
	return true
}

// bestCandidate is the first in rank that has not failed lately; self tells that it is this node.
func (s *seek) bestCandidate(nodes []discovery.Node) (best *candidate, self bool) {
	list := s.u.candidates(s.orphan, s.elapsed() < hintFor, nodes)
	for i, c := range list {
		if c.instance == s.u.hello.Instance {
			return &list[i], true
		}
		if t := s.targets[c.addrs[0]]; t == nil || t.failed == 0 || s.u.clock()-t.failed > failedFor {
			return &list[i], false
		}
	}
	return nil, false
}

func (s *seek) standing() standing {
	u := s.u
	st := standing{eligible: u.eligible(), server: u.set.Role == RoleServer, orphan: s.orphan, resigned: u.resigned}
	if !st.eligible {
		return st
	}
	nodes := u.nodes()
	_, st.best = s.bestCandidate(nodes)
	if !s.orphan {
		// One refusal may be a bad cable, and the next may be for good: who was refused does not begin a mesh of its own meanwhile.
		st.settled = s.settled() && (u.wasLinked || s.refusal == nil)
		st.relayLives = slices.ContainsFunc(nodes, func(n discovery.Node) bool {
			return n.Meta.Relay && n.Meta.Term > 0 && n.State == discovery.Alive
		})
		return st
	}
	st.tried = s.relayTried()
	voters := electorate(u.lastRoster)
	st.electorate = len(voters)
	st.votes = 1
	for _, h := range u.hub.Votes() {
		if voters[h.Instance] && h.Instance != u.hello.Instance {
			st.votes++
		}
	}
	st.relayDead = u.lostShutdown || slices.ContainsFunc(nodes, func(n discovery.Node) bool {
		return n.Instance == u.lostInstance && n.State == discovery.Gone
	})
	if len(u.lostAddrs) > 0 {
		t := s.targets[u.lostAddrs[0]]
		st.relayRefuses = t != nil && t.tried && isRefused(t.err)
	}
	return st
}

// settled tells whether a newcomer has looked long enough to conclude that there is no relay.
func (s *seek) settled() bool {
	u := s.u
	wait := time.Duration(0)
	switch {
	case u.resigned:
		wait = settleResigned
	case u.disc != nil && !u.set.NoMDNS && !u.multicastFails():
		wait = settleMDNS
	case len(u.set.Seeds) > 0:
		wait = settleSeeds
		if !slices.ContainsFunc(u.set.Seeds, func(seed string) bool { t := s.targets[seed]; return t != nil && !t.tried }) {
			wait = 0
		}
	}
	if s.elapsed() < wait || s.isKept() || errors.Is(s.refusal, ErrNameTaken) {
		return false // there is a relay: it answered
	}
	// Somebody who is said to be the relay is being dialled: that decides, within reason.
	for _, t := range s.targets {
		if t.wanted && t.busy && t.kind == targetRelay && s.elapsed() < wait+time.Second {
			return false
		}
	}
	return !s.listening()
}

// listening tells whether a seed, or who is said to be the relay, has taken the connection and has not said a word yet, now or when
// it had to give way to another: it is there, and a busy machine or a slow network is no reason to begin a mesh beside it. Whom
// gossip knows not to be the relay is not waited for.
func (s *seek) listening() bool {
	if s.elapsed() > s.patience() {
		return false
	}
	for _, t := range s.targets {
		if !t.wanted || !t.busy && !t.gaveWay() || t.kind == targetCandidate || t.source != sourceTrusted {
			continue
		}
		if at := t.reached.Load(); at != nil && !s.seeksToo(*at) {
			return true
		}
	}
	return false
}

// patience is how long somebody who is there may take to say a word: longer where others took long, on a busy machine for instance.
func (s *seek) patience() time.Duration { return max(hearFor, min(hearTimes*s.slowest, hearMost)) }

// seeksToo tells whether gossip knows the node at an address, and that it is not the relay.
func (s *seek) seeksToo(addr string) bool {
	return slices.ContainsFunc(s.u.nodes(), func(n discovery.Node) bool {
		return n.State == discovery.Alive && !n.Meta.Relay && slices.Contains(addrStrings(n.Addrs), addr)
	})
}

// isKept tells whether there is a relay that keeps the name of this node for somebody else.
func (s *seek) isKept() bool { return s.kept != nil && s.u.clock()-s.keptAt < keptFor }

// result takes the outcome of a dial.
func (s *seek) result(r dialled) relay.Port {
	t := s.targets[r.key]
	t.busy, t.tried, t.err = false, true, r.err
	if r.err == nil {
		s.u.lastDialled = t.addrs
		return r.link
	}
	now := s.u.clock()
	s.u.set.log.Debug("dial failed", "addr", r.key, "err", r.err)
	if t.gaveWay() {
		t.next = now + retryFirst
		// It is there, and slow. Not so for an orphan, most likely: a relay that was lost is mute, and keeps votes from the next.
		if t.ticket.over && t.source == sourceTrusted && (!s.orphan || t.ticket.hold == turnFirst) {
			t.ticket.hold = min(4*t.ticket.hold, turnLast)
		}
		return nil
	}
	t.heard = true
	t.next = now + t.wait
	t.wait = min(2*t.wait, retryLast)
	var refusal *codec.Refusal
	isRefusal := errors.As(r.err, &refusal)
	if isRefusal || verdict(refusalError(r.err)) != nil { // it spoke; who hung up, or said nothing in time, did not
		s.slowest = max(s.slowest, r.took)
	}
	if !isRefusal {
		t.failed = now
		s.noteRefusal(t, refusalError(r.err))
		return nil
	}
	switch refusal.Code {
	case codec.RefuseNotRelay:
		if len(refusal.Addrs) == 0 {
			t.failed = now
		} else {
			s.noteAnswer()
			s.u.refer(refusal.Addrs)
		}
	case codec.RefuseNotNow:
	case codec.RefuseNameKept:
		s.noteAnswer()
		s.kept, s.keptAt = fmt.Errorf("%s: %w", t.key, refusalError(r.err)), now
	default:
		t.failed = now
		s.noteRefusal(t, refusalError(r.err))
	}
	return nil
}

// noteAnswer notes that somebody who has met the relay of this mesh has spoken: what strangers said counts no more.
func (s *seek) noteAnswer() {
	s.answered = true
	if t := s.targets[s.refusedBy]; t != nil && s.ofStranger(t, s.refusal) {
		s.refusal, s.refusals = nil, 0
	}
}

// ofStranger tells whether an error is the word of a stranger, at an address that nobody called the relay's, when somebody of this
// mesh has spoken.
func (s *seek) ofStranger(t *target, err error) bool {
	return s.answered && t.kind == targetSeed && (errors.Is(err, ErrWrongMesh) || errors.Is(err, ErrWrongSecret) || errors.Is(err, ErrNotARelay))
}

// verdict is which of the errors that another try may not mend err is; nil: none.
func verdict(err error) error {
	for _, e := range []error{ErrNameTaken, ErrMeshFull, ErrWrongMesh, ErrWrongSecret, ErrVersion, ErrNotARelay, ErrBadName, ErrNotAdmitted, ErrBadHello} {
		if errors.Is(err, e) {
			return e
		}
	}
	return nil
}

// noteRefusal remembers an error that another try may not mend.
func (s *seek) noteRefusal(t *target, err error) {
	if s.ofStranger(t, err) {
		return
	}
	if e := verdict(err); e != nil {
		if !errors.Is(s.refusal, e) {
			s.refusedAt, s.refusals = s.u.clock(), 0
		}
		s.refusals++
		s.refusal, s.refusedBy = fmt.Errorf("%s: %w", t.key, err), t.key
		return
	}
	if s.refusedBy == t.key {
		s.refusal, s.refusals = nil, 0 // who refused is not there any more
	}
}

// refusedForGood tells when to give up. What a stranger said who was found by multicast counts only while this node has
// never been in the mesh, and only once nobody better was found in the time that a newcomer looks.
func (s *seek) refusedForGood() error {
	if s.refusals < 2 { // once may be a bad cable
		return nil
	}
	since := s.u.clock() - s.refusedAt
	switch {
	case errors.Is(s.refusal, ErrNameTaken), errors.Is(s.refusal, ErrMeshFull) && s.u.wasLinked:
		if since < refusedFor {
			return nil
		}
	case errors.Is(s.refusal, ErrMeshFull), errors.Is(s.refusal, ErrBadName), errors.Is(s.refusal, ErrNotAdmitted), errors.Is(s.refusal, ErrBadHello):
	default:
		if s.u.wasLinked || s.u.set.Role == RoleServer || s.u.hostname == "" && (!s.settled() || s.unheard()) {
			return nil
		}
	}
	return s.refusal
}

// unheard tells whether somebody who may know better than those who refused this node has not said a word yet: the quick seed of
// another mesh does not outvote the slow one of this.
func (s *seek) unheard() bool {
	if s.elapsed() > s.patience() {
		return false
	}
	for _, t := range s.targets {
		if t.wanted && t.source == sourceTrusted && !t.heard {
			return true
		}
	}
	return false
}

// explain says why ctx ended before there was a relay.
func (s *seek) explain() error {
	err := s.refusal
	if err == nil && s.isKept() {
		err = s.kept
	}
	if err == nil {
		err = ErrNoRelay
		for _, t := range s.targets {
			if t.err != nil && !t.gaveWay() {
				err = fmt.Errorf("%w; %s: %w", ErrNoRelay, t.key, t.err)
			}
		}
	}
	return err
}

// nextLook is how long nothing needs to be done unless something happens.
func (s *seek) nextLook() time.Duration {
	wait, now := 200*time.Millisecond, s.u.clock()
	for _, t := range s.targets {
		if t.wanted && !t.busy && t.next > now { // who is due and was not dialled waits for a dial to end
			wait = min(wait, t.next-now)
		}
	}
	return max(wait, 5*time.Millisecond)
}
