package mesh

import (
	"context"
	"fmt"
	"iter"
)

// All is the count of Get for everything there is.
const All = -1

// Get takes up to count messages from the inbox, newest first, without waiting; count < 0 (All): all there are. It gives nil when
// there is none. Get, Receive, Messages and Batches take from one inbox: each message goes to one of them, once.
func (n *Node) Get(count int) []Message { return n.in.get(count) }

// Receive takes the oldest message from the inbox, and waits for one if there is none. The error is ctx's, or the node's
// once it has ended and the inbox is empty.
func (n *Node) Receive(ctx context.Context) (Message, error) {
	var m Message
	if err := n.in.receive(ctx, &m); err != nil {
		return Message{}, fmt.Errorf("receive: %w", err)
	}
	return m, nil
}

// Messages takes messages from the inbox as they come, oldest first, until ctx or the node ends. Breaking out of the loop
// leaves the rest where they are.
func (n *Node) Messages(ctx context.Context) iter.Seq[Message] {
	return func(yield func(Message) bool) {
		var m Message
		for n.in.receive(ctx, &m) == nil && yield(m) {
		}
	}
}

// Batches takes messages as Messages does, some at a time: what is at hand, up to 64. It is for who takes millions a second: the
// messages of a batch are only lent. The slice, and what Message.Bytes gives, are valid until the loop asks for the next
// batch; their memory is then used again. What is to be kept longer is kept with Message.Clone; what Text, Value and Decode give
// is a copy as always. All of a batch counts as taken at once, for UntilTaken too. Breaking out of the loop leaves the rest
// where they are. Who sends to the node's own name from within the loop gives it a ctx that ends: only the loop makes room for it.
func (n *Node) Batches(ctx context.Context) iter.Seq[[]Message] {
	return func(yield func([]Message) bool) {
		n.in.batches.Add(1)
		defer n.in.batches.Add(-1)
		lent := batch{messages: make([]Message, 0, batchMost)}
		for n.in.receiveBatch(ctx, &lent) == nil && yield(lent.messages) {
			lent.giveBack()
		}
	}
}
