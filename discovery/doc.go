// Package discovery tells a node who else is there and alive, as facts: no election, no links, no messages.
//
// Two sources feed it. mDNS finds nodes on the same link without any address being configured: every node answers
// and announces a DNS-SD service (RFC 6762, RFC 6763) and browses for others for as long as it lives. Gossip
// (memberlist) then tells which of them are alive, carries what each says of itself, and also reaches nodes beyond
// the link through seeds. What mDNS finds is joined by gossip, so meshes that started apart become one.
//
// # One port
//
// A node has one port number for everything: gossip packets (UDP), gossip streams and links (TCP). The owner of the
// TCP listener looks at the first byte of a connection; StreamByte means gossip, and the connection goes to
// HandleStream. So the address of any node is good for all purposes, and a seed is simply "host:port".
//
// # In DNS
//
//	_ultrasockets._tcp.local.                  PTR  <instance>._ultrasockets._tcp.local.
//	<instance>._ultrasockets._tcp.local.       SRV  <port> <instance>.local.
//	<instance>._ultrasockets._tcp.local.       TXT  v=1 mesh=<hash> [relay=1 term=<n>]
//	<instance>.local.                          A, AAAA: the addresses of the interface that is answered on
//
// instance is the instance ID in 16 hexadecimal digits, hash the first 16 hexadecimal digits of the SHA-256 of the
// mesh's name. Names of nodes and meshes are told in gossip and handshakes, not in DNS. There is one responder for
// each interface and IP family, and every packet names its interface and source address: the machine's default
// interface and routes are never relied on, and a node bound to loopback sends nothing elsewhere.
//
// # What to believe
//
// Without a key anybody on the network can say anything: a Node is where to knock, not who will open. With a key,
// gossip is encrypted and what does not decrypt is dropped, while mDNS stays in the clear: a Hint is then still
// only a hint. What a host says of itself (its packet comes from an address that it names) goes before what it says of
// others, which a forger does: such hearsay moves or ends nobody who speaks for itself. Everything
// that strangers can make grow is bounded: 1,024 hints, 4,096 members, 8 addresses of each.
package discovery
