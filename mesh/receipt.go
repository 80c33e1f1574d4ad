package mesh

import "sync"

// receipt tells one caller the outcome of one message on one stream. Safe for concurrent use.
type receipt struct {
	untilTaken bool
	lossOnly   bool          // the caller is not told that it arrived
	done       chan struct{} // gets a value with the outcome, unless the caller has gone before

	// owned by the stream
	next *receipt // of the same entry
	at   int32    // which of its messages this is about

	mu    sync.Mutex
	state receiptState
	err   error // valid once done has told
}

type receiptState uint8

const (
	receiptOpen receiptState = iota
	receiptFinished
	receiptAbandoned
)

func newReceipt(untilTaken bool) *receipt {
	return &receipt{untilTaken: untilTaken, done: make(chan struct{}, 1)}
}

// receipts are those of a node that were finished, and of which nobody knows any more. Each node has its own: a channel of
// one test's virtual time is of no use in another's. Safe for concurrent use.
type receipts struct{ pool sync.Pool }

func (p *receipts) get(untilTaken bool) *receipt {
	r, _ := p.pool.Get().(*receipt)
	if r == nil {
		return newReceipt(untilTaken)
	}
	r.mu.Lock() // finish may still be about to return
	defer r.mu.Unlock()
	r.untilTaken, r.next, r.at, r.state, r.err = untilTaken, nil, 0, receiptOpen, nil
	return r
}

// put is for the caller that was told the outcome.
func (p *receipts) put(r *receipt) { p.pool.Put(r) }

// arrive tells that the receiver's inbox has the message, and returns whether that is what the caller waits for.
func (r *receipt) arrive() (told bool) { return !r.untilTaken && r.finish(nil) }

// finish tells the outcome; the first one counts, and nobody but the caller may use the receipt after. False: the caller has gone.
func (r *receipt) finish(err error) (told bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.state == receiptOpen {
		r.state, r.err = receiptFinished, err
		if err == nil && r.lossOnly {
			return false
		}
		r.done <- struct{}{}
		return true
	}
	return r.state == receiptFinished
}

// abandon tells that the caller waits no more: the message counts like any other from now on. False: it is finished.
func (r *receipt) abandon() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.state != receiptOpen {
		return false
	}
	r.state = receiptAbandoned
	return true
}
