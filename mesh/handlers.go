package mesh

import (
	"bytes"

	"ultrasockets/codec"
)

// Requests of a kind: so that a program's own requests and those of the libraries that it uses share a node.

// The value of a request of a kind is a map with these two keys, in this order, which is that of core deterministic
// encoding; so it can be made from any language, and from a shell:
//
//	ultra request lamp --value '{"kind":"dim","value":0.5}'
const (
	kindHead  = "\xa2\x64kind"
	valueHead = "\x65value"
)

// OfKind is the value of a request for the handler that HandleKind registered under that kind at the receiver.
// A value for it may be anything that Send takes.
func OfKind(kind string, value any) any { return map[string]any{"kind": kind, "value": value} }

// HandleKind registers the handler of requests of one kind, as OfKind makes them, in place of an earlier one; nil: none.
// The request that it gets has the value alone. All other requests go to the handler of Handle, those of kinds without
// a handler of their own as the map that they are. A library names its kinds after itself, such as "clocks.sync".
func (n *Node) HandleKind(kind string, h Handler) {
	q := n.asks
	q.mu.Lock()
	defer q.mu.Unlock()
	if h == nil {
		delete(q.kinds, kind)
		return
	}
	if q.kinds == nil {
		q.kinds = make(map[string]Handler)
	}
	q.kinds[kind] = h
}

// pick finds the handler of a request, and what that gets.
func (q *requests) pick(m Message) (Handler, Message) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.kinds) == 0 {
		return q.handler, m
	}
	if kind, value, ok := cutKind(m.data); ok {
		if h := q.kinds[kind]; h != nil {
			m.data = value
			return h, m
		}
	}
	return q.handler, m
}

// cutKind takes a request of a kind apart; ok tells whether it is one.
func cutKind(data []byte) (kind string, value []byte, ok bool) {
	rest, ok := bytes.CutPrefix(data, []byte(kindHead))
	size := codec.ItemSize(rest)
	if !ok || size == 0 || size > uint64(len(rest)) {
		return "", nil, false
	}
	if kind, ok = codec.AsText(rest[:size]); !ok {
		return "", nil, false
	}
	value, ok = bytes.CutPrefix(rest[size:], []byte(valueHead))
	return kind, value, ok
}
