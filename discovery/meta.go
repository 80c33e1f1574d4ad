package discovery

import (
	"errors"
	"fmt"
	"unicode/utf8"

	"github.com/fxamacker/cbor/v2"
	"github.com/hashicorp/memberlist"
)

// Role is what a node wants to be in its mesh. The numbers are those of the wire.
type Role uint8

const (
	RoleAuto   Role = 0 // stands for relay when there is no server
	RoleServer Role = 1 // configured to be the relay; outranks all others
	RolePeer   Role = 2 // never stands
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
	return fmt.Sprintf("role(%d)", uint8(r))
}

// Meta is what a node says of itself. It is a claim, to be proved by a handshake.
type Meta struct {
	Name  string // the node's name, at most MaxName bytes of UTF-8
	Role  Role
	Relay bool   // whether the node is the relay at this moment
	Term  uint32 // the number of the relay's reign
}

const (
	// MaxName is the longest name in bytes; see the mesh's rule for names, which is stricter.
	MaxName = 64

	maxMeta = memberlist.MetaMaxSize // bytes; the library panics on more
)

var errMeta = errors.New("discovery: unreadable meta")

// wireMeta is Meta in gossip: one small CBOR map with integer keys, of which unknown ones are ignored.
type wireMeta struct {
	Name  string `cbor:"1,keyasint"`
	Role  Role   `cbor:"2,keyasint,omitempty"`
	Relay bool   `cbor:"3,keyasint,omitempty"`
	Term  uint32 `cbor:"4,keyasint,omitempty"`
}

// metaDecoder takes nothing deeper or wider than a meta of a few more keys than ours can be.
var metaDecoder = func() cbor.DecMode {
	mode, err := cbor.DecOptions{
		DupMapKey:        cbor.DupMapKeyEnforcedAPF,
		IndefLength:      cbor.IndefLengthForbidden,
		TagsMd:           cbor.TagsForbidden,
		MaxNestedLevels:  4,
		MaxArrayElements: 64,
		MaxMapPairs:      64,
	}.DecMode()
	if err != nil {
		panic(err) // the options above are constant
	}
	return mode
}()

// encode returns m as it stands in gossip, at most maxMeta bytes, owned by the caller.
func (m Meta) encode() ([]byte, error) {
	if err := m.check(); err != nil {
		return nil, err
	}
	return cbor.Marshal(wireMeta(m))
}

// parseMeta reads what encode wrote, or what a stranger made up. It keeps nothing of b.
func parseMeta(b []byte) (Meta, error) {
	if len(b) > maxMeta {
		return Meta{}, fmt.Errorf("%w: %d bytes", errMeta, len(b))
	}
	var w wireMeta
	if err := metaDecoder.Unmarshal(b, &w); err != nil {
		return Meta{}, fmt.Errorf("%w: %w", errMeta, err)
	}
	m := Meta(w)
	return m, m.check()
}

func (m Meta) check() error {
	switch {
	case m.Name == "" || len(m.Name) > MaxName:
		return fmt.Errorf("%w: name of %d bytes, want 1 to %d", errMeta, len(m.Name), MaxName)
	case !utf8.ValidString(m.Name):
		return fmt.Errorf("%w: name is not UTF-8", errMeta)
	case m.Role > RolePeer:
		return fmt.Errorf("%w: role %d", errMeta, m.Role)
	}
	return nil
}
