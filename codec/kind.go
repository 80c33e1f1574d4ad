package codec

import (
	"fmt"
	"strings"
)

// Kind says what a frame is for. WIRE.md section 2 says who sends which to whom.
type Kind uint8

const (
	KindHello       Kind = 1  // dialler to relay: who I am; body [Hello]
	KindWelcome     Kind = 2  // relay to dialler: the link stands; body [Welcome]
	KindRefusal     Kind = 3  // relay to dialler: the link will not stand; body [Refusal]
	KindData        Kind = 4  // node to node: a piece of a message
	KindAck         Kind = 5  // node to node: received, and granted; body [Ack]
	KindReset       Kind = 6  // node to node: go back; body [Reset]
	KindUnreachable Kind = 7  // relay or node to a sender: your frame was not taken; body [Unreachable]
	KindRoster      Kind = 8  // relay to node: who is linked; body [Roster]
	KindUpdate      Kind = 9  // relay to node and back: what changed; body [Update]
	KindPing        Kind = 10 // are you there? at most [MaxPing] bytes of any payload
	KindPong        Kind = 11 // yes; the payload of the Ping
	KindBye         Kind = 12 // either way: this link ends; body [Bye]

	// KindForward is the first of the kinds that a relay forwards without knowing them.
	KindForward Kind = 0x80
)

var kindNames = [...]string{
	KindHello: "Hello", KindWelcome: "Welcome", KindRefusal: "Refusal", KindData: "Data", KindAck: "Ack", KindReset: "Reset",
	KindUnreachable: "Unreachable", KindRoster: "Roster", KindUpdate: "Update", KindPing: "Ping", KindPong: "Pong", KindBye: "Bye",
}

// String returns the name of the kind as WIRE.md writes it, or its number.
func (k Kind) String() string {
	if int(k) < len(kindNames) && kindNames[k] != "" {
		return kindNames[k]
	}
	return fmt.Sprintf("Kind(0x%02x)", uint8(k))
}

// Flags of a frame: a bit set. Their meaning depends on the kind; see WIRE.md section 2.
type Flags uint8

const (
	FlagFirst   Flags = 1 << iota // Data: the oldest frame its sender still holds. Roster: the first part
	FlagMore                      // Data: the message goes on in the next frame. Roster: another part follows
	FlagAckNow                    // Data: acknowledge at once
	FlagGroup                     // Data: sent to a group, whose name stands before the item
	FlagRequest                   // Data: a request, whose 8 bytes stand before the item
	FlagReply                     // Data: a reply, with the 8 bytes of its request before the item
	FlagSeveral                   // Data: the payload is several whole messages, each after its length ([SeveralLength] bytes)

	// FlagsUnknown are the flags that version 1 gives no meaning. Who would consume a Data frame with one of
	// them sends an Unreachable ([Unsupported]) instead.
	FlagsUnknown Flags = 0x80
)

// SeveralLength is how many bytes before each message of a frame with [FlagSeveral] say how long it is, big-endian.
const SeveralLength = 2

var flagNames = [...]string{"first", "more", "ack-now", "group", "request", "reply", "several"}

// String returns the names of the flags that are set, joined by "+"; "none" when there are none.
func (f Flags) String() string {
	if f == 0 {
		return "none"
	}
	var set []string
	for bit, name := range flagNames {
		if f&(1<<bit) != 0 {
			set = append(set, name)
		}
	}
	if unknown := f & FlagsUnknown; unknown != 0 {
		set = append(set, fmt.Sprintf("0x%02x", uint8(unknown)))
	}
	return strings.Join(set, "+")
}
