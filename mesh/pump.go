package mesh

import (
	"sync"

	"ultrasockets/relay"
)

// Step 3 of a message's way: from the streams to the link. While it is busy they wait their turn, and messages gather.

// writeBatch is about how many bytes of frames are handed to the link at a time.
const writeBatch = 32 << 10

// link is what the stream's frames may be written to now; nil: nothing.
func (o *outbound) link(s *outStream) relay.Port {
	ref := o.port.Load()
	if ref == nil || o.require && s.packer == nil && s.packErr == nil {
		return nil
	}
	return ref.Port
}

// pump writes what the window allows, if the link has nothing else to do; else once it has: until then messages gather,
// and share frames. The caller holds s.mu.
func (o *outbound) pump(s *outStream) {
	if port := o.link(s); port != nil && !s.isBlocked && s.hasWork() {
		if !port.Busy() || !o.awaitTurn(port, s) {
			o.pumpTo(port, s)
		}
	}
}

// pumpTo writes what the window allows and the link takes; the rest has its turn later. The caller holds s.mu.
func (o *outbound) pumpTo(port relay.Port, s *outStream) {
	w := writings.Get().(*relay.Writing)
	defer putWriting(w)
	now := o.clock()
	for !s.isBlocked {
		m := s.mark()
		w.Lone = s.crowd == 0
		s.transmit(now, w, writeBatch, s.pack)
		size := w.Len()
		if size == 0 {
			return
		}
		s.crowd = max(0, s.crowd-1)
		if !port.WriteAll(w, false) {
			// Once more when it is noted, lest room came in between unnoticed.
			o.block(s)
			if port.WriteAll(w, false) {
				s.isBlocked = false
			} else {
				s.unsend(m)
			}
		} else if size >= writeBatch && port.Busy() && o.awaitTurn(port, s) {
			return
		}
	}
}

// writings are for what is handed to the link at once.
var writings = sync.Pool{New: func() any { return new(relay.Writing) }}

func putWriting(w *relay.Writing) {
	w.Reset()
	writings.Put(w)
}

// awaitTurn lets the stream wait until the link comes round. False: it has come round since it was asked, perhaps
// before the stream was noted.
func (o *outbound) awaitTurn(port relay.Port, s *outStream) bool {
	o.block(s)
	s.isBlocked = port.Busy()
	return s.isBlocked
}

// block notes that the stream goes on when the link can take more.
func (o *outbound) block(s *outStream) {
	s.isBlocked = true
	o.blockedMu.Lock()
	defer o.blockedMu.Unlock()
	if !s.isNoted {
		s.isNoted = true
		o.blocked = append(o.blocked, s)
	}
}

// unblock calls f with each that is noted, in the order in which they came; from then on they are not.
func (o *outbound) unblock(f func(*outStream)) {
	o.blockedMu.Lock()
	list := o.blocked
	o.blocked, o.spare = o.spare, nil
	for _, s := range list {
		s.isNoted = false
	}
	o.blockedMu.Unlock()
	for _, s := range list {
		f(s)
	}
	clear(list)
	o.blockedMu.Lock()
	o.spare = list[:0]
	o.blockedMu.Unlock()
}

// writable goes on with the streams that wait for the link.
func (o *outbound) writable() { o.unblock(o.goOn) }

func (o *outbound) goOn(s *outStream) {
	s.lock()
	s.isBlocked = false
	if port := o.link(s); port != nil {
		o.pumpTo(port, s)
	}
	o.settle(s)
}

// pack packs a payload for the stream's receiver; plain while that is not known.
func (s *outStream) pack(src []byte) ([]byte, uint8, error) {
	if s.packer == nil {
		return src, 0, s.packErr
	}
	out, packing, err := s.packer.Pack(s.packBuf, src)
	if err == nil && packing != 0 {
		s.packBuf = out[:0]
	}
	return out, packing, err
}
