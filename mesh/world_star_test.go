package mesh

import (
	"context"
	"maps"
	"net"
	"slices"
	"time"

	"pgregory.net/rapid"

	"ultrasockets/codec"
	"ultrasockets/relay"
)

// The relays and links of the model (world_test.go).

// star is a relay as the contract allows it to be: it keeps nothing but its outboxes.
type star struct {
	w     *world
	seats map[string]*cable
}

// cable is a link: what is on its way up to the relay, and down from it.
type cable struct {
	star   *star
	actor  *actor
	entry  codec.Entry
	up     []codec.Raw
	queued int  // bytes in up
	full   bool // the node was told so
	down   []codec.Raw
	held   int  // bytes in down
	ended  bool // the node has left it; the relay has not noticed
}

func (c *cable) Write(frames []byte, control bool) bool {
	if c.ended {
		return true
	}
	if !control && c.queued > 0 && c.queued+len(frames) > c.star.w.line {
		c.star.w.events["full"]++
		c.full = true
		return false
	}
	c.queued += len(frames)
	for len(frames) > 0 {
		f, rest, err := codec.Next(frames)
		if err != nil || f == nil {
			c.star.w.t.Fatalf("a bad frame was written: %v", err)
		}
		c.up = append(c.up, slices.Clone(f))
		frames = rest
	}
	return true
}

func (c *cable) WriteAll(w *relay.Writing, control bool) bool {
	frames, memory := w.InOnePiece()
	ok := c.Write(slices.Clone(frames), control)
	memory.Release()
	if ok {
		w.Reset()
	}
	return ok
}

func (c *cable) Welcome() codec.Welcome {
	return codec.Welcome{Relay: "r", Outbox: uint32(c.star.w.outbox), Mesh: DefaultMesh}
}

func (c *cable) Run(relay.Handler) error { panic("not run") }

func (c *cable) Visit(context.Context, <-chan struct{}) bool { return false }

func (c *cable) Await(ctx context.Context, ready <-chan struct{}) error {
	return new(Node).await(ctx, ready)
}

func (c *cable) Busy() bool {
	if len(c.up) > 0 && !c.ended {
		c.full = true
	}
	return len(c.up) > 0 && !c.ended
}

func (c *cable) RTT() time.Duration { return 0 }

func (c *cable) Addr() net.Addr { return &net.TCPAddr{} }

func (c *cable) Leave(context.Context) error { return nil }

func (c *cable) Close() error { return nil }

// notice is the relay finding that a link has ended.
func (s *star) notice(c *cable) {
	delete(s.seats, c.entry.Name)
	s.tell(codec.Change{Op: codec.Left, Entry: c.entry}, nil)
}

func (s *star) tell(change codec.Change, but *cable) {
	for _, name := range slices.Sorted(maps.Keys(s.seats)) {
		if c := s.seats[name]; c != but {
			s.post(c, codec.AppendUpdateFrames(nil, []codec.Change{change}))
		}
	}
}

// post puts frames of the relay itself on the way down.
func (s *star) post(c *cable, frames []byte) {
	for len(frames) > 0 && !c.ended {
		f, rest, _ := codec.Next(frames)
		c.down = append(c.down, slices.Clone(f))
		frames = rest
	}
}

// route takes the next frame of a link.
func (s *star) route(c *cable) {
	f := c.up[0]
	c.up = c.up[1:]
	c.queued -= len(f)
	if c.full && !c.ended && 2*c.queued <= s.w.line {
		c.full = false
		session{c.actor.Node, c}.HandleWritable()
	}
	switch {
	case f.Kind() == codec.KindUpdate:
		if u, err := codec.ParseUpdate(f.Payload()); err == nil && f.Valid() && len(u.Changes) == 1 {
			c.entry.State = u.Changes[0].Entry.State
			s.tell(codec.Change{Op: codec.Changed, Entry: c.entry}, nil)
		}
		return
	case string(f.From()) != c.entry.Name:
		s.w.t.Fatalf("%q spoke as %q", c.entry.Name, f.From())
	}
	dest := s.seats[string(f.To())]
	reason := codec.UnreachableReason(0)
	switch {
	case dest == nil:
		reason = codec.Absent
	case f.Kind() == codec.KindData && dest.held+len(f) > s.w.room:
		reason = codec.Busy
	case !dest.ended:
		dest.down = append(dest.down, f)
		if f.Kind() == codec.KindData {
			dest.held += len(f)
		}
	}
	if reason != 0 && f.Kind() == codec.KindData {
		s.w.events[reason.String()]++
		r := codec.Frame{Kind: codec.KindUnreachable, To: string(f.From()), From: string(f.To()), Stream: f.Stream(), Seq: f.Seq(), Payload: codec.Unreachable{Reason: reason}.Append(nil)}
		s.post(c, r.Append(nil))
	}
}

// collapse ends a relay, and with it all that it held.
func (w *world) collapse(i int) {
	s := w.relays[i]
	w.relays[i] = &star{w, map[string]*cable{}}
	for _, c := range s.seats {
		c.up = nil
		if c.actor.cable == c {
			w.unlink(c.actor)
		}
	}
}

// flip changes a bit of a frame on its way.
func (w *world) flip(frames []codec.Raw) {
	if len(frames) == 0 {
		return
	}
	i := rapid.IntRange(0, len(frames)-1).Draw(w.t, "frame")
	f := frames[i]
	at := rapid.SampledFrom([]int{12, 15, 16, 19, 20, len(f) - 1}).Draw(w.t, "byte")
	f[at] ^= 1 << rapid.IntRange(0, 7).Draw(w.t, "bit")
}

// cable is what the node writes to.
var _ relay.Port = (*cable)(nil)
