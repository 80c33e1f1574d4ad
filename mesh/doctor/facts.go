package doctor

import "time"

// Facts is what was gathered, before any judgement. Its JSON is what `ultra doctor --json` prints; lists are never null.
type Facts struct {
	Mesh       string         `json:"mesh"` // "": whatever mesh answers at Hostname
	Secret     bool           `json:"secret"`
	Bind       string         `json:"bind"`
	Hostname   string         `json:"hostname"` // if set, only the link to it was examined
	NoMDNS     bool           `json:"no_mdns"`
	Seeds      []Seed         `json:"seeds"`
	Wire       int            `json:"wire"`      // the version of the wire that is spoken here
	System     string         `json:"system"`    // such as linux/amd64
	Container  bool           `json:"container"` // this program runs in a container
	Interfaces []Interface    `json:"interfaces"`
	Multicast  MulticastRoute `json:"multicast_route"`
	Port5353   []string       `json:"port_5353"` // who has UDP port 5353 open, as far as the system tells
	MDNS       []Channel      `json:"mdns"`
	Nodes      []Node         `json:"nodes"`      // at most 64
	Unexamined int            `json:"unexamined"` // nodes heard beyond those
	Unfinished int            `json:"unfinished"` // nodes for which the time was too short
	Relay      string         `json:"relay"`      // name of the relay that gave a link; "": none did
	Listed     []string       `json:"listed"`     // names of the nodes that it lists, at most 64
	ListedAll  int            `json:"listed_all"` // how many it lists
	Clock      Clock          `json:"clock"`
}

// Seed is one of Config.Seeds.
type Seed struct {
	Seed  string   `json:"seed"`
	Addrs []string `json:"addrs"`
	Error string   `json:"error"` // why it has no address
}

// Interface is one network interface.
type Interface struct {
	Name      string   `json:"name"`
	Kind      string   `json:"kind"` // lan, loopback, vpn or container
	Up        bool     `json:"up"`
	Multicast bool     `json:"multicast"`
	Used      bool     `json:"used"` // a node works on it
	Addrs     []string `json:"addrs"`
}

// MulticastRoute is where the system sends multicast DNS of a program that names no interface.
type MulticastRoute struct {
	Interface string `json:"interface"` // "" if there is none, or it was not asked
	Error     string `json:"error"`
}

// Channel is multicast DNS on one interface in one IP family.
type Channel struct {
	Interface string `json:"interface"`
	IPv6      bool   `json:"ipv6"`
	PortError string `json:"port_error"` // why port 5353 cannot be shared
	SendError string `json:"send_error"` // why no question can be sent
	Echo      bool   `json:"echo"`       // an own question was heard, as every multicast is on its own machine
	Packets   int    `json:"packets"`    // of others, of any service
}

// Node is one node that was heard of.
type Node struct {
	Name       string   `json:"name"`     // "" if no relay told
	Instance   string   `json:"instance"` // as in DNS; "" if only its address is known
	Source     string   `json:"source"`   // one of the Source constants
	Ours       bool     `json:"ours"`     // it is in the mesh that is examined, as far as it says
	Mesh       string   `json:"mesh"`     // of others: the name if they told, else the hash of it in DNS
	Version    string   `json:"version"`  // of the wire; "" if it was not told
	Relay      bool     `json:"relay"`    // it says it is the relay
	Here       bool     `json:"here"`     // it is on this machine
	Addrs      []string `json:"addrs"`
	Interfaces []string `json:"interfaces"` // on which it was heard by mDNS
	Route      Route    `json:"route"`
	Link       Link     `json:"link"`
	GossipUDP  Probe    `json:"gossip_udp"`
	GossipTCP  Probe    `json:"gossip_tcp"`
}

// How a node was found.
const (
	SourceMDNS     = "mdns"
	SourceSeed     = "seed"
	SourceReferral = "referral" // another node named it as the relay
	SourceListed   = "listed"   // the relay lists it
	SourceHostname = "hostname"
)

// Route is where the system sends what goes to a node.
type Route struct {
	Interface string `json:"interface"` // whose address it goes from; "" if none, or not asked
	Error     string `json:"error"`
}

// Link is how dialling a node ended.
type Link struct {
	State LinkState `json:"state"`
	Addr  string    `json:"addr"`  // the address that answered; else the first tried
	MS    float64   `json:"ms"`    // milliseconds from the first packet to the verdict
	Relay string    `json:"relay"` // the relay that the node named
	Error string    `json:"error"`

	referral []string // addresses of the relay that the node named
}

// LinkState is the outcome of dialling a node.
type LinkState string

const (
	LinkUntried      LinkState = ""              // not dialled
	LinkWelcome      LinkState = "welcome"       // it is the relay, and gave a link
	LinkReferred     LinkState = "referred"      // it is not the relay, and named who is
	LinkSeeking      LinkState = "seeking"       // it is not the relay, and knows none at the moment
	LinkWrongMesh    LinkState = "wrong-mesh"    // it is in another mesh
	LinkSecretNeeded LinkState = "secret-needed" // its mesh has a secret, and none was given
	LinkNoSecret     LinkState = "no-secret"     // its mesh has no secret, and one was given
	LinkWrongSecret  LinkState = "wrong-secret"  // the secrets differ
	LinkVersion      LinkState = "version"       // it speaks another version of the wire
	LinkStranger     LinkState = "stranger"      // something else listens there
	LinkNotAdmitted  LinkState = "not-admitted"  // the mesh's own rule refused a visitor
	LinkSilent       LinkState = "silent"        // it took the connection, and gave no verdict
	LinkRefused      LinkState = "refused"       // nothing takes a connection there
	LinkTimeout      LinkState = "timeout"       // the connection was not answered
)

// proven tells that the node is of this mesh and secret, and that a link to it works.
func (s LinkState) proven() bool { return s == LinkWelcome || s == LinkReferred || s == LinkSeeking }

// cut tells that no connection came about.
func (s LinkState) cut() bool { return s == LinkRefused || s == LinkTimeout }

// Probe is whether a node's gossip answered.
type Probe struct {
	State ProbeState `json:"state"`
	MS    float64    `json:"ms"` // round trip in milliseconds
	Error string     `json:"error"`
}

// ProbeState is the outcome of a Probe.
type ProbeState string

const (
	ProbeUntried ProbeState = ""
	ProbeOK      ProbeState = "ok"
	ProbeSilent  ProbeState = "silent" // no answer, or one that is not of this mesh's gossip
)

// Clock is what the time of day did meanwhile. Nodes need not agree on it, and nothing on the wire tells theirs.
type Clock struct {
	Now    time.Time `json:"now"`
	JumpMS int64     `json:"jump_ms"` // how far it went more than the time that passed
}
