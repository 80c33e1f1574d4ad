package mesh

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"ultrasockets/codec"
)

// The model of delivery: real nodes without goroutines, in virtual time, around two relays that exist only here. Whatever
// the relays, the links and the nodes do, each instance's inbox gets what another instance sent to its name in order and
// once, and in the end every message has arrived somewhere or was reported.

// world is all there is.
type world struct {
	t         *rapid.T
	now       time.Duration
	retention time.Duration
	inbox     int
	outbox    int // of a link, at the relay
	room      int // of it that is really there
	line      int // the node's own
	relays    [2]*star
	actors    map[string]*actor // the living instance of each name
	serial    uint64            // of the last message sent
	instances uint64

	sent    map[uint64]letter         // every message
	arrived map[uint64]bool           // in any inbox
	taken   map[uint64]bool           // by any application
	told    map[uint64]bool           // their senders were told that they did not arrive, or perhaps not
	twice   map[[2]uint64]bool        // taken: message and the receiver's instance
	waits   map[uint64]*receipt       // of messages whose senders wait for the outcome
	last    map[[2]uint64]uint64      // last message of a sender's instance in a receiver's instance
	given   map[*actor]map[string]int // reported as undelivered
	events  map[string]int            // what happened, for the log
}

type letter struct {
	from  *actor
	to    string
	group bool
}

// actor is one instance of a node.
type actor struct {
	*Node
	w     *world
	cable *cable // nil: not linked
	cut   context.Context
}

func newWorld(t *rapid.T) *world {
	w := &world{
		t:         t,
		retention: rapid.SampledFrom([]time.Duration{2 * time.Second, 5 * time.Minute}).Draw(t, "retention"),
		inbox:     rapid.IntRange(codec.MaxFrame, 100<<10).Draw(t, "inbox"),
		outbox:    rapid.IntRange(40<<10, 200<<10).Draw(t, "outbox"),
		line:      rapid.IntRange(1, 64<<10).Draw(t, "line"),
		room:      rapid.SampledFrom([]int{1 << 20, 1 << 20, 24 << 10}).Draw(t, "room"),
		actors:    map[string]*actor{}, sent: map[uint64]letter{}, arrived: map[uint64]bool{},
		taken: map[uint64]bool{}, told: map[uint64]bool{}, twice: map[[2]uint64]bool{}, waits: map[uint64]*receipt{},
		last: map[[2]uint64]uint64{}, given: map[*actor]map[string]int{}, events: map[string]int{},
	}
	for i := range w.relays {
		w.relays[i] = &star{w, map[string]*cable{}}
	}
	for _, name := range []string{"a", "b", "c"} {
		w.born(name)
		w.link(w.actors[name], w.relays[0])
	}
	return w
}

// born puts a new instance under a name.
func (w *world) born(name string) {
	cfg := Config{Name: name, Retention: w.retention, InboxBytes: w.inbox, Clock: func() time.Duration { return w.now }}
	set, err := cfg.check()
	if err != nil {
		w.t.Fatal(err)
	}
	w.instances++
	set.hello.Instance = w.instances
	cut, cancel := context.WithCancel(context.Background())
	cancel()
	a := &actor{Node: newNode(set), w: w, cut: cut}
	w.actors[name], w.given[a] = a, map[string]int{}
}

// link makes the node's link, as the uplink does.
func (w *world) link(a *actor, s *star) {
	w.unlink(a)
	if old := s.seats[a.Name()]; old != nil && old.actor == a {
		old.up = nil // the hub stops the old reader before it welcomes the new link
	} else if old != nil {
		s.notice(old) // the name of a dead instance is free once it is gone
	}
	hello := a.withState(a.set.hello)
	c := &cable{star: s, actor: a, entry: codec.Entry{
		Name: hello.Name, Instance: hello.Instance, State: hello.State, Transforms: hello.Transforms, MaxMessage: hello.MaxMessage,
	}}
	s.seats[a.Name()] = c
	a.cable = c
	a.view.setRelay("r")
	a.in.setPort(c)
	a.out.setPort(c)
	a.port.Store(&portRef{c})
	a.sendState()
	var entries []codec.Entry
	for _, name := range slices.Sorted(maps.Keys(s.seats)) {
		entries = append(entries, s.seats[name].entry)
	}
	s.post(c, codec.AppendRosterFrames(nil, entries, nil))
	s.tell(codec.Change{Op: codec.Joined, Entry: c.entry}, c)
}

// unlink ends the node's side of its link: what it has not read is lost.
func (w *world) unlink(a *actor) {
	if a.cable == nil {
		return
	}
	a.cable.ended, a.cable.down = true, nil
	a.cable = nil
	a.port.Store(nil)
	a.out.setPort(nil)
	a.in.setPort(nil)
	a.view.setRelay("")
}

// read lets a node read up to n frames in one batch.
func (w *world) read(a *actor, n int) {
	c := a.cable
	if c == nil {
		return
	}
	h := session{a.Node, c}
	for ; n > 0 && len(c.down) > 0; n-- {
		f := c.down[0]
		c.down = c.down[1:]
		if f.Kind() == codec.KindData {
			c.held -= len(f)
		}
		h.HandleFrame(f, nil)
	}
	h.HandleBatchEnd()
	w.look(a)
	w.outcomes(false)
}

// look checks what has arrived in the inbox, in whatever order it will be taken, and what was given up.
func (w *world) look(a *actor) {
	for _, err := range a.out.failures.take() {
		var u *UndeliveredError
		if !errors.As(err, &u) {
			w.t.Fatalf("flush says %v", err)
		}
		w.given[a][u.To] += u.Count
		w.events["given up"] += u.Count
	}
	var messages []Message
	for i := range a.in.in.inbox.len() {
		for p := *a.in.in.inbox.at(i); p.left > 0; {
			var m Message
			p.take(&m)
			messages = append(messages, m)
		}
	}
	for _, m := range messages {
		number := binary.BigEndian.Uint64(m.Bytes())
		l, ok := w.sent[number]
		if !ok || l.to != a.Name() || l.from.Name() != m.From {
			w.t.Fatalf("%q got message %d from %q, which was sent to %q", a.Name(), number, m.From, l.to)
		}
		w.arrived[number] = true
	}
}

// take lets the application take messages, and checks that each instance's come in order and once.
func (w *world) take(a *actor, n int) {
	w.look(a)
	for ; n > 0; n-- {
		var m Message
		if a.in.receive(a.cut, &m) != nil {
			return
		}
		w.last[w.took(a, &m)] = binary.BigEndian.Uint64(m.Bytes())
	}
}

// takeNewest lets it take some the other way round.
func (w *world) takeNewest(a *actor, n int) {
	w.look(a)
	serial := uint64(1 << 63)
	for _, m := range a.in.get(n) {
		if w.took(a, &m); m.Serial >= serial {
			w.t.Fatalf("%q took message %d after %d", a.Name(), m.Serial, serial)
		}
		serial = m.Serial
	}
}

// audit checks that the sums that nodes keep are those of what they hold, once everything is taken.
func (w *world) audit() {
	for _, a := range w.actors {
		var used, granted, promised, active, wanted int
		for _, r := range a.in.in.receivers {
			used, granted, promised = used+len(r.half), granted+r.window, promised+r.window+r.messages*messageCost
			if r.active {
				active++
			}
			if r.isWanted {
				wanted++
			}
		}
		if in := a.in.in; in.used != used || in.granted != granted || in.promised != promised || in.active != active || in.wanted != wanted ||
			in.inbox.messages != 0 || in.inbox.len() != 0 {
			w.t.Fatalf("%q has used %d (%d), granted %d (%d), promised %d (%d) to %d (%d), %d (%d) want to hear; %d messages wait in %d parcels",
				a.Name(), in.used, used, in.granted, granted, in.promised, promised, in.active, active, in.wanted, wanted, in.inbox.messages, in.inbox.len())
		}
		for _, s := range a.out.all() {
			if s.bytes != 0 || s.inflight != 0 {
				w.t.Fatalf("%q holds nothing for %q, which counts as %d bytes, %d of them under way", a.Name(), s.to, s.bytes, s.inflight)
			}
		}
	}
}

// contents are those of a message.
func contents(number uint64, size int) []byte {
	return append(binary.BigEndian.AppendUint64(nil, number), bytes.Repeat([]byte{byte(number)}, size)...)
}

// took checks a message that was taken: all that were before it in the order of arrival may have been taken before, but none after it.
func (w *world) took(a *actor, m *Message) (pair [2]uint64) {
	number := binary.BigEndian.Uint64(m.Bytes())
	l := w.sent[number]
	if isGroup := m.To == "@lab"; isGroup != l.group || !isGroup && m.To != a.Name() {
		w.t.Fatalf("%q took message %d, which was sent to %q", a.Name(), number, m.To)
	}
	if !bytes.Equal(m.Bytes(), contents(number, len(m.Bytes())-8)) {
		w.t.Fatalf("%q took message %d, and it is not what was sent", a.Name(), number)
	}
	pair = [2]uint64{l.from.instance(), a.instance()}
	if number <= w.last[pair] {
		w.t.Fatalf("%q took message %d of %q after %d", a.Name(), number, m.From, w.last[pair])
	}
	if once := [2]uint64{number, a.instance()}; w.twice[once] {
		w.t.Fatalf("%q took message %d of %q twice", a.Name(), number, m.From)
	} else {
		w.twice[once] = true
	}
	w.taken[number] = true
	return pair
}

func (a *actor) instance() uint64 { return a.set.hello.Instance }

func (w *world) send(from *actor, to string, size int) {
	data := contents(w.serial+1, size)
	kind := rapid.IntRange(0, 19).Draw(w.t, "how")
	o, waits, group := sendOptions{untilTaken: kind == 0}, kind < 2, to != from.Name() && kind%3 == 1
	var r *receipt
	var err error
	if group {
		body, _ := codec.AppendValue([]byte("\x03lab"), data)
		r, err = from.sendTo(from.cut, to, &draft{body: body, kept: true, flags: codec.FlagGroup}, o, waits)
	} else {
		r, err = from.sendValue(from.cut, to, data, o, waits)
	}
	if err != nil {
		w.events["send refused"]++
		return
	}
	w.serial++
	w.sent[w.serial] = letter{from, to, group}
	if r != nil {
		w.waits[w.serial] = r
	}
}

// outcomes checks what those were told who waited for the outcome of a message; atEnd: all must have been.
func (w *world) outcomes(atEnd bool) {
	for number, r := range w.waits {
		l := w.sent[number]
		if _, lives := w.given[l.from]; !lives {
			continue
		}
		select {
		case <-r.done:
			w.events["waited for"]++
			delete(w.waits, number)
			if l.to == l.from.Name() {
				w.look(l.from)
			}
		default:
			if !atEnd {
				continue
			}
			w.t.Fatalf("%q still waits to hear of message %d to %q, until taken: %v, arrived: %v, taken: %v: %v",
				l.from.Name(), number, l.to, r.untilTaken, w.arrived[number], w.taken[number], w.describe())
		}
		if r.err == nil && (!w.arrived[number] || r.untilTaken && !w.taken[number]) {
			w.t.Fatalf("%q heard that message %d to %q was delivered, until taken: %v, but arrived: %v, taken: %v",
				l.from.Name(), number, l.to, r.untilTaken, w.arrived[number], w.taken[number])
		}
		if r.err != nil {
			w.events["told undelivered"]++
			w.told[number] = true
		}
	}
}

// die ends an instance: what it held, and what its relay has not read, is lost.
func (w *world) die(a *actor) {
	w.unlink(a)
	a.in.setPaused(false)
	w.take(a, 1<<30)
	delete(w.given, a)
	for _, s := range w.relays {
		if c := s.seats[a.Name()]; c != nil && c.actor == a {
			c.up = c.up[:rapid.IntRange(0, len(c.up)).Draw(w.t, "read of the dead")]
		}
	}
}

// pass lets time pass, and the clockwork of all nodes run.
func (w *world) pass(d time.Duration) {
	w.now += d
	for _, name := range slices.Sorted(maps.Keys(w.actors)) {
		a := w.actors[name]
		if at := a.work.next.Load(); int64(a.clock()) >= at {
			a.work.next.Store(int64(noDeadline))
			a.tick(a.clock())
			w.look(a)
		}
	}
}

// settle ends all faults: everybody links to one relay, nobody is paused, and everything arrives.
func (w *world) settle() {
	for _, name := range slices.Sorted(maps.Keys(w.actors)) {
		a := w.actors[name]
		w.link(a, w.relays[0])
		a.setPaused("resume", false)
	}
	began := w.now
	for quiet, rounds := 0, 0; quiet < 3; rounds++ {
		if rounds > 50000 {
			w.t.Fatalf("no end: %v", w.describe())
		}
		moving, busy := false, false
		for _, s := range w.relays {
			for _, name := range slices.Sorted(maps.Keys(s.seats)) {
				c := s.seats[name]
				for len(c.up) > 0 {
					moving = true
					s.route(c)
				}
			}
		}
		wait := noDeadline
		for _, name := range slices.Sorted(maps.Keys(w.actors)) {
			a := w.actors[name]
			moving = moving || len(a.cable.down) > 0
			w.read(a, 100)
			w.take(a, 1<<30)
			if at := time.Duration(a.work.next.Load()); at != noDeadline {
				wait = min(wait, max(0, at-a.clock()))
			}
			for _, s := range a.out.all() {
				busy = busy || s.held() > 0 || len(s.sender.taken) > 0
			}
		}
		if moving || busy {
			quiet = 0
			if took := w.now - began; w.room > w.outbox && w.retention > time.Minute && took > probeFirst/2 {
				w.t.Fatalf("it takes %v: %v", took, w.describe())
			}
		} else {
			quiet++
		}
		if !moving && wait != noDeadline {
			w.pass(wait)
		}
	}
	w.outcomes(true)
	w.audit()
	// Everything has arrived, or was reported, or was lost with its sender.
	open := map[letter]int{}
	for number, l := range w.sent {
		if _, lives := w.given[l.from]; lives && !w.arrived[number] && !w.told[number] {
			open[l]++
		}
	}
	for l, n := range open {
		if reported := w.given[l.from][l.to]; n > reported {
			w.t.Fatalf("%d messages of %q to %q did not arrive, %d are reported: %v", n, l.from.Name(), l.to, reported, w.describe())
		}
		if w.retention > time.Minute {
			w.t.Fatalf("%d messages of %q to %q were given up within the retention: %v", n, l.from.Name(), l.to, w.describe())
		}
	}
}

func (w *world) describe() string {
	text := fmt.Sprint("at ", w.now, " ", w.events)
	for _, name := range slices.Sorted(maps.Keys(w.actors)) {
		a := w.actors[name]
		text += fmt.Sprintf("\n%s used %d of %d granted %d promised %d", name, a.in.in.used, a.in.in.limit, a.in.in.granted, a.in.in.promised)
		for _, s := range a.out.all() {
			text += fmt.Sprintf("; to %s: %d held, next %d, ack %d, cut %d, granted %v %d/%d, absent %v, probe at %v", s.to, s.held(), s.next.seq, s.ack.seq, s.cut, s.granted, s.window, s.messages, s.absent, s.probeAt)
		}
	}
	return text
}

// TestWorld: see above.
func TestWorld(t *testing.T) {
	seen := map[string]int{}
	names := []string{"a", "b", "c"}
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t)
		who := func() *actor { return w.actors[rapid.SampledFrom(names).Draw(t, "who")] }
		star := func() int { return rapid.IntRange(0, 1).Draw(t, "relay") }
		aCable := func() *cable { return w.relays[star()].seats[rapid.SampledFrom(names).Draw(t, "whose")] }
		actions := []struct {
			often int
			does  func()
		}{
			{12, func() { // some small messages, or a large one
				from, to := who(), rapid.SampledFrom(names).Draw(t, "to")
				if rapid.IntRange(0, 9).Draw(t, "kind") == 0 {
					w.send(from, to, rapid.IntRange(0, 100<<10).Draw(t, "size"))
					return
				}
				for range rapid.IntRange(1, 30).Draw(t, "burst") {
					w.send(from, to, rapid.IntRange(0, 100).Draw(t, "size"))
				}
			}},
			{16, func() { // everything moves
				for range rapid.IntRange(1, 10).Draw(t, "rounds") {
					for _, s := range w.relays {
						for _, name := range names {
							if c := s.seats[name]; c != nil && len(c.up) > 0 {
								s.route(c)
							}
						}
					}
					for _, name := range names {
						w.read(w.actors[name], 2)
					}
				}
			}},
			{3, func() {
				if c := aCable(); c != nil && len(c.up) > 0 {
					c.star.route(c)
				}
			}},
			{3, func() { w.read(who(), rapid.IntRange(1, 10).Draw(t, "frames")) }},
			{6, func() { w.take(who(), rapid.IntRange(1, 50).Draw(t, "n")) }},
			{2, func() { w.takeNewest(who(), rapid.IntRange(1, 50).Draw(t, "n")) }},
			{2, func() { w.pass(time.Duration(rapid.IntRange(1, 3000).Draw(t, "ms")) * time.Millisecond) }},
			{6, func() { w.pass(time.Duration(rapid.IntRange(1, 20).Draw(t, "ms")) * time.Millisecond) }},
			{3, func() {
				w.link(who(), w.relays[star()])
				w.events["moved"]++
			}},
			{2, func() {
				a := who()
				a.out.each(func(s *outStream) {
					if s.held() > 0 {
						a.out.hurry(s)
						w.events["hurried"]++
					}
				})
			}},
			{1, func() { w.unlink(who()) }},
			{2, func() {
				if c := aCable(); c != nil && c.ended && len(c.up) == 0 {
					c.star.notice(c)
				}
			}},
			{1, func() {
				a := who()
				w.die(a)
				w.born(a.Name())
				w.events["restarted"]++
			}},
			{1, func() {
				w.collapse(star())
				w.events["collapsed"]++
			}},
			{1, func() { who().setPaused("pause", true) }},
			{2, func() { who().setPaused("resume", false) }},
			{1, func() {
				if c := aCable(); c != nil {
					w.flip(c.down)
				}
			}},
		}
		var chances []int
		for i, a := range actions {
			chances = append(chances, slices.Repeat([]int{i}, a.often)...)
		}
		for range rapid.IntRange(1, 150).Draw(t, "steps") {
			actions[rapid.SampledFrom(chances).Draw(t, "action")].does()
		}
		w.settle()
		w.events["messages"] += len(w.sent)
		for what, n := range w.events {
			seen[what] += n
		}
	})
	t.Log(seen)
}
