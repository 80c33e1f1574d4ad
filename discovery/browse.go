package discovery

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// multicast is mDNS on all chosen interfaces: one station for each and for each IP family, and the question who is
// there, asked again and again. Safe for concurrent use.
type multicast struct {
	// Set at the start, never changed.
	self     uint64
	port     int
	bind     netip.Addr
	beacon   bool
	hash     string
	txt      *atomic.Pointer[[]string]
	hear     func(hint)
	members  func() int
	problems *problems
	log      *slog.Logger
	again    chan struct{} // capacity 1: ask now, and often at first

	mu       sync.Mutex
	stations map[stationKey]*station // guarded by mu
	stopped  bool                    // guarded by mu
}

// stationKey is what a station depends on: when it changes, it is another station.
type stationKey struct {
	index int
	name  string
	v6    bool
	addrs string
}

// quickPauses are the pauses between the first questions: on a LAN an answer takes a millisecond, but the first
// packets of a radio that wakes up are often lost.
var quickPauses = []time.Duration{
	50 * time.Millisecond, 100 * time.Millisecond, 200 * time.Millisecond, 400 * time.Millisecond, 800 * time.Millisecond,
	time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second, 16 * time.Second,
}

const (
	slowPause   = 30 * time.Second
	browseCrowd = 32 // members from which on the slow pause grows: each of them asks, and all answer
	askMinPause = 25 * time.Millisecond
)

// browsePause returns how long to wait after the n-th question, counted from 0, among so many members.
func browsePause(n, members int) time.Duration {
	if n < len(quickPauses) {
		return quickPauses[n]
	}
	return slowPause * time.Duration(max(1, members/browseCrowd))
}

// hintLifeAmong returns how long a hint lives: long enough to miss one question.
func hintLifeAmong(members int) time.Duration {
	return browsePause(len(quickPauses), members) * 5 / 2
}

// browse asks until ctx ends.
func (m *multicast) browse(ctx context.Context) {
	var (
		n    int
		last time.Time
	)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-m.again:
			n = 0
			timer.Reset(max(0, askMinPause-time.Since(last)))
		case <-timer.C:
			m.ask()
			last = time.Now()
			pause := browsePause(n, m.members())
			if pause > time.Second {
				pause += rand.N(pause / 5) // nodes that started together shall not ask together for ever
			}
			timer.Reset(pause)
			n++
		}
	}
}

// browseAgain starts browsing from the quick beginning.
func (m *multicast) browseAgain() {
	select {
	case m.again <- struct{}{}:
	default:
	}
}

func (m *multicast) ask() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, s := range m.stations {
		if err := s.query(); err != nil {
			s.log.Debug("mDNS query not sent", "err", err)
		}
	}
}

// publish announces the TXT record anew everywhere.
func (m *multicast) publish() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, s := range m.stations {
		s.publish()
	}
}

// retune starts and stops stations, so that they are those of the chosen interfaces. What could not be opened is
// tried again at every call.
func (m *multicast) retune(chosen []netInterface) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.stopped {
		return
	}
	type wish struct {
		iface  netInterface
		source netip.Addr
	}
	wanted := make(map[stationKey]wish)
	for _, i := range chosen {
		for _, v6 := range []bool{false, true} {
			if source, ok := i.source(v6); ok && i.multicasts() {
				key := stationKey{i.index, i.name, v6, fmt.Sprint(source, i.addrs(m.bind))}
				wanted[key] = wish{i, source}
			}
		}
	}
	for key, s := range m.stations {
		if _, ok := wanted[key]; !ok {
			s.stop()
			delete(m.stations, key)
		}
	}
	works := make(map[string]bool)     // interfaces on which mDNS works in one family at least
	broken := make(map[string]error)   // those on which a family does not
	unshared := make(map[string]error) // those where port 5353 could not be had
	for key, w := range wanted {
		old := m.stations[key]
		if old != nil && old.group != nil {
			works[key.name] = true
			continue
		}
		if old != nil {
			old.stop()
			delete(m.stations, key)
		}
		s, err := m.open(w.iface, w.source)
		if s == nil {
			broken[key.name] = errors.Join(broken[key.name], err)
			continue
		}
		m.stations[key] = s
		works[key.name] = true
		if err != nil {
			unshared[key.name] = err
		}
		if old == nil {
			m.browseAgain()
		}
	}
	m.report(works, broken, unshared)
}

// report tells what does not work. A family that fails beside one that works harms nobody.
func (m *multicast) report(works map[string]bool, broken, unshared map[string]error) {
	var mute, port []string
	for name, err := range broken {
		if works[name] {
			m.log.Debug("mDNS works in one IP family only", "interface", name, "err", err)
			continue
		}
		mute = append(mute, fmt.Sprintf(
			"mDNS does not work on %s (%v): let multicast pass there, or give seeds", name, oneLine(err)))
	}
	for name, err := range unshared {
		port = append(port, fmt.Sprintf(
			"UDP port 5353 cannot be shared on %s (%v): stop the program that keeps it to itself, or give seeds; "+
				"until then this node finds others there but is not found", name, oneLine(err)))
	}
	m.problems.set(ProblemMulticast, mute...)
	m.problems.set(ProblemPort, port...)
}

func oneLine(err error) string { return strings.ReplaceAll(err.Error(), "\n", "; ") }

func (m *multicast) open(iface netInterface, source netip.Addr) (*station, error) {
	var z *zone
	if m.beacon {
		var err error
		if z, err = newZone(m.self, m.port, iface.addrs(m.bind), m.txt); err != nil {
			return nil, err
		}
	}
	return startStation(iface, source, z, m.hash, m.hear, m.log)
}

// stop stops all stations, for good.
func (m *multicast) stop() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.stopped = true
	for key, s := range m.stations {
		s.stop()
		delete(m.stations, key)
	}
}
