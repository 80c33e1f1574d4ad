package codec

import "fmt"

// RefusalCode is why a relay does not take a Hello. WIRE.md section 3 says what the dialler does about each.
type RefusalCode uint8

const (
	RefuseMesh      RefusalCode = 1 // another mesh
	RefuseNameTaken RefusalCode = 2 // by another live node
	RefuseMeshFull  RefusalCode = 3
	RefuseBadName   RefusalCode = 4
	RefuseNotRelay  RefusalCode = 5 // Refusal.Addrs says who is, if known
	RefuseBadHello  RefusalCode = 6
	RefuseRule      RefusalCode = 7 // not admitted by this mesh's own rule
	RefuseNotNow    RefusalCode = 8 // the relay is just changing
	RefuseNameKept  RefusalCode = 9 // for a moment, for who had the name under the relay before
)

var refusalNames = [...]string{
	RefuseMesh: "another mesh", RefuseNameTaken: "name taken", RefuseMeshFull: "mesh full", RefuseBadName: "bad name",
	RefuseNotRelay: "not the relay", RefuseBadHello: "bad Hello", RefuseRule: "not admitted", RefuseNotNow: "not now",
	RefuseNameKept: "name kept",
}

func (c RefusalCode) String() string {
	if int(c) < len(refusalNames) && refusalNames[c] != "" {
		return refusalNames[c]
	}
	return fmt.Sprintf("RefusalCode(%d)", uint8(c))
}

// Refusal is the relay's word that the link will not stand. It is an error, so that a dialler can return it as it came.
type Refusal struct {
	Code  RefusalCode `cbor:"1,keyasint,omitempty"`
	Text  string      `cbor:"2,keyasint,omitempty"` // a sentence for a person; Append cuts it to 512 bytes
	Relay string      `cbor:"3,keyasint,omitempty"` // name of the right relay, if known
	Addrs []string    `cbor:"4,keyasint,omitempty"` // "ip:port" of the right relay, if known; at most MaxAddrs
}

// Error returns the relay's sentence, or the meaning of the code if it sent none.
func (r Refusal) Error() string {
	if r.Text == "" {
		return r.Code.String()
	}
	return r.Text
}

// Append appends the body of r to dst.
func (r *Refusal) Append(dst []byte) []byte {
	out := *r
	out.Text = cutText(out.Text)
	return appendBody(dst, &out)
}

// ParseRefusal reads the body of a Refusal. A code that is not known is returned as it came. The error wraps [ErrBody].
func ParseRefusal(b []byte) (Refusal, error) {
	var r Refusal
	if err := parseBody("Refusal", b, MaxHello, &r); err != nil {
		return Refusal{}, err
	}
	if err := checkRedirect(r.Relay, r.Addrs); err != nil {
		return Refusal{}, bodyError("Refusal", err)
	}
	return r, nil
}

// checkRedirect checks the two fields by which Refusal and Bye send a node elsewhere.
func checkRedirect(relay string, addrs []string) error {
	if err := checkOptionalName(relay); err != nil {
		return fmt.Errorf("relay: %w", err)
	}
	return checkAddrs(addrs)
}
