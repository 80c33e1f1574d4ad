package mesh

import (
	"ultrasockets/codec"
	"ultrasockets/relay"
)

// session is what a port's frames are handed to, step 7 of a message's way. Its methods are called by who reads the port at
// the moment, but HandleWritable.
type session struct {
	n    *Node
	port relay.Port
}

// HandleFrame takes one frame.
func (s session) HandleFrame(f codec.Raw, lent *relay.Memory) {
	if !f.Valid() {
		s.n.badFrames.Add(1)
		return
	}
	if f.Kind() == codec.KindData {
		if !s.n.leaving.Load() { // what is not acknowledged any more is not taken any more
			s.n.in.data(f, lent)
		}
		return
	}
	s.deliver() // the intake's lock is not held while a stream's is taken
	switch f.Kind() {
	case codec.KindAck, codec.KindReset, codec.KindUnreachable:
		s.n.woken += s.n.out.answer(f)
	case codec.KindRoster:
		if r, err := codec.ParseRoster(f.Payload()); err == nil {
			s.n.rosterMu.Lock()
			s.n.apply(s.n.view.roster(s.n.clock(), f.Flags(), r))
			s.n.rosterMu.Unlock()
			s.n.work.wake(s.n.view.due())
		}
	case codec.KindUpdate:
		if u, err := codec.ParseUpdate(f.Payload()); err == nil {
			s.n.rosterMu.Lock()
			s.n.apply(s.n.view.update(u))
			s.n.rosterMu.Unlock()
		}
	case codec.KindPing:
		pong := codec.Frame{Kind: codec.KindPong, To: string(f.From()), From: s.n.set.Name, Payload: f.Payload()}
		if len(f.From()) > 0 && len(f.Payload()) <= codec.MaxPing {
			s.port.Write(pong.Append(nil), true)
		}
	case codec.KindPong:
		s.n.ponged(string(f.From()), f.Payload())
	}
}

// HandleBatchEnd ends a batch of frames.
func (s session) HandleBatchEnd() (woken, others int) {
	s.deliver()
	s.n.in.readEnded()
	woken, s.n.woken = s.n.woken, 0
	others, s.n.requested = s.n.requested, 0
	return woken, others
}

// deliver hands on what was gathered of Data frames.
func (s session) deliver() {
	requests, replies, woken := s.n.in.end()
	s.n.requested += len(requests)
	s.n.woken += len(replies)
	if woken {
		s.n.woken++
	}
	for _, r := range requests {
		s.n.asks.serve(r)
	}
	for _, r := range replies {
		s.n.asks.replied(r)
	}
}

// HandleWritable goes on with what the port had no room for.
func (s session) HandleWritable() { s.n.out.writable() }
