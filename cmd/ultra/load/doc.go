// Package load drives messages through another process and measures it: workloads as values, and the loops that run them.
//
// What is compared (a mesh, a bare TCP forwarder, another broker) only says how one message is sent, taken or asked
// for: a [Way]. The loops, the payloads and the counting are the same for all, so that what differs is the way alone.
// Nothing here knows of packages mesh or relay; ultra bench and the comparison with NATS both import it.
//
//   - work.go: the workloads; source.go: what is sent; tally.go: what arrived
//   - way.go: what a way has to offer, help.go: help with that; run.go and idle.go: one round of a workload over a way
//   - measure.go: what a round gives, and what several give together
//   - usage.go: what this process costs; peer.go: the process in between, asked for it over a pipe
//   - side.go: a way that is opened as needed, here or in another program
package load
