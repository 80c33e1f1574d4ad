package mesh

import (
	"bytes"
	"fmt"
	"strings"
	"time"

	"ultrasockets/codec"
)

// Message is one message that arrived. It belongs to whoever took it from the node: nothing else refers to its bytes, unless it
// is lent (Node.Batches).
type Message struct {
	From   string    // name of the sender
	To     string    // this node's name, or the group it was sent to, as ToGroup gives it, or ToAll
	Serial uint64    // counts arrivals at this process from 1
	Time   time.Time // local time of arrival

	data []byte // one CBOR item
}

// Clone gives the message with a copy of its bytes: one that is only lent, by Node.Batches, can be kept so.
func (m Message) Clone() Message {
	m.data = bytes.Clone(m.data)
	return m
}

// Bytes gives the bytes that were sent; for other types than []byte and string, their CBOR encoding.
// The slice is the message's own: changing it changes the message.
func (m Message) Bytes() []byte { return bytesIn(m.data) } // which the compiler puts where it is called: a Message is large

func bytesIn(data []byte) []byte {
	if b, ok := codec.AsBytes(data); ok {
		return b
	}
	if s, ok := codec.AsText(data); ok {
		return []byte(s)
	}
	return data
}

// Text gives the text that was sent; of the zero Message "". Of []byte it gives the bytes as they are, of other types CBOR's diagnostic
// notation (RFC 8949, section 8), which looks like JSON.
func (m Message) Text() string {
	if s, ok := codec.AsText(m.data); ok {
		return s
	}
	if b, ok := codec.AsBytes(m.data); ok {
		return string(b)
	}
	if len(m.data) == 0 { // no message, as beside an error
		return ""
	}
	return codec.Diagnose(m.data)
}

// Value gives the value that was sent: nil, bool, int64 (uint64 where it does not fit), float64, string, []byte,
// time.Time, []any or map[string]any (map[any]any if a key is no text). What cannot be decoded gives nil; Decode tells why.
func (m Message) Value() any {
	v, err := codec.DecodeValue(m.data)
	if err != nil {
		return nil
	}
	return v
}

// Decode stores the value that was sent in what v points to, as encoding/json would. The error wraps ErrValue.
func (m Message) Decode(v any) error {
	if err := codec.UnmarshalValue(m.data, v); err != nil {
		return fmt.Errorf("decode a message of %q: %w", m.From, err)
	}
	return nil
}

// ToAll is the address of every other node of the mesh, for Send and Deliver.
const ToAll = "@"

// ToGroup is the address of every other node in a group, for Send and Deliver: of those that the sender's Peers lists at that
// moment. If there are none, nothing is sent, and Deliver returns nil at once: it is with all of them. An empty name is refused there: all is ToAll.
func ToGroup(group string) string {
	if group == "" {
		return "@@" // no group has this name
	}
	return groupAddress(group)
}

func groupAddress(group string) string { return "@" + group }

// groupOf tells whether an address is that of a group, and which; "" is all.
func groupOf(to string) (group string, ok bool) { return strings.CutPrefix(to, "@") }
