package mesh

import (
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"time"

	"golang.org/x/crypto/argon2"

	"ultrasockets/codec"
	"ultrasockets/discovery"
	"ultrasockets/relay"
)

// Defaults of Config.
const (
	DefaultMesh        = "default"
	DefaultRetention   = time.Minute
	DefaultInboxBytes  = 16 << 20
	DefaultSendBytes   = 4 << 20
	DefaultOutboxBytes = 8 << 20
	DefaultMaxMessage  = codec.DefaultMaxMessage // 64 MiB
	// SecretSize is the length of Config.Secret in bytes.
	SecretSize = 32

	minHeartbeat = 50 * time.Millisecond
	maxHeartbeat = time.Hour // as the wire has it
)

// Config says who a node is and how it takes part. Only Name is needed. A Config is copied; its maps and slices must not
// change while Join, Listen or Dial runs.
type Config struct {
	// Name of the node, unique in its mesh: 1 to 64 bytes of letters, digits, '.', '_' and '-', not beginning with '-'.
	Name string
	// Mesh is the name of the mesh; empty: "default" (Join, Listen), or whatever mesh answers (Dial).
	Mesh string
	// Role: may this node become the relay? RoleAuto (may be elected), RoleServer (is it, before all others) or
	// RolePeer (never). Join only.
	Role Role
	// Connections, on a server: the exact number of other nodes it takes; one more is refused with ErrMeshFull. 0: any.
	Connections int
	// Bind is the IP address that everything stays on ("127.0.0.1": this machine only); empty: all usable interfaces.
	Bind string
	// Listen is the "host:port" of this node's one port, where its relay listens if it becomes one, and where gossip goes.
	// Empty: Bind and a free port. Join only.
	Listen string
	// Seeds are "host:port" of any other nodes, for networks without multicast. Join, and Dial beside its own address.
	Seeds []string
	// NoMDNS keeps this node from using multicast: then only Seeds lead to others. Join only.
	NoMDNS bool
	// Visitor: the node is not listed and not counted, never becomes the relay, and takes no part in gossip.
	// For programs that come for a moment.
	Visitor bool
	// Secret of the mesh: SecretSize bytes, the same on all its nodes; links and gossip are encrypted with keys from it.
	// nil: an open mesh. Empty but not nil is an error. See NewSecret, LoadSecret and Passphrase.
	Secret []byte
	// OldSecrets are accepted too, and tried when a relay has another Secret, while a mesh changes keys without
	// stopping; at most 4. The steps, each finished on all nodes before the next begins: Secret old with OldSecrets {new};
	// Secret new with OldSecrets {old}; Secret new alone.
	OldSecrets [][]byte
	// Admit, if set, may refuse a node that wants to join while this one is the relay: its error's sentence is told to the node,
	// which gives up with ErrNotAdmitted. For lists of names, and rules of an application's own. Called concurrently.
	Admit func(codec.Hello) error
	// Rate slows down links that send more, while this node is the relay. The zero value limits nothing.
	Rate Rate
	// Transforms in the order in which they are applied to what is sent to this node. nil: codec.Snappy.
	// A list is the whole list; an empty one that is not nil: none. At most 8.
	Transforms []codec.Transform
	// Tags are shown to all others. Tags and Groups together must fit into a Hello (4 KiB).
	Tags map[string]string
	// Groups this node is in: what is sent to ToGroup of one of them reaches it. At most 64.
	Groups []string
	// Retention is how long messages for a name that is not here are kept. Default 1 minute, at most 5.
	Retention time.Duration
	// InboxBytes bounds what arrived and was not taken, each message counting 96 bytes more than its length; small ones
	// that came together count 96 bytes once.
	// While a loop over Batches runs, long frames stay where they were read, and each such read counts 128 KiB more. Default 16 MiB. It is exceeded
	// by one message at most, which had begun to arrive when the last room went, or is larger than it, by one reply on its way, by one that
	// this node sends to itself, and by the last frame that fits.
	InboxBytes int
	// SendBytes bounds what is queued and not acknowledged towards one name, counted likewise. Default 4 MiB:
	// more would only lie in memory, cold, on any link that a LAN has.
	// A message larger than it is taken when nothing else is queued.
	SendBytes int
	// OutboxBytes bounds what the relay, if this node is it, holds for each link that reads slower than others send to it.
	// All senders to one node together have at most half of it under way, and no more than 2 MiB or what the node takes in
	// 20 ms. Default 8 MiB; at least 64 KiB, at most 1 GiB.
	// All outboxes together never hold more than 256 MiB. Memory for them may be twice that: what one read brought is kept as a whole.
	OutboxBytes int
	// MaxMessage is the largest message, in encoded bytes, that this node sends and takes. Default 64 MiB.
	MaxMessage int
	// Heartbeat of the relay, if this node becomes it. Default 1 s up to 500 links, growing in proportion beyond; at least
	// 50 ms, at most 1 hour.
	// A link on which nothing is read for three heartbeats is dead.
	Heartbeat time.Duration
	// Network is what the node listens on and dials through. nil: the machine's. See package meshtest.
	Network Network
	// Clock tells the time since any fixed moment, sleep of the machine included; it never goes back. nil: the machine's.
	// For tests.
	Clock func() time.Duration
	// Now tells the time of day, which is put on messages and events and used for nothing else. nil: time.Now.
	Now func() time.Time
	// Logger gets what happens, with the keys node, peer, relay, mesh and term. nil discards.
	Logger *slog.Logger
}

// Rate bounds what one link may send; see its fields.
type Rate = relay.Rate

// settings is a checked Config with everything filled in.
type settings struct {
	Config
	log      *slog.Logger
	unpacker *codec.Unpacker
	hello    codec.Hello // without Addrs
}

// NewSecret makes a random secret for Config.Secret.
func NewSecret() []byte {
	b := make([]byte, SecretSize)
	rand.Read(b) // never fails (crypto/rand)
	return b
}

// Passphrase derives a secret from a text that people can remember, and the name of the mesh. It takes about a tenth of
// a second and 64 MiB on purpose: Argon2id (RFC 9106) with one pass, 64 MiB and 4 lanes.
func Passphrase(text, mesh string) []byte {
	return argon2.IDKey([]byte(text), []byte("ultrasockets mesh "+mesh), 1, 64<<10, 4, SecretSize)
}

// check fills in the defaults and refuses what cannot work, with a sentence that says what to do.
func (c Config) check() (*settings, error) {
	s := &settings{Config: c, log: c.Logger}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	setDefault(&s.Retention, DefaultRetention)
	setDefault(&s.InboxBytes, DefaultInboxBytes)
	setDefault(&s.SendBytes, DefaultSendBytes)
	setDefault(&s.OutboxBytes, DefaultOutboxBytes)
	setDefault(&s.MaxMessage, DefaultMaxMessage)
	if s.Network == nil {
		s.Network = machine{}
	}
	if s.Now == nil {
		s.Now = time.Now
	}
	if s.Transforms == nil {
		s.Transforms = []codec.Transform{codec.Snappy()}
	}
	if err := codec.CheckName(c.Name); err != nil {
		return nil, fmt.Errorf("Config.Name: %w", err)
	}
	if c.Mesh != "" {
		if err := codec.CheckName(c.Mesh); err != nil {
			return nil, fmt.Errorf("Config.Mesh: %w", err)
		}
	}
	for _, g := range c.Groups {
		if err := codec.CheckName(g); err != nil {
			return nil, fmt.Errorf("Config.Groups: %w", err)
		}
	}
	if err := s.checkNumbers(); err != nil {
		return nil, err
	}
	if err := s.checkAddresses(); err != nil {
		return nil, err
	}
	if c.Secret != nil && len(c.Secret) != SecretSize {
		return nil, fmt.Errorf("%w: Config.Secret has %d bytes, not %d; make one with NewSecret, Passphrase or `ultra keygen`, and read it with LoadSecret", ErrBadConfig, len(c.Secret), SecretSize)
	}
	for _, old := range c.OldSecrets {
		if c.Secret == nil || len(old) != SecretSize || len(c.OldSecrets) > relay.MaxOldSecrets {
			return nil, fmt.Errorf("%w: Config.OldSecrets are at most %d secrets of %d bytes, beside a Config.Secret", ErrBadConfig, relay.MaxOldSecrets, SecretSize)
		}
	}
	if c.Rate.Messages < 0 || c.Rate.Bytes < 0 {
		return nil, fmt.Errorf("%w: Config.Rate is %+v; it must be positive, or 0 for no limit", ErrBadConfig, c.Rate)
	}
	var err error
	if s.unpacker, err = codec.NewUnpacker(s.Transforms); err != nil {
		return nil, fmt.Errorf("%w: Config.Transforms: %w", ErrBadConfig, err)
	}
	s.hello = s.newHello()
	if err := s.hello.Check(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBadConfig, err)
	}
	return s, nil
}

func setDefault[T int | time.Duration](v *T, def T) {
	if *v == 0 {
		*v = def
	}
}

func (s *settings) checkNumbers() error {
	switch {
	case s.Retention < 0 || s.Retention > maxRetention:
		return fmt.Errorf("%w: Config.Retention is %v; it must be between 0 (the default, %v) and %v", ErrBadConfig, s.Retention, DefaultRetention, maxRetention)
	case s.InboxBytes < codec.MaxFrame || s.SendBytes < codec.MaxFrame:
		return fmt.Errorf("%w: Config.InboxBytes and SendBytes must be at least %d (one frame), or 0 for the default", ErrBadConfig, codec.MaxFrame)
	case s.OutboxBytes < 64<<10 || s.OutboxBytes > 1<<30:
		return fmt.Errorf("%w: Config.OutboxBytes is %d; it must be between 64 KiB and 1 GiB, or 0 for the default", ErrBadConfig, s.OutboxBytes)
	case s.MaxMessage < 1 || s.MaxMessage > 1<<30:
		return fmt.Errorf("%w: Config.MaxMessage is %d; it must be between 1 and 1 GiB, or 0 for the default", ErrBadConfig, s.MaxMessage)
	case s.Heartbeat != 0 && (s.Heartbeat < minHeartbeat || s.Heartbeat > maxHeartbeat):
		return fmt.Errorf("%w: Config.Heartbeat is %v; it must be between %v and %v, or 0 for the default", ErrBadConfig, s.Heartbeat, minHeartbeat, maxHeartbeat)
	case s.Connections < 0:
		return fmt.Errorf("%w: Config.Connections is %d; it must be positive, or 0 for any number", ErrBadConfig, s.Connections)
	case s.Role > RolePeer:
		return fmt.Errorf("%w: Config.Role is %d; it must be RoleAuto, RoleServer or RolePeer", ErrBadConfig, s.Role)
	}
	return nil
}

func (s *settings) checkAddresses() error {
	if s.Bind != "" {
		if _, err := netip.ParseAddr(s.Bind); err != nil {
			return fmt.Errorf("%w: Config.Bind is %q; it must be an IP address such as 127.0.0.1", ErrBadConfig, s.Bind)
		}
	}
	if s.Listen == "" {
		s.Listen = net.JoinHostPort(s.Bind, "0")
	} else if _, err := splitHostname(s.Listen); err != nil {
		return fmt.Errorf("Config.Listen: %w", err)
	}
	for i, seed := range s.Seeds {
		if _, err := splitHostname(seed); err != nil {
			return fmt.Errorf("Config.Seeds[%d]: %w", i, err)
		}
	}
	return nil
}

// splitHostname checks a "host:port", also with the original's "tcp://" before it, and gives it without that.
func splitHostname(hostname string) (string, error) {
	addr := strings.TrimPrefix(hostname, "tcp://")
	host, port, err := net.SplitHostPort(addr)
	if err == nil && strings.ContainsFunc(host, func(r rune) bool { return r <= ' ' || r == '/' || r == 0x7f }) {
		err = fmt.Errorf("the host has a character that no host name has")
	}
	if err == nil {
		_, err = net.LookupPort("tcp", port)
	}
	if err == nil && port == "" {
		err = fmt.Errorf("the port is missing")
	}
	if err != nil {
		return "", fmt.Errorf("%w: %q is not \"host:port\", such as 192.168.1.5:7000 or [fe80::1]:7000: %w", ErrBadConfig, hostname, err)
	}
	return addr, nil
}

// newHello makes the Hello of this node, with a new instance and token.
func (s *settings) newHello() codec.Hello {
	var seed [24]byte
	rand.Read(seed[:])
	return codec.Hello{
		Mesh: s.Mesh, Name: s.Name, Instance: binary.BigEndian.Uint64(seed[:]) | 1, Token: seed[8:],
		Transforms: s.unpacker.Names(), Required: s.unpacker.Required(),
		Groups: s.Groups, Tags: s.Tags, MaxMessage: uint64(s.MaxMessage),
		WantsRoster: true, Visitor: s.Visitor, Role: s.Role,
	}
}

// discoveryRole is the same number under discovery's type, which knows nothing of codec's.
func discoveryRole(r Role) discovery.Role { return discovery.Role(r) }
