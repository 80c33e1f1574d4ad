package mesh

import "context"

// Values of an application's own types. Send takes them as they are; these give them back.

// As gives the value of a message as a T, as Decode does. The error wraps ErrValue; the T is then zero.
func As[T any](m Message) (T, error) {
	var v T
	if err := m.Decode(&v); err != nil {
		var none T
		return none, err
	}
	return v, nil
}

// ReceiveAs takes the oldest message from the inbox, as Receive does, and its value as a T. A message whose value is no T is
// not lost: it is given too, with an error that wraps ErrValue. With any other error there is no message.
func ReceiveAs[T any](ctx context.Context, n *Node) (T, Message, error) {
	m, err := n.Receive(ctx)
	if err != nil {
		var none T
		return none, Message{}, err
	}
	v, err := As[T](m)
	return v, m, err
}

// RequestAs sends a request and waits for the reply, as Request does, and gives its value as a T. A reply whose value is no T
// is given too, with an error that wraps ErrValue: the request was handled. With any other error there is no reply.
func RequestAs[T any](ctx context.Context, n *Node, to string, value any) (T, Message, error) {
	m, err := n.Request(ctx, to, value)
	if err != nil {
		var none T
		return none, Message{}, err
	}
	v, err := As[T](m)
	return v, m, err
}

// HandlerOf makes a Handler of a function with types of its own. A request whose value is no Q gets an error as reply.
func HandlerOf[Q, R any](f func(ctx context.Context, from string, request Q) (R, error)) Handler {
	return func(ctx context.Context, m Message) (any, error) {
		q, err := As[Q](m)
		if err != nil {
			return nil, err
		}
		return f(ctx, m.From, q)
	}
}
