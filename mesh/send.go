package mesh

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"ultrasockets/codec"
)

// SendOption changes how one message is sent.
type SendOption func(*sendOptions)

type sendOptions struct {
	bestEffort bool
	untilTaken bool
}

// BestEffort sends the message once and forgets it: for telemetry of which only the latest counts. It may be lost,
// overtaken, or dropped by a full inbox. At most 16 KiB, encoded.
func BestEffort() SendOption { return func(o *sendOptions) { o.bestEffort = true } }

// UntilTaken makes Deliver wait until the receiver's application has taken the message from its inbox.
func UntilTaken() SendOption { return func(o *sendOptions) { o.untilTaken = true } }

func optionsOf(opts []SendOption) sendOptions {
	if len(opts) == 0 {
		return sendOptions{} // allocates nothing
	}
	return applied(opts)
}

func applied(opts []SendOption) (o sendOptions) {
	for _, f := range opts {
		f(&o)
	}
	return o
}

// Send sends a value to the node of that name, or to ToGroup or ToAll. The value is any that CBOR can carry: nil, bool,
// numbers, string, []byte, time.Time, slices, maps, structs (with cbor or json tags), nested; it is encoded before Send
// returns and may then be reused. A *[]byte sends the bytes it points to, with an allocation less than the []byte itself,
// which has to become an any.
//
// nil means queued, even for a name that is not here yet: see Config.Retention. To its own name, the node's own inbox has it
// at once. To a group in which nobody else is, nothing is sent. When Config.SendBytes are queued, Send waits until there is
// room or ctx ends; the error then wraps ctx's. While there is room ctx is not looked at.
// Other errors: ErrBadName, ErrValue, ErrTooLarge, ErrNoCommonTransform, ErrClosed.
func (n *Node) Send(ctx context.Context, to string, value any, opts ...SendOption) error {
	if len(opts) == 0 {
		if b, ok := bytesOf(value); ok && n.out.join(to, b) == 1 {
			return nil
		}
	}
	o := optionsOf(opts)
	if group, isGroup := groupOf(to); isGroup || o.bestEffort {
		_, err := n.sendWhole(ctx, to, group, isGroup, value, o, false)
		return wrapSend("send to", to, err)
	}
	_, err := n.sendValue(ctx, to, value, o, false)
	return wrapSend("send to", to, err)
}

// SendBatch sends byte strings to one name, as Send does one after the other, and costs less: it is for who sends millions a second.
// It returns how many it has queued, in their order from the first, and why not the next; the batch may be of any length. They are
// copied before it returns.
func (n *Node) SendBatch(ctx context.Context, to string, batch [][]byte) (queued int, err error) {
	for queued < len(batch) {
		if joined := n.out.join(to, batch[queued:]...); joined > 0 {
			queued += joined
			continue
		}
		if _, isGroup := groupOf(to); isGroup {
			if err := n.Send(ctx, to, &batch[queued]); err != nil {
				return queued, err
			}
			queued++
			continue
		}
		d := draft{body: batch[queued], isRaw: true, behind: batch[queued+1:]}
		if _, err := n.sendTo(ctx, to, &d, sendOptions{}, false); err != nil {
			return queued, wrapSend("send to", to, err)
		}
		queued += 1 + d.joined
	}
	return queued, nil
}

// Deliver does what Send does, and waits until the receiver's inbox has the message, or, with UntilTaken, its application.
// Of a group: all that were in it at the time. The error says why not: ErrExpired and the like if the message was given
// up; if ctx ends first, its error and what is known of the receiver (ErrNoPeer, ErrPaused); the message stays queued then,
// and counts for the next Flush. What a receiver had allowed before it paused is accepted and held there: that is delivered.
func (n *Node) Deliver(ctx context.Context, to string, value any, opts ...SendOption) error {
	o := optionsOf(opts)
	if o.bestEffort {
		return wrapSend("deliver to", to, fmt.Errorf("%w: a best-effort message has no receipt; use Send", ErrBadConfig))
	}
	if group, isGroup := groupOf(to); isGroup {
		return wrapSend("deliver to", to, n.deliverAll(ctx, to, group, value, o))
	}
	r, err := n.sendValue(ctx, to, value, o, true)
	if err == nil {
		err = n.awaitReceipt(ctx, to, r)
	}
	return wrapSend("deliver to", to, err)
}

// deliverAll is Deliver to a group.
func (n *Node) deliverAll(ctx context.Context, to, group string, value any, o sendOptions) error {
	waits, err := n.sendWhole(ctx, to, group, true, value, o, true)
	if err != nil {
		for _, w := range waits { // what is queued counts for the next Flush
			if !w.receipt.abandon() && w.receipt.err != nil {
				err = errors.Join(err, fmt.Errorf("%s: %w", w.name, w.receipt.err))
			}
		}
		return err
	}
	var errs []error
	for _, w := range waits {
		if err := n.awaitReceipt(ctx, w.name, w.receipt); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", w.name, err))
		}
	}
	return errors.Join(errs...)
}

// awaitReceipt waits for the outcome of one message.
func (n *Node) awaitReceipt(ctx context.Context, to string, r *receipt) error {
	told := false
	if to == n.set.Name {
		select {
		case <-r.done:
			told = true
		case <-ctx.Done():
		case <-n.done: // other receipts are told; and hundreds that wait for one channel cost much
			return n.Err()
		}
	} else {
		told = n.await(ctx, r.done) == nil
	}
	if !told {
		if err := n.out.whyNot(ctx, to); r.abandon() {
			return err
		}
		return r.err
	}
	err := r.err
	n.out.receipts.put(r)
	return err
}

// Flush waits until everything sent so far is acknowledged by its receivers' inboxes, or given up: what was since the last
// Flush is the error, an *UndeliveredError for each name and reason, joined. If ctx ends first the error says what is open.
func (n *Node) Flush(ctx context.Context) error {
	if err := n.Err(); err != nil {
		return fmt.Errorf("flush: %w", err)
	}
	if err := n.out.flush(ctx, n.await); err != nil {
		return fmt.Errorf("flush: %w", err)
	}
	return nil
}

func wrapSend(what, to string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s %q: %w", what, to, err)
}

type receiptOf struct {
	name    string
	receipt *receipt
}

// sendValue is Send and Deliver to one name. Step 1 of a message's way.
func (n *Node) sendValue(ctx context.Context, to string, value any, o sendOptions, deliver bool) (*receipt, error) {
	var d draft
	if d.body, d.isRaw = bytesOf(value); d.isRaw { // copied once, to where it waits
		return n.sendTo(ctx, to, &d, o, deliver)
	}
	scratch := encodings.Get().(*[]byte)
	defer putEncoding(scratch)
	var err error
	if d.body, err = codec.AppendValue((*scratch)[:0], value); err != nil {
		return nil, err
	}
	*scratch = d.body
	return n.sendTo(ctx, to, &d, o, deliver)
}

// bytesOf gives what value is if that is a byte string.
func bytesOf(value any) (b []byte, ok bool) {
	switch v := value.(type) {
	case *[]byte:
		if v != nil {
			return *v, true
		}
	case []byte:
		return v, true
	}
	return nil, false
}

// encodings are buffers for values on their way into a queue.
var encodings = sync.Pool{New: func() any { return new([]byte) }}

func putEncoding(b *[]byte) {
	if cap(*b) <= codec.MaxPayload {
		encodings.Put(b)
	}
}

// sendWhole sends what has one encoding for all its receivers: to a group, or without any promise.
func (n *Node) sendWhole(ctx context.Context, to, group string, isGroup bool, value any, o sendOptions, deliver bool) ([]receiptOf, error) {
	if err := checkAddress(group, isGroup, to); err != nil {
		return nil, err
	}
	var prefix []byte
	flags := codec.Flags(0)
	if isGroup {
		if err := n.out.accepting(); err != nil {
			return nil, err
		}
		flags = codec.FlagGroup
		prefix = append([]byte{byte(len(group))}, group...)
	}
	data, err := codec.AppendValue(prefix, value)
	if err != nil {
		return nil, err
	}
	if len(data) > n.set.MaxMessage { // also if nobody is in the group
		return nil, n.tooLarge(len(data))
	}
	if o.bestEffort {
		return nil, n.sendOnce(to, group, isGroup, flags, data)
	}
	var receipts []receiptOf
	var errs []error
	for _, name := range n.view.group(group) {
		r, err := n.sendTo(ctx, name, &draft{body: data, kept: true, flags: flags}, o, deliver)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", name, err))
		}
		if r != nil {
			receipts = append(receipts, receiptOf{name, r})
		}
	}
	return receipts, errors.Join(errs...)
}

func (n *Node) tooLarge(size int) error {
	return fmt.Errorf("%w (%d bytes, MaxMessage is %d)", ErrTooLarge, size, n.set.MaxMessage)
}

// sendTo queues one message on the stream to one name; its receipt is nil if nobody waits or it has arrived.
func (n *Node) sendTo(ctx context.Context, to string, d *draft, o sendOptions, deliver bool) (*receipt, error) {
	if d.size() > n.set.MaxMessage && d.exactSize() > n.set.MaxMessage {
		return nil, n.tooLarge(d.exactSize())
	}
	if deliver {
		d.ackNow = true
		d.receipt = n.out.receipts.get(o.untilTaken)
	}
	if to == n.set.Name {
		return d.receipt, n.in.local(ctx, to, d.appendTo(make([]byte, 0, d.size())), d.receipt)
	}
	return d.receipt, n.out.send(ctx, to, d)
}

// sendOnce sends a best-effort message: one frame, no number, no answer.
func (n *Node) sendOnce(to, group string, isGroup bool, flags codec.Flags, data []byte) error {
	if err := n.Err(); err != nil {
		return err
	}
	if len(data) > codec.MaxPayload {
		return fmt.Errorf("%w (%d bytes; a best-effort message has at most %d: leave BestEffort out)", ErrTooLarge, len(data), codec.MaxPayload)
	}
	if to == n.set.Name {
		n.in.tryLocal(to, data)
		return nil
	}
	if isGroup {
		to = group
	}
	if ref := n.port.Load(); ref != nil {
		f := codec.Frame{Kind: codec.KindData, Flags: flags, To: to, From: n.set.Name, Payload: data}
		ref.Write(f.Append(nil), false)
	}
	return nil
}

// checkAddress checks a name, or the group in an address.
func checkAddress(group string, isGroup bool, to string) error {
	switch {
	case isGroup && group == "":
		return nil
	case isGroup:
		return codec.CheckName(group)
	}
	return codec.CheckName(to)
}

// noPeer says that no node of that name is here, and who is.
func (n *Node) noPeer(name string) error {
	return fmt.Errorf("%w (no node %q in mesh %q; here: %s)", ErrNoPeer, name, n.Mesh(), n.whoIsHere())
}

// whoIsHere are the names of all nodes.
func (n *Node) whoIsHere() string {
	var here []string
	for _, e := range n.view.entries() {
		here = append(here, e.Name)
	}
	return strings.Join(here, ", ") // entries are sorted
}
