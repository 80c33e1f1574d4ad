package codec

import "fmt"

// ByeReason is why a link ends. WIRE.md section 8 says what the node does about each.
type ByeReason uint8

const (
	ByeLeaving  ByeReason = 0 // for good
	ByeResigned ByeReason = 1 // the relay gives way to a better one
	ByeReplaced ByeReason = 2 // the same token came on another link
	ByeProtocol ByeReason = 3 // the other side broke the protocol; Bye.Text says how
	ByeShutdown ByeReason = 4 // the relay shuts down
	ByePutOut   ByeReason = 5 // by the mesh
)

var byeNames = [...]string{"leaving", "resigned", "replaced", "broke the protocol", "relay shuts down", "put out"}

func (r ByeReason) String() string {
	if int(r) < len(byeNames) {
		return byeNames[r]
	}
	return fmt.Sprintf("ByeReason(%d)", uint8(r))
}

// Bye is the last frame of a link. WIRE.md section 8.
type Bye struct {
	Reason ByeReason `cbor:"1,keyasint,omitempty"`
	Text   string    `cbor:"2,keyasint,omitempty"` // a sentence; Append cuts it to 512 bytes
	Relay  string    `cbor:"3,keyasint,omitempty"` // name of the next relay, if known
	Addrs  []string  `cbor:"4,keyasint,omitempty"` // "ip:port" where to go, if known; at most MaxAddrs
}

// Append appends the body of b to dst.
func (b *Bye) Append(dst []byte) []byte {
	out := *b
	out.Text = cutText(out.Text)
	return appendBody(dst, &out)
}

// ParseBye reads the body of a Bye. A reason that is not known is returned as it came. The error wraps [ErrBody].
func ParseBye(b []byte) (Bye, error) {
	var bye Bye
	if err := parseBody("Bye", b, MaxHello, &bye); err != nil {
		return Bye{}, err
	}
	if err := checkRedirect(bye.Relay, bye.Addrs); err != nil {
		return Bye{}, bodyError("Bye", err)
	}
	return bye, nil
}
