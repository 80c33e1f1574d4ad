// Package mesh gives every device on a LAN a name and sends anything to any name.
//
//	node, err := mesh.Join(ctx, mesh.Config{Name: "pc1"})
//	...
//	node.Send(ctx, "pc2", map[string]any{"temperature": 21.5})
//	for m := range node.Messages(ctx) {
//		fmt.Println(m.From, m.Value())
//	}
//
// Join needs no address: nodes find each other by multicast DNS, gossip tells who is alive, and one of them, configured
// or elected, is the relay through which all messages go; every other node keeps one TCP link to it. Listen and Dial
// make a static star instead, as the Python package UltraSockets had it. All three give a *Node, which looks the same
// whatever it is at the moment.
//
// # What is promised
//
// Messages from one node to another arrive in order and exactly once, as long as both programs run, across any number of
// relays that come and go. The ends keep what is needed for that; losing a relay loses nothing. A message for a name that
// is not here is kept for Config.Retention, then given up and reported: delivered and undelivered together are
// everything. A receiver that restarts gets what its former instance had not acknowledged; what that one had acknowledged
// and its application had not processed is lost with it, and what it had processed and not yet acknowledged arrives again.
// Best-effort messages (BestEffort) are promised nothing.
//
// # The way of one message
//
//  1. Node.Send encodes the value and hands it to the stream towards that name (send.go)
//  2. the stream's sender cuts, numbers, keeps until acknowledged, packs what the window allows (sender.go, entry.go,
//     hear.go, outbound.go)
//  3. and gives it to the link, whose writer sends everything pending in one write (pump.go, package relay)
//  4. to 6. the relay's reader, router and outbox pass it on, untouched (package relay)
//  7. whoever reads the receiving link, its reader or who waits for what comes, hands each frame to the stream's receiver,
//     which checks, orders, drops repeats, unpacks and acknowledges (session.go, inbound.go, intake.go, receiver.go, grant.go)
//  8. the inbox; Node.Get, Receive, Messages or Batches takes it (inbox.go, parcel.go, receive.go)
//
// What is pure (sender, receiver, intake, inbox, election, standing) has no goroutine, no clock and no lock; outbound,
// inbound and uplink are the shells that have.
package mesh
