package relay

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"ultrasockets/codec"
)

// Steps 3 to 5 of the route: from what one read brought to the outboxes of those it is for.

// seat is a name's place at the router.
type seat struct {
	// static
	name   string
	listed bool // in the roster: not a visitor
	out    *outbox

	left   atomic.Bool // no longer at the router
	groups []string    // guarded by router.mu
}

// router turns names into outboxes. Safe for concurrent use.
type router struct {
	count *counters // static

	// guarded by mu
	mu    sync.RWMutex
	seats map[string]*seat
}

// set gives the name's place to s, instead of whoever had it.
func (r *router) set(s *seat) {
	r.mu.Lock()
	if old := r.seats[s.name]; old != nil {
		old.left.Store(true)
	}
	r.seats[s.name] = s
	r.mu.Unlock()
}

// remove takes s away, if it still has its place.
func (r *router) remove(s *seat) {
	r.mu.Lock()
	s.left.Store(true)
	if r.seats[s.name] == s {
		delete(r.seats, s.name)
	}
	r.mu.Unlock()
}

func (r *router) regroup(s *seat, groups []string) {
	r.mu.Lock()
	s.groups = groups
	r.mu.Unlock()
}

func (r *router) find(name []byte) *seat {
	r.mu.RLock()
	s := r.seats[string(name)]
	r.mu.RUnlock()
	return s
}

// streamKey names a stream of one sender.
type streamKey struct {
	to     string
	stream uint32
}

// maxReports bounds the Unreachables of one batch: a sender that was not told asks again after a second.
const maxReports = 64

// batch routes what one sender has written, read by read. It belongs to one goroutine at a time.
type batch struct {
	// static
	router *router
	from   *seat
	own    func(codec.Raw) error // takes the frames for the relay itself

	lent     *Memory     // of what is being routed; nil: it may not be kept
	dest     *seat       // the last destination, most likely the next one too
	last     bool        // nothing follows the frame that own has
	marked   []*outbox   // to be woken
	reported []streamKey // told to the sender as unreachable
	scratch  []byte

	framesIn, bytesIn, framesOut, bytesOut int
}

// route takes whole frames from data and returns how many bytes they were. An error means that the sender broke the protocol, or what own
// returned. Everything before it has been routed. lent holds data, and is retained for what is not copied; nil: all is.
func (b *batch) route(data []byte, lent *Memory) (n int, err error) {
	b.lent = lent
	start, frames := 0, 0 // of the run: data[start:n], for b.dest or, if that is nil, for nobody
	defer func() { b.bytesIn += n; b.flush() }()
	for {
		if frames > 0 {
			first := codec.Raw(data[start:])
			for size := follows(first, data[n:]); size > 0; size = follows(first, data[n:]) {
				n, frames = n+size, frames+1
				b.framesIn++
			}
		}
		f, _, err := codec.Next(data[n:])
		if err != nil {
			b.deliver(data[start:n], frames, false)
			return n, fmt.Errorf("%w: %w", ErrProtocol, err)
		}
		if f == nil {
			b.deliver(data[start:n], frames, true)
			return n, nil
		}
		b.framesIn++
		to := f.To()
		if frames > 0 && b.dest != nil && string(to) == b.dest.name && b.passes(f) {
			n, frames = n+len(f), frames+1
			continue
		}
		b.deliver(data[start:n], frames, false)
		start, frames = n, 0
		switch {
		case b.passes(f):
			if b.dest == nil || b.dest.name != string(to) || b.dest.left.Load() {
				b.dest = b.router.find(to)
			}
			frames = 1
		default:
			b.last = n+len(f) == len(data)
			err := b.other(f)
			b.last = false
			if err != nil {
				return n, err
			}
			start += len(f)
		}
		n += len(f)
		if frames > 0 && b.dest == nil {
			b.lose(data[start:n], dropAbsent, codec.Absent)
			start, frames = n, 0
		}
	}
}

// Where the fields of a header are that follows looks at (WIRE.md section 2).
const (
	kindAt    = 4
	flagsAt   = 5
	toLenAt   = 7
	fromLenAt = 8
	sealedAt  = 9
)

// follows returns the size of the frame that b begins with if it is whole and
// goes where first went: the same kind and the same names. Otherwise, and in all
// doubt, 0: then codec.Next decides. It is what small frames cost.
func follows(first codec.Raw, b []byte) int {
	if len(b) < codec.HeaderSize || b[kindAt] != first[kindAt] || b[sealedAt] != first[sealedAt] || b[toLenAt] != first[toLenAt] || b[fromLenAt] != first[fromLenAt] ||
		b[flagsAt]&byte(codec.FlagGroup) != 0 {
		return 0
	}
	names := codec.HeaderSize + int(first[toLenAt]) + int(first[fromLenAt])
	least := names
	if codec.IsSealed(b) {
		least += codec.SealSize
	}
	size := wholeFrame(b)
	if size < least || size > least+codec.MaxPayload || size > len(b) ||
		string(b[codec.HeaderSize:names]) != string(first[codec.HeaderSize:names]) {
		return 0
	}
	return size
}

// passes tells whether f is a frame to forward by its destination, from the sender itself.
func (b *batch) passes(f codec.Raw) bool {
	if len(f.To()) == 0 || string(f.From()) != b.from.name {
		return false
	}
	switch k := f.Kind(); k {
	case codec.KindData:
		return !bestEffortGroup(f)
	case codec.KindAck, codec.KindReset, codec.KindUnreachable, codec.KindPing, codec.KindPong:
		return true
	default:
		return k >= codec.KindForward
	}
}

func bestEffortGroup(f codec.Raw) bool {
	return f.Kind() == codec.KindData && f.Stream() == 0 && f.Flags()&codec.FlagGroup != 0
}

// other handles what is not forwarded by name.
func (b *batch) other(f codec.Raw) error {
	switch to, from := f.To(), f.From(); {
	case len(to) == 0 && len(from) == 0:
		if !f.Valid() {
			b.router.count.drop(dropChecksum, 1)
			return nil
		}
		return b.own(f)
	case string(from) != b.from.name:
		return fmt.Errorf("%w: a frame from %q on the link of %q", ErrProtocol, from, b.from.name)
	case bestEffortGroup(f):
		b.fanOut(f)
	default:
		b.router.count.drop(dropUnknown, 1)
	}
	return nil
}

// directRun is the run that is worth a write of its own: it costs less than a copy in the outbox and a writer's start.
const directRun = 4 << 10

// deliver passes a run on to b.dest: written at once if it is long, or the last of a read while nobody waits to be woken, and
// the link idle; else by way of the outbox.
func (b *batch) deliver(run []byte, frames int, last bool) {
	if frames == 0 {
		return
	}
	if len(run) >= directRun {
		b.wake() // nobody waits behind a write to somebody else
	}
	if (len(run) >= directRun || last && len(b.marked) == 0) && b.dest.out.writeDirect(run, b.lent) {
		b.framesOut += frames
		b.bytesOut += len(run)
		return
	}
	v, mark := b.dest.out.put(run, b.lent, false)
	if mark {
		b.marked = append(b.marked, b.dest.out)
	}
	if v == taken {
		b.framesOut += frames
		b.bytesOut += len(run)
		return
	}
	for len(run) > 0 {
		f, rest, _ := codec.Next(run)
		v, mark := b.dest.out.put(f, nil, isControl(f))
		if mark {
			b.marked = append(b.marked, b.dest.out)
		}
		switch v {
		case taken:
			b.framesOut++
			b.bytesOut += len(f)
		case spent:
			b.lose(f, dropBudget, codec.Busy)
		default:
			b.lose(f, dropBusy, codec.Busy)
		}
		run = rest
	}
}

// isControl tells which frames may use the reserve: those that make room.
func isControl(f codec.Raw) bool {
	switch f.Kind() {
	case codec.KindAck, codec.KindReset, codec.KindUnreachable:
		return len(f) <= codec.HeaderSize+2*codec.MaxName+codec.MaxPing
	}
	return false
}

// fanOut copies a best-effort frame to everybody in its group but the sender.
func (b *batch) fanOut(f codec.Raw) {
	r, group := b.router, f.To()
	r.mu.RLock()
	defer r.mu.RUnlock()
	for _, s := range r.seats {
		if !s.listed || s == b.from || len(group) > 0 && !slices.Contains(s.groups, string(group)) {
			continue
		}
		v, mark := s.out.put(f, nil, false)
		if mark {
			b.marked = append(b.marked, s.out)
		}
		if v != taken {
			r.count.drop(dropGroup, 1)
			continue
		}
		b.framesOut++
		b.bytesOut += len(f)
	}
}

// lose counts frames that went nowhere, and tells their sender once per stream.
func (b *batch) lose(frames []byte, why dropReason, reason codec.UnreachableReason) {
	for len(frames) > 0 {
		f, rest, _ := codec.Next(frames)
		b.router.count.drop(why, 1)
		if f.Kind() == codec.KindData && f.Stream() != 0 {
			b.report(f, reason)
		}
		frames = rest
	}
}

func (b *batch) report(f codec.Raw, reason codec.UnreachableReason) {
	to := f.To()
	for _, k := range b.reported {
		if k.stream == f.Stream() && k.to == string(to) {
			return
		}
	}
	if len(b.reported) >= maxReports {
		return
	}
	b.reported = append(b.reported, streamKey{string(to), f.Stream()})
	body := codec.Unreachable{Reason: reason}
	b.reply(codec.Frame{
		Kind: codec.KindUnreachable, To: b.from.name, From: string(to),
		Stream: f.Stream(), Seq: f.Seq(), Payload: body.Append(nil),
	})
}

// reply puts a frame of the relay's own into the sender's outbox, or writes it at once as deliver does.
func (b *batch) reply(f codec.Frame) {
	b.scratch = f.Append(b.scratch[:0])
	if b.last && len(b.marked) == 0 && b.from.out.writeDirect(b.scratch, nil) {
		return
	}
	v, mark := b.from.out.put(b.scratch, nil, true)
	if mark {
		b.marked = append(b.marked, b.from.out)
	}
	if v != taken {
		b.router.count.drop(dropOwn, 1)
	}
}

// wake wakes every outbox that was filled since the last time.
func (b *batch) wake() {
	for i, o := range b.marked {
		o.wake()
		b.marked[i] = nil
	}
	b.marked = b.marked[:0]
}

// flush ends a read.
func (b *batch) flush() {
	b.wake()
	b.reported = b.reported[:0]
	b.lent = nil
	if b.dest != nil && b.dest.left.Load() {
		b.dest = nil // do not keep the memory of a link that has gone
	}
	c := b.router.count
	if b.framesIn > 0 {
		c.framesIn.Add(uint64(b.framesIn))
		c.bytesIn.Add(uint64(b.bytesIn))
		c.framesOut.Add(uint64(b.framesOut))
		c.bytesOut.Add(uint64(b.bytesOut))
		b.framesIn, b.bytesIn, b.framesOut, b.bytesOut = 0, 0, 0, 0
	}
}
