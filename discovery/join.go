package discovery

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"time"
)

// How addresses are joined.
const (
	joinPause     = 2 * time.Second  // between two attempts at one address
	joinSlowPause = 30 * time.Second // after an hour of failing, and after joining again and again in vain
	joinPatience  = time.Hour
	joinParallel  = 8   // attempts at a time
	joinCrowd     = 16  // members from which on the pause grows: each of them tries too
	maxOffered    = 256 // addresses learnt elsewhere that are waiting
	resolveBound  = 2 * time.Second
)

// joiner brings others into our gossip: seeds, nodes that only mDNS has heard of, nodes that are gone, and
// addresses learnt elsewhere. Two halves of a partition would not look for each other without it.
type joiner struct {
	// Set at the start, never changed.
	gossip   *gossip
	facts    *facts
	seeds    []string
	problems *problems
	own      func() []netip.AddrPort
	log      *slog.Logger
	kick     chan struct{} // capacity 1: there may be something new to join

	mu       sync.Mutex
	offered  []netip.AddrPort    // guarded by mu, at most maxOffered, the newest last
	attempts map[string]*attempt // guarded by mu, by seed or address
	nameless map[string]string   // guarded by mu: what is wrong with which seed
}

// attempt is what is remembered of trying one target.
type attempt struct {
	first   time.Time
	next    time.Time // not before
	joined  int       // how often it worked; a target that still is not a member is not worth many of them
	running bool
	used    time.Time // when it was last wanted
}

// pause returns how long to wait until the next attempt, counted from the start of this one.
func (a *attempt) pause(now time.Time, members int) time.Duration {
	if now.Sub(a.first) > joinPatience {
		return joinSlowPause
	}
	pause := joinPause * time.Duration(max(1, members/joinCrowd))
	return min(pause<<min(a.joined, 8), joinSlowPause)
}

// run tries what is due until ctx ends, and then waits for what it has begun.
func (j *joiner) run(ctx context.Context) {
	var running sync.WaitGroup
	defer running.Wait()
	places := make(chan struct{}, joinParallel)
	tick := time.NewTicker(joinPause / 4)
	defer tick.Stop()
	for {
		for _, target := range j.due(time.Now(), joinParallel-len(places)) {
			places <- struct{}{}
			running.Go(func() {
				err := j.try(ctx, target)
				<-places
				j.done(target, err, time.Now())
			})
		}
		select {
		case <-ctx.Done():
			return
		case <-j.kick:
		case <-tick.C:
		}
	}
}

// wake makes run look at once.
func (j *joiner) wake() {
	select {
	case j.kick <- struct{}{}:
	default:
	}
}

// offer takes addresses learnt elsewhere. Each is tried until it is a member, or for a few times.
func (j *joiner) offer(addrs []netip.AddrPort) {
	j.mu.Lock()
	for _, a := range addrs {
		a = netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
		if a.IsValid() && a.Port() != 0 && !a.Addr().IsUnspecified() && !slices.Contains(j.offered, a) {
			j.offered = append(j.offered, a)
		}
	}
	if over := len(j.offered) - maxOffered; over > 0 {
		j.offered = slices.Delete(j.offered, 0, over)
	}
	j.mu.Unlock()
	j.wake()
}

// due returns at most n targets to try now, and notes that they are being tried.
func (j *joiner) due(now time.Time, n int) []string {
	wanted := j.wanted()
	j.mu.Lock()
	defer j.mu.Unlock()
	var due []string
	for _, target := range wanted {
		a := j.attempts[target]
		if a == nil {
			a = &attempt{first: now}
			j.attempts[target] = a
		}
		a.used = now
		if len(due) < n && !a.running && !now.Before(a.next) {
			a.running, a.next = true, now.Add(a.pause(now, j.facts.members()))
			due = append(due, target)
		}
	}
	for target, a := range j.attempts {
		if !a.running && now.Sub(a.used) > joinSlowPause {
			delete(j.attempts, target)
		}
	}
	return due
}

// wanted lists all targets that should be members and are not: seeds first, then what is offered, then the nodes,
// and last those that only somebody else has spoken of.
func (j *joiner) wanted() []string {
	var (
		members = make(map[netip.AddrPort]bool)
		nodes   []string
		hearsay []string
	)
	for _, own := range j.own() {
		members[own] = true
	}
	for _, n := range j.facts.snapshot() {
		for _, a := range n.Addrs {
			if n.State == Alive {
				members[a] = true
			} else if a.Addr().Zone() == "" { // memberlist cannot dial a zone
				if n.Hearsay {
					hearsay = append(hearsay, a.String())
				} else {
					nodes = append(nodes, a.String())
				}
			}
		}
	}
	var wanted []string
	for _, seed := range j.seeds {
		if a, err := netip.ParseAddrPort(seed); err != nil || !members[a] {
			wanted = append(wanted, seed)
		}
	}
	j.mu.Lock()
	j.offered = slices.DeleteFunc(j.offered, func(a netip.AddrPort) bool { return members[a] })
	for _, a := range j.offered {
		wanted = append(wanted, a.String())
	}
	j.mu.Unlock()
	return append(append(wanted, nodes...), hearsay...)
}

// try joins one target.
func (j *joiner) try(ctx context.Context, target string) error {
	addrs, err := resolve(ctx, target)
	if ctx.Err() == nil {
		j.note(target, err)
	}
	if err != nil {
		return err
	}
	var failed error
	for _, a := range addrs {
		if slices.Contains(j.own(), a) {
			continue
		}
		err := j.gossip.join(a)
		if err == nil {
			return nil
		}
		failed = errors.Join(failed, err)
	}
	return failed
}

// done notes how an attempt ended.
func (j *joiner) done(target string, err error, now time.Time) {
	if err != nil {
		j.log.Debug("not joined", "addr", target, "err", err)
	}
	j.mu.Lock()
	a := j.attempts[target]
	a.running = false
	const offers = 5
	if err == nil {
		a.joined++
		a.next = now.Add(a.pause(now, 0))
	}
	if err == nil || now.Sub(a.first) > offers*joinPause {
		j.offered = slices.DeleteFunc(j.offered, func(o netip.AddrPort) bool { return o.String() == target })
	}
	j.mu.Unlock()
	j.wake()
}

// note keeps the list of seeds that are no address right.
func (j *joiner) note(target string, err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if _, was := j.nameless[target]; !was && err == nil {
		return
	}
	if err == nil {
		delete(j.nameless, target)
	} else {
		j.nameless[target] = fmt.Sprintf("seed %q cannot be found: %v; give an IP address, or mend the name service", target, err)
	}
	j.problems.set(ProblemSeed, slices.Collect(maps.Values(j.nameless))...)
}

// resolve returns the addresses of "host:port".
func resolve(ctx context.Context, target string) ([]netip.AddrPort, error) {
	if a, err := netip.ParseAddrPort(target); err == nil {
		return []netip.AddrPort{a}, nil
	}
	host, port, err := splitSeed(target)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, resolveBound)
	defer cancel()
	ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil, err
	}
	var addrs []netip.AddrPort
	for _, ip := range ips[:min(len(ips), maxAddrs)] {
		addrs = append(addrs, netip.AddrPortFrom(ip.Unmap(), port))
	}
	return addrs, nil
}

// splitSeed checks the form of a seed.
func splitSeed(seed string) (host string, port uint16, err error) {
	host, p, err := net.SplitHostPort(seed)
	if err != nil {
		return "", 0, err
	}
	n, err := strconv.ParseUint(p, 10, 16)
	if err != nil || n == 0 || host == "" {
		return "", 0, fmt.Errorf("%q is not host:port", seed)
	}
	return host, uint16(n), nil
}
