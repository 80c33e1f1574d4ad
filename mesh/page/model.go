package page

import "time"

// What is served under /api/. Times are RFC 3339, durations seconds, sizes bytes; counters begin with the node, those of
// handovers and of what was not delivered with the page.

// Whole is /api/: everything.
type Whole struct {
	Status  Status  `json:"status"`
	Nodes   Nodes   `json:"nodes"`
	Streams Streams `json:"streams"`
	Log     []Event `json:"log"`
	Reigns  []Reign `json:"reigns"`
	History []Point `json:"history"`
}

// Status is /api/status: what this node holds and counts.
type Status struct {
	Serial    uint64    `json:"serial"` // of the sample
	Time      time.Time `json:"time"`   // of the sample
	Node      string    `json:"node"`
	Mesh      string    `json:"mesh"`
	Relay     string    `json:"relay"` // "": there is none
	Self      bool      `json:"self"`  // this node is the relay
	Linked    bool      `json:"linked"`
	Paused    bool      `json:"paused"`
	Term      uint32    `json:"term"`                          // of the relay's reign
	RoundTrip *float64  `json:"relay_round_trip_seconds"`      // null: not measured, or this node is the relay
	Handover  *float64  `json:"longest_without_relay_seconds"` // null: there always was one
	Handovers uint64    `json:"handovers"`                     // to another relay than the last
	Listeners int       `json:"page_listeners"`
	Problems  []string  `json:"problems"` // a sentence each: what keeps this node from finding others

	Nodes struct {
		Ready  int `json:"ready"`
		Paused int `json:"paused"`
	} `json:"nodes"`
	RatedAt  time.Time `json:"rated_at"` // when the rates were counted
	Rates    Rates     `json:"rates"`
	Messages Messages  `json:"messages"`
	Inbox    struct {
		Messages int `json:"messages"`
		Bytes    int `json:"bytes"`
		Limit    int `json:"limit_bytes"`
		Granted  int `json:"granted_bytes"` // that senders may send and have not
	} `json:"inbox"`
	Queue struct {
		Messages int `json:"messages"` // to all names, not acknowledged
		Bytes    int `json:"bytes"`
		InFlight int `json:"in_flight_bytes"`
		Window   int `json:"window_bytes"`
	} `json:"queue"`
	Sent struct {
		Frames uint64 `json:"frames"`
		Resent uint64 `json:"resent_frames"`
		Probes uint64 `json:"probes"`
		Busy   uint64 `json:"busy_answers"`
		Resets uint64 `json:"reset_answers"`
	} `json:"sent"`
	Received struct {
		Frames  uint64            `json:"frames"`
		Gaps    uint64            `json:"gaps"`
		Dropped map[string]uint64 `json:"dropped"` // by reason
	} `json:"received"`
	AsRelay *AsRelay `json:"as_relay"` // null: another node is the relay, and only that one knows
}

// Rates are per second, since the sample of a second before.
type Rates struct {
	Sent      float64  `json:"sent"`      // messages
	Received  float64  `json:"received"`  // messages
	Forwarded *float64 `json:"forwarded"` // frames; null: this node is not the relay
}

// Messages count those on streams to and from other nodes.
type Messages struct {
	Sent        uint64            `json:"sent"`
	Received    uint64            `json:"received"`
	Undelivered map[string]uint64 `json:"undelivered"` // by reason
}

// AsRelay is what a node counts as the relay.
type AsRelay struct {
	Links           int               `json:"links"`
	Visitors        int               `json:"visitors"`
	Pending         int               `json:"pending_handshakes"`
	OutboxBytes     int64             `json:"outbox_bytes"`
	ReceivedFrames  uint64            `json:"received_frames"`
	ReceivedBytes   uint64            `json:"received_bytes"`
	ForwardedFrames uint64            `json:"forwarded_frames"`
	ForwardedBytes  uint64            `json:"forwarded_bytes"`
	Connections     uint64            `json:"connections"`
	Admitted        uint64            `json:"admitted"`
	LostLinks       uint64            `json:"lost_links"`
	ProtocolErrors  uint64            `json:"protocol_errors"`
	Slowed          uint64            `json:"slowed"`
	Dropped         map[string]uint64 `json:"dropped"`     // frames, by reason
	Refused         map[string]uint64 `json:"refused"`     // nodes, by reason
	TurnedAway      map[string]uint64 `json:"turned_away"` // connections, by reason
}

// Nodes is /api/nodes: who is here, in the order of their names.
type Nodes struct {
	List []Node `json:"list"`
	More int    `json:"more"` // how many are here beside those listed
}

// Node is one node of the mesh, as the relay lists it.
type Node struct {
	Name      string            `json:"name"`
	Role      string            `json:"role"`
	State     string            `json:"state"`
	Addr      string            `json:"addr"`
	RoundTrip *float64          `json:"round_trip_seconds"` // null: not measured
	Tags      map[string]string `json:"tags"`
	Groups    []string          `json:"groups"`
	Relay     bool              `json:"relay"`
	Self      bool              `json:"self"`
}

// Streams is /api/streams: what waits for which name, those with the most first.
type Streams struct {
	List []Stream `json:"list"`
	More int      `json:"more"` // how many there are beside those listed
}

// Stream is what is known of the streams to and from one name.
type Stream struct {
	Name     string `json:"name"`
	Messages int    `json:"messages"` // queued, not acknowledged
	Bytes    int    `json:"bytes"`
	InFlight int    `json:"in_flight_bytes"`
	Window   int    `json:"window_bytes"`  // that may be in flight; 0: nothing is granted yet, or any more
	Granted  int    `json:"granted_bytes"` // that it may send to here and has not
	Absent   bool   `json:"absent"`        // nobody of that name is here
}

// Event is something that happened.
type Event struct {
	ID   uint64    `json:"id"`
	Time time.Time `json:"time"`
	Kind string    `json:"kind"` // as in mesh.EventKind
	Name string    `json:"name"`
	Text string    `json:"text"` // a sentence
}

// Reign is the time of one relay.
type Reign struct {
	Relay string     `json:"relay"`
	Self  bool       `json:"self"`
	Term  uint32     `json:"term"`
	Since time.Time  `json:"since"`
	Until *time.Time `json:"until"` // null: it goes on
	// Gap is how long there was no relay before it; null: it is the first that was seen.
	Gap    *float64 `json:"gap_seconds"`
	Reason string   `json:"reason"` // why it ended
}

// Point is a moment of the history.
type Point struct {
	Time time.Time `json:"time"`
	Rates
}

// Outcome is the answer to POST /api/send.
type Outcome struct {
	Outcome string `json:"outcome"` // "delivered", "queued" or "failed"
	Text    string `json:"text"`    // a sentence
}
