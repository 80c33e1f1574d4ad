package mesh

import (
	"errors"
	"fmt"

	"ultrasockets/codec"
	"ultrasockets/relay"
)

// Errors that a caller may want to tell apart, with errors.Is. Each comes wrapped once, with the operation and the name.
var (
	// ErrClosed: this node was closed, or put out of the mesh; Join again.
	ErrClosed = errors.New("the node is closed")
	// ErrNameTaken: another node of the mesh has this name, or a new relay keeps it some seconds for who had it before.
	ErrNameTaken = errors.New("the name is taken; choose another name or stop the node that has it")
	// ErrMeshFull: the server takes no more nodes; raise its Connections.
	ErrMeshFull = errors.New("the mesh is full; raise Connections on its server")
	// ErrNoPeer: no node of that name is here.
	ErrNoPeer = errors.New("no node of that name is here")
	// ErrNoRelay: no relay of the mesh was found or could be reached in time.
	ErrNoRelay = errors.New("no relay of the mesh was found")
	// ErrPaused: the receiver has paused; what was sent is held for it until it resumes.
	ErrPaused = errors.New("the receiver is paused; it gets what was sent when it resumes")
	// ErrTooLarge: the message is larger than MaxMessage here or at the receiver, or than one frame if sent best effort.
	ErrTooLarge = errors.New("the message is too large; send less at a time or raise MaxMessage on both sides")
	// ErrExpired: the receiver did not come within Retention.
	ErrExpired = errors.New("the receiver was not here within Retention")
	// ErrTooManyNames: messages to 65,536 names are held; wait until some are delivered or given up.
	ErrTooManyNames = errors.New("messages to too many names are held; wait until some are delivered or given up")
	// ErrUnsupported: the receiver cannot read what was sent.
	ErrUnsupported = errors.New("the receiver does not support what was sent; bring both nodes to the same version")
	// ErrValue: the value cannot be carried as CBOR.
	ErrValue = codec.ErrValue
	// ErrNoCommonTransform: a transform that one side requires is missing on the other.
	ErrNoCommonTransform = codec.ErrNoCommonTransform
	// ErrBadName: a name of a node, group or mesh breaks the rules.
	ErrBadName = codec.ErrBadName
	// ErrBadConfig: another field of Config is not usable.
	ErrBadConfig = errors.New("unusable configuration")
	// ErrVersion: the relay speaks another version of the wire.
	ErrVersion = relay.ErrVersion
	// ErrWrongMesh: the relay belongs to another mesh.
	ErrWrongMesh = errors.New("that relay belongs to another mesh; check the mesh names")
	// ErrWrongSecret: the mesh has another secret, has one where this node has none, or has none where this node has one.
	ErrWrongSecret = errors.New("the secrets of this node and of the mesh differ; Config.Secret is to be the same on all its nodes")
	// ErrNotARelay: what listens at that address does not speak UltraSockets.
	ErrNotARelay = relay.ErrNotARelay
	// ErrNotAdmitted: the mesh's own rule refused this node.
	ErrNotAdmitted = errors.New("the mesh did not admit this node")
	// ErrBadHello: the relay could not use what this node said of itself.
	ErrBadHello = errors.New("the relay did not understand this node; bring both to the same version")
	// ErrNoHandler: the receiver of a request handles none; register one there with Handle.
	ErrNoHandler = errors.New("the receiver handles no requests; register a handler there with Handle")
	// ErrOutcomeUnknown: the receiver of a request was replaced or lost while it was pending; it may have been handled or not.
	ErrOutcomeUnknown = errors.New("the receiver was lost or restarted while the request was pending; it may have been handled")
)

// UndeliveredError tells of messages to one name that were given up. Delivered and undelivered together are everything
// that was sent.
type UndeliveredError struct {
	To     string // the name
	Count  int    // messages given up
	Unsent int    // how many of them were never put on a link; the outcome of the others is unknown
	Reason error  // ErrExpired, ErrTooLarge, ErrUnsupported, ErrNoCommonTransform or ErrClosed
}

func (e *UndeliveredError) Error() string {
	s := "s"
	if e.Count == 1 {
		s = ""
	}
	return fmt.Sprintf("%d message%s to %q undelivered: %v", e.Count, s, e.To, e.Reason)
}

// Unwrap gives the reason.
func (e *UndeliveredError) Unwrap() error { return e.Reason }

// RemoteError is the error of a handler on another node, as its text.
type RemoteError struct {
	From string // the node whose handler failed
	Text string
}

func (e *RemoteError) Error() string { return fmt.Sprintf("%s: %s", e.From, e.Text) }

// refusalError turns what ended a dial into this package's errors.
func refusalError(err error) error {
	var r *codec.Refusal
	switch {
	case err == nil:
		return nil
	case errors.As(err, &r):
		if s := refusalSentinel(r.Code); s != nil {
			return fmt.Errorf("%w (%s)", s, r.Text)
		}
	case errors.Is(err, relay.ErrSecretNeeded), errors.Is(err, relay.ErrNoSecret), errors.Is(err, relay.ErrWrongSecret):
		return fmt.Errorf("%w: %w", ErrWrongSecret, err)
	}
	return err
}

func refusalSentinel(c codec.RefusalCode) error {
	switch c {
	case codec.RefuseMesh:
		return ErrWrongMesh
	case codec.RefuseNameTaken, codec.RefuseNameKept:
		return ErrNameTaken
	case codec.RefuseMeshFull:
		return ErrMeshFull
	case codec.RefuseBadName:
		return ErrBadName
	case codec.RefuseBadHello:
		return ErrBadHello
	case codec.RefuseRule:
		return ErrNotAdmitted
	}
	return nil
}
