package codec

import "errors"

// Errors of this package, to be told apart with errors.Is. What is returned wraps one of them and adds which field or rule
// was meant.
var (
	// ErrPreamble: the first eight bytes do not begin with the magic of this protocol.
	ErrPreamble = errors.New("this is no UltraSockets preamble")

	// ErrFrame: a header that no sender can have meant. The rest of the connection cannot be read: close it.
	ErrFrame = errors.New("impossible frame header")

	// ErrBadName: a name of a node, group, mesh or transform breaks a rule of [CheckName].
	ErrBadName = errors.New("bad name")

	// ErrBody: the payload of a control frame is not what its kind says. The frame can be skipped.
	ErrBody = errors.New("bad body of a control frame")

	// ErrValue: a Go value that cannot travel, or bytes that are no value.
	ErrValue = errors.New("bad value")

	// ErrPacking: a payload cannot be packed or unpacked.
	ErrPacking = errors.New("payload cannot be packed or unpacked")

	// ErrNoCommonTransform: one side requires a transform that the other does not take.
	ErrNoCommonTransform = errors.New("no common transform: a required one is missing at the other side")
)
