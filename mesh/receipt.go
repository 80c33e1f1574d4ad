package mesh

import "sync"

// receipt tells one caller the outcome of one message on one stream. finish may be called by anyone, once counts.
type receipt struct {
	untilTaken bool
	done       chan struct{}
	once       sync.Once
	err        error // valid once done is closed
}

func newReceipt(untilTaken bool) *receipt {
	return &receipt{untilTaken: untilTaken, done: make(chan struct{})}
}

// arrive tells that the receiver's inbox has the message.
func (r *receipt) arrive() {
	if !r.untilTaken {
		r.finish(nil)
	}
}

func (r *receipt) finish(err error) {
	r.once.Do(func() {
		r.err = err
		close(r.done)
	})
}
