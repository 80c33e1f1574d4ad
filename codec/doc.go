// Package codec turns what UltraSockets nodes say to each other into bytes, and bytes back into meaning: frames, the
// bodies of control frames, values and transforms. It opens no sockets, starts no goroutines and reads no clocks.
//
// The wire is written down in WIRE.md beside this file; the golden bytes in testdata/frames and testdata/values are its
// examples. The package has four layers, and each can be read by itself:
//
//   - [Frame], [Raw] and [Next]: the unit on a link. Nothing here allocates.
//   - [Preamble] and the bodies ([Hello], [Welcome], [Refusal], [Bye], [Roster], [Update], [Ack], [Reset], [Unreachable]):
//     each has a struct, an Append and a Parse.
//   - [AppendValue] and [DecodeValue]: any Go value as one CBOR data item, and back.
//   - [Transform], [Packer] and [Unpacker]: reversible changes of payloads, and the policy of when to use them.
//
// # Bytes
//
// Append functions append to their first argument and return the extended slice, as the built-in append does. Parse
// functions copy what they return and keep nothing of their input; [Next], the accessors of [Raw] and [AsBytes] return
// parts of their input instead, and say so.
//
// # Errors
//
// Whatever arrives is checked before it is believed: a parser allocates no more than a small multiple of its input, and
// returns an error that wraps one of the sentinels of this package. Append functions panic only on what no caller can
// mean, such as a name of more than [MaxName] bytes in a frame.
//
// # Concurrency
//
// All functions may be called at the same time. Of the types, only [Packer] has state that changes in use; it says so.
package codec
