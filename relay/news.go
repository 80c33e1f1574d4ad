package relay

import (
	"time"

	"ultrasockets/codec"
)

// What a change of the roster costs the hub is a put for every link that wants the roster, and a write. When a thousand
// nodes join at once that would be a million of each. So changes leave at once while they are few, and
// together while they are many: newsRate bounds the puts, however large the mesh.
const (
	newsRate  = 50_000 // puts a second, in the long run
	newsBurst = 1_000  // puts that are never waited for
)

// news is what the links have not been told of the roster yet. The own node is told of everything at once. Guarded by Hub.mu.
type news struct {
	first   uint64   // number of changes[0], counted from 1 since the hub was made
	changes [][]byte // encoded, oldest first; nil: overtaken by a later one of the same node
	pace    bucket
	due     *time.Timer // of the wheel: when to tell. Nil until the wheel turns
}

// end is the number of the next change.
func (n *news) end() uint64 { return n.first + uint64(len(n.changes)) }

// add appends a change and returns its number.
func (n *news) add(item []byte) uint64 {
	n.changes = append(n.changes, item)
	return n.end() - 1
}

// overtake forgets change i, if the links have not been told of it.
func (n *news) overtake(i uint64) {
	if i >= n.first && i < n.end() {
		n.changes[i-n.first] = nil
	}
}

// since returns the changes from number i on.
func (n *news) since(i uint64) [][]byte {
	if i <= n.first {
		return n.changes
	}
	return n.changes[min(i, n.end())-n.first:]
}

// clear forgets all changes.
func (n *news) clear() {
	n.first = n.end()
	clear(n.changes)
	n.changes = n.changes[:0]
}

// push tells a change to the own node at once, and to the links that want the roster soon. It returns the change's number,
// for news.overtake; 0 without a reign. mu is held.
func (h *Hub) push(c codec.Change) uint64 {
	if h.att == nil {
		return 0
	}
	item := c.Append(nil)
	h.pushTo(&h.att.out, codec.AppendEncodedUpdate(nil, [][]byte{item}))
	n := h.news.add(item)
	if wait := h.news.pace.take(0, h.now()); wait > 0 {
		if len(h.news.changes) == 1 {
			h.news.due.Reset(wait)
		}
		return n
	}
	h.tell()
	return n
}

// tell tells the links what is new; mu is held. A link is not told what the roster it got has already.
func (h *Hub) tell() {
	n := &h.news
	if len(n.changes) == 0 {
		return
	}
	all, told := codec.AppendEncodedUpdate(nil, n.changes), 0
	for _, p := range h.names {
		if !p.wantsRoster {
			continue
		}
		frames := all
		if p.heard > n.first {
			frames = codec.AppendEncodedUpdate(nil, n.since(p.heard))
		}
		if len(frames) > 0 {
			h.pushTo(&p.out, frames)
			told++
		}
	}
	n.pace.take(told, h.now())
	n.clear()
}

// pushTo gives updates to one outbox; what does not fit is made good by a whole roster when there is room.
func (h *Hub) pushTo(o *outbox, frames []byte) {
	if o.awaitsRoster() {
		return
	}
	switch v, mark := o.put(frames, nil, true); {
	case mark:
		o.wake()
	case v == full:
		h.count.drop(dropUpdates, 1)
		o.markRoster()
	}
}

// resendRoster is called by the drainer of an outbox that has missed an update and has room now. heard is that of its link, if it is one.
func (h *Hub) resendRoster(o *outbox, heard *uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.att == nil {
		return
	}
	o.force(h.rosterFrames())
	if heard != nil {
		*heard = h.news.end()
	}
}
