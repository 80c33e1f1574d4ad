package mesh

import (
	"context"
	"fmt"
)

// Answer is the reply to come to a request that was begun with Ask. Wait is to be called, once; until then the node
// keeps the request.
type Answer struct {
	q    *requests
	a    *asked
	id   uint64
	lost *receipt // of the request itself; nil: to the node itself
}

// Ask begins a request and returns when it is queued, as Send does; Wait gives what Request gives. Requests that one
// goroutine begins one after another reach their receiver in that order, and its handlers are started in it; so a
// program may have several under way and keep their order. Errors: ErrNoPeer at once, and those of Send.
func (n *Node) Ask(ctx context.Context, to string, value any) (*Answer, error) {
	a, err := n.asks.begin(ctx, to, value)
	if err != nil {
		return nil, fmt.Errorf("request to %q: %w", to, err)
	}
	return a, nil
}

// Wait waits for the reply. Errors: as those of Request. If ctx ends first the request may still be handled; its reply
// is dropped.
func (a *Answer) Wait(ctx context.Context) (Message, error) {
	m, err := a.wait(ctx)
	if err != nil {
		return Message{}, fmt.Errorf("request to %q: %w", a.a.to, err)
	}
	return m, nil
}

func (a *Answer) wait(ctx context.Context) (Message, error) {
	defer a.q.forget(a.id)
	return a.q.await(ctx, a.a, a.lost)
}

// forget ends the wait for a reply.
func (q *requests) forget(id uint64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	delete(q.waiting, id)
}
