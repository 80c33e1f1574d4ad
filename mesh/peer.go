package mesh

import (
	"time"

	"ultrasockets/codec"
)

// Role says whether a node may be the relay.
type Role = codec.Role

const (
	RoleAuto   = codec.RoleAuto   // may be elected (the default)
	RoleServer = codec.RoleServer // is the relay, before all others
	RolePeer   = codec.RolePeer   // never is
)

// State says whether a node takes messages at the moment.
type State = codec.State

const (
	StateReady  = codec.StateReady
	StatePaused = codec.StatePaused // it called Pause; what is sent to it is held by the senders
)

// Peer is one node of the mesh, this one included, as the relay lists it.
type Peer struct {
	Name   string
	Role   Role
	State  State
	Addr   string        // where it listens: good as a seed; of light nodes and RolePeer: of its link, as the relay sees it
	RTT    time.Duration // to the relay and back for the relay, through it for others once measured by Ping; 0: not measured
	Tags   map[string]string
	Groups []string
	Relay  bool // it is the relay
	Self   bool // it is this node
}

// Problems says, a sentence each with the mend, what keeps this node from finding others: multicast without a route, a
// port in use, no interface. Empty when all is well, or nothing is looked for.
func (n *Node) Problems() []string {
	if n.disc == nil {
		return nil
	}
	var out []string
	for _, p := range n.disc.Problems() {
		out = append(out, p.Text)
	}
	return out
}
