// Package relay is the star of a mesh: both ends of a link, its handshake and
// secure channel, and the hub that routes frames between links by name.
//
// A [Hub] listens; [Dial] makes a [Link] to one. The hub's own node is tied in
// by an [Attachment], without a socket. To the node above, both are a [Port].
// The package knows nothing of members, gossip or election: it is told when to
// reign and when to resign. The wire is written down in codec/WIRE.md.
//
// # The route of a frame
//
//  1. Port.Write puts whole frames into the link's outbox (outbox.go).
//  2. The outbox's writer, started when there is something to write and gone
//     when there is not, sends all that is pending in one write.
//  3. The hub's reader for that link takes whatever one read brought
//     (inbuf.go) and walks over the headers (router.go).
//  4. Consecutive frames for one name form a run. A run goes untouched into
//     that name's outbox: copied, or if it is most of what was read, with the
//     memory that it was read into (memory.go). What does not fit is dropped,
//     counted by reason, and reported to the sender.
//  5. When everything read is routed, each outbox that was filled is woken
//     once. If all of it was one run for an idle link, the reader tries to
//     write it itself, without waiting: neither a copy nor a wake-up.
//  6. The outbox's writer sends all that is pending in one write.
//  7. The receiving link's reader hands each frame to the [Handler]: Run, or
//     who waits in Await or Visit for what comes (reading.go).
//
// With a secret, records lie between the outboxes and the sockets (packing.go, records.go).
// Long payloads are sealed there by the link that sends them, and opened by the
// port that receives them; on the way they are bytes like any others.
//
// # Goroutines
//
// On the hub: one for each Serve, one per connection (its handshake, then its
// reader), one writer per link while there is something to write, one wheel
// for all clocks. On a link: Run (the caller's goroutine) reads, or stands by
// while a caller of Await or Visit does; a pulse pings, a writer while there is
// something to write. On an attachment: Run hands over what came; a goroutine
// gives turns to those who write much, while somebody asks for one. A reader owns its writer and returns only after it has
// gone; Hub.Close, Link.Close and Attachment.Run wait for all.
//
// # Locks
//
// Hub.mu, then router.mu, then outbox.mu; reading.mu and Attachment.turnMu alone. No lock is held while calling a
// Handler, Admit, Foreign, or anything that can wait. Two links that
// route to each other hold one outbox lock at a time, so they cannot deadlock,
// and no reader ever waits for a writer.
package relay
