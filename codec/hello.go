package codec

import (
	"errors"
	"fmt"
)

// Role is what a node is willing to be.
type Role uint8

const (
	RoleAuto   Role = 0 // may be elected relay
	RoleServer Role = 1 // is the relay whenever it is there
	RolePeer   Role = 2 // is never the relay
)

func (r Role) String() string {
	switch r {
	case RoleAuto:
		return "auto"
	case RoleServer:
		return "server"
	case RolePeer:
		return "peer"
	}
	return fmt.Sprintf("Role(%d)", uint8(r))
}

// State is whether a node receives at the moment.
type State uint8

const (
	StateReady  State = 0
	StatePaused State = 1 // it is linked, and grants no new windows
)

func (s State) String() string {
	switch s {
	case StateReady:
		return "ready"
	case StatePaused:
		return "paused"
	}
	return fmt.Sprintf("State(%d)", uint8(s))
}

// Hello is the first frame of a dialler: who it is and what it takes. WIRE.md section 3.
type Hello struct {
	Mesh        string            `cbor:"1,keyasint,omitempty"` // the mesh it wants; "": whatever mesh answers
	Name        string            `cbor:"2,keyasint,omitempty"`
	Instance    uint64            `cbor:"3,keyasint,omitempty"` // random, not zero, new at each start
	Token       []byte            `cbor:"4,keyasint,omitempty"` // TokenSize bytes, or none: then it cannot take over its own link
	Transforms  []string          `cbor:"5,keyasint,omitempty"` // names it takes, in its own order; at most MaxTransforms
	Required    uint8             `cbor:"6,keyasint,omitempty"` // bit k: the k-th must be applied to all that is sent to it
	Groups      []string          `cbor:"7,keyasint,omitempty"` // at most MaxGroups
	Tags        map[string]string `cbor:"8,keyasint,omitempty"` // anything others should see; at most MaxTags
	State       State             `cbor:"9,keyasint,omitempty"`
	MaxMessage  uint64            `cbor:"10,keyasint,omitempty"` // largest message it takes, in bytes; 0: DefaultMaxMessage
	WantsRoster bool              `cbor:"11,keyasint,omitempty"`
	Visitor     bool              `cbor:"12,keyasint,omitempty"` // not to be listed nor counted
	Role        Role              `cbor:"13,keyasint,omitempty"`
	Addrs       []string          `cbor:"14,keyasint,omitempty"` // "ip:port" where it would be the relay; none: never; at most MaxAddrs
	Term        uint32            `cbor:"15,keyasint,omitempty"` // highest it has seen
}

// Check returns nil if h can be sent: its names are good, its lists within their bounds, and the whole within MaxHello
// bytes. Otherwise the error wraps [ErrBody], and [ErrBadName] too if that was the reason.
func (h *Hello) Check() error {
	if err := h.check(); err != nil {
		return bodyError("Hello", err)
	}
	if size := len(h.Append(nil)); size > MaxHello {
		return fmt.Errorf("%w: Hello of %d bytes, at most %d: give it fewer tags or groups", ErrBody, size, MaxHello)
	}
	return nil
}

func (h *Hello) check() error {
	switch {
	case h.Instance == 0:
		return errors.New("instance is zero")
	case len(h.Token) != 0 && len(h.Token) != TokenSize:
		return fmt.Errorf("token of %d bytes, want %d", len(h.Token), TokenSize)
	case h.State > StatePaused:
		return fmt.Errorf("unknown state %d", h.State)
	case h.Role > RolePeer:
		return fmt.Errorf("unknown role %d", h.Role)
	}
	if err := checkOptionalName(h.Mesh); err != nil {
		return fmt.Errorf("mesh: %w", err)
	}
	if err := CheckName(h.Name); err != nil {
		return fmt.Errorf("name: %w", err)
	}
	if err := checkTransforms(h.Transforms, h.Required); err != nil {
		return err
	}
	if err := checkNames("groups", h.Groups, MaxGroups); err != nil {
		return err
	}
	if err := checkTags(h.Tags); err != nil {
		return err
	}
	return checkAddrs(h.Addrs)
}

// Append appends the body of h to dst. What Check refuses, the other side will.
func (h *Hello) Append(dst []byte) []byte {
	out := *h
	out.MaxMessage = omitDefault(out.MaxMessage)
	return appendBody(dst, &out)
}

// ParseHello reads the body of a Hello. MaxMessage is never zero in the result. The error wraps [ErrBody], and
// [ErrBadName] too if a name was the reason.
func ParseHello(b []byte) (Hello, error) {
	var h Hello
	if err := parseBody("Hello", b, MaxHello, &h); err != nil {
		return Hello{}, err
	}
	if err := h.check(); err != nil {
		return Hello{}, bodyError("Hello", err)
	}
	h.MaxMessage = fillDefault(h.MaxMessage)
	return h, nil
}

// A largest message of DefaultMaxMessage is not written, and none written means it.

func omitDefault(maxMessage uint64) uint64 {
	if maxMessage == DefaultMaxMessage {
		return 0
	}
	return maxMessage
}

func fillDefault(maxMessage uint64) uint64 {
	if maxMessage == 0 {
		return DefaultMaxMessage
	}
	return maxMessage
}
