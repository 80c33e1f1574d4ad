package relay

import (
	"errors"
	"fmt"

	"ultrasockets/codec"
)

// Errors of this package, to be tested with errors.Is. A refusal by the relay
// is a *codec.Refusal and a farewell a *ByeError: use errors.As.
var (
	// ErrVersion: the other side does not speak version 1 of the wire.
	ErrVersion = errors.New("the relay speaks another version of the wire")
	// ErrSecretNeeded: the mesh has a secret, and none was given.
	ErrSecretNeeded = errors.New("this mesh has a secret: give it")
	// ErrNoSecret: a secret was given, and the mesh has none.
	ErrNoSecret = errors.New("this mesh has no secret, and one was given")
	// ErrWrongSecret: both sides have a secret, and they differ.
	ErrWrongSecret = errors.New("the secret is not the one of this mesh")
	// ErrBadSecret: a secret that is not nil must have 32 bytes.
	ErrBadSecret = errors.New("a secret has exactly 32 bytes")
	// ErrNotARelay: something answers at that address, but it is no relay.
	ErrNotARelay = errors.New("no UltraSockets relay answers there")
	// ErrProtocol: the other side broke the rules of the wire.
	ErrProtocol = errors.New("the other side broke the protocol")
	// ErrLinkDead: nothing was read from the other side, or it took nothing, for three heartbeats.
	ErrLinkDead = errors.New("the link is dead: nothing came for three heartbeats")
	// ErrStalled: this process stood still (stopped, or asleep) for longer than three heartbeats.
	ErrStalled = errors.New("this process stood still for longer than a link may be silent")
	// ErrResigned: the hub gave up its reign.
	ErrResigned = errors.New("the relay resigned")
	// ErrClosed: this side closed the port or the hub.
	ErrClosed = errors.New("closed")
	// ErrRunning: Run may be called once.
	ErrRunning = errors.New("Run was called before")
)

// ByeError is the error of a port whose other side said Bye. Reason says what
// to do next; Addrs, if any, where to go.
type ByeError struct{ codec.Bye }

func (e *ByeError) Error() string {
	if e.Text == "" {
		return fmt.Sprintf("the other side said bye (reason %d)", e.Reason)
	}
	return "the other side said bye: " + e.Text
}
