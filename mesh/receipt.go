package mesh

import "sync"

// receipt tells one caller the outcome of one message on one stream. Safe for concurrent use.
type receipt struct {
	untilTaken bool
	done       chan struct{} // closed with the outcome, unless the caller has gone before

	// owned by the stream
	next *receipt // of the same entry
	at   int32    // which of its messages this is about

	mu   sync.Mutex
	over bool  // finished or abandoned
	err  error // valid once done is closed
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

// finish tells the outcome; the first one counts. False: the caller has gone.
func (r *receipt) finish(err error) (told bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.over {
		r.over, r.err = true, err
		close(r.done)
		return true
	}
	select {
	case <-r.done:
		return true
	default:
		return false
	}
}

// abandon tells that the caller waits no more: the message counts like any other from now on. False: it is finished.
func (r *receipt) abandon() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.over {
		return false
	}
	r.over = true
	return true
}
