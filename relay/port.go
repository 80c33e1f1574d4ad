package relay

import (
	"context"
	"net"
	"time"

	"ultrasockets/codec"
)

// Handler receives what a port reads. HandleFrame and HandleBatchEnd come from
// the goroutine that runs Port.Run, or one that is in Port.Await: one at a time. HandleWritable may come from
// another goroutine at the same time as those, but never concurrently with
// itself. None is called after Run has returned. None may wait for something
// that only another call of the same Handler, or Close, would bring about.
type Handler interface {
	// HandleFrame gets every frame that is not the link's own (those are Ping,
	// Pong and Bye without names). The bytes are the port's again when it
	// returns. But if lent is not nil, they are in it, and whoever retains it keeps them as they are, and with them up to
	// 128 KiB. The checksum has not been verified: whoever consumes a frame does.
	HandleFrame(f codec.Raw, lent *Memory)
	// HandleBatchEnd says that everything one read brought has been handled:
	// the moment to write acknowledgements. It follows after every HandleFrame,
	// also when the port ends in the middle of a batch. woken is how many in
	// Port.Await it brought what they wait for; others, how many it gave
	// work who do not wait there.
	HandleBatchEnd() (woken, others int)
	// HandleWritable says that there is room again after Write returned false or Busy true.
	// It must not block.
	HandleWritable()
}

// Port is one node's way to its mesh: a [Link], or an [Attachment] at the
// relay itself. All methods are safe for concurrent use.
type Port interface {
	// Run reads until the port ends, and says why. It is called once.
	Run(h Handler) error
	// Await waits until ready tells, by a value or by being closed, and may read meanwhile: the Handler is then called by the
	// caller's goroutine, which spares what comes a change of threads. What others than the Handler make ready tell may be
	// noticed three milliseconds later, and so may the end of ctx. The error is ctx's; Await goes on when the port ends. Not
	// to be called by a Handler.
	Await(ctx context.Context, ready <-chan struct{}) error
	// Visit is Await for those who have something else to do than to wait: it returns at once if it cannot read, and when it has
	// to let others read. Told says whether ready has told.
	Visit(ctx context.Context, ready <-chan struct{}) (told bool)
	// Write queues whole frames and never blocks. The bytes are copied and
	// stay the caller's. Control frames (acknowledgements and the like) may
	// use a reserve of 64 KiB beyond the outbox. False: the outbox is full and
	// nothing was taken; HandleWritable will tell when half of it is free. A
	// write larger than the outbox is taken when the outbox is empty. After
	// the end of the port the frames are thrown away, and the result is true.
	Write(frames []byte, control bool) bool
	// WriteAll is Write for frames whose long payloads are not copied. If they are taken, w is empty after; else it is as before.
	WriteAll(w *Writing, control bool) bool
	// Busy tells whether something written before is still waiting. If so, HandleWritable will tell when the link comes
	// round to take more: who waits for that finds more to write at once.
	Busy() bool
	// Welcome is what the relay said when it admitted this port. Its slices
	// must not be changed.
	Welcome() codec.Welcome
	// RTT is the round trip to the relay that the last ping measured; 0: not yet.
	RTT() time.Duration
	// Addr is the address of the other end; nil for an attachment.
	Addr() net.Addr
	// Leave sends what is queued, then Bye, and waits until the other side has
	// closed (at most one second, and until ctx ends). Not to be called by a Handler.
	Leave(ctx context.Context) error
	// Close ends the port at once. It may be called by a Handler, and again.
	Close() error
}

var (
	_ Port = (*Link)(nil)
	_ Port = (*Attachment)(nil)
)
