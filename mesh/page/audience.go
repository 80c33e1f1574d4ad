package page

import (
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"time"
)

const (
	maxListeners  = 32
	listenerQueue = 64 // events that wait for one listener; one more, and it is let go
	keepAlive     = 15 * time.Second
	retryAfter    = 2 * time.Second // a browser that lost the stream comes back after this
)

// audience is everybody who is kept current. Safe for concurrent use.
type audience struct {
	mu        sync.Mutex // held while the book changes and that is told: whoever comes misses and repeats nothing
	listeners map[*listener]struct{}
	looked    time.Time // when somebody last looked
}

// listener is one stream of events. Its queue is closed when it was too slow.
type listener struct {
	queue chan []byte
}

func newAudience() *audience { return &audience{listeners: make(map[*listener]struct{})} }

// count is how many are kept current.
func (a *audience) count() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.listeners)
}

// look notes that somebody looks.
func (a *audience) look(now time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.looked = now
}

// wanted tells whether somebody looks, or has of late.
func (a *audience) wanted(now time.Time) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.listeners) > 0 || now.Sub(a.looked) < wantedFor
}

// join adds a listener, and gives it the whole as it is at that moment; nil: there are too many.
func (a *audience) join(read func() Whole) (*listener, Whole) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.listeners) >= maxListeners {
		return nil, Whole{}
	}
	l := &listener{queue: make(chan []byte, listenerQueue)}
	a.listeners[l] = struct{}{}
	return l, read()
}

func (a *audience) leave(l *listener) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.listeners, l)
}

// tell makes changes and tells them to everybody. Nobody is waited for.
func (a *audience) tell(make func() []change) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, c := range make() {
		if len(a.listeners) == 0 {
			continue
		}
		b := frame(c.event, c.value)
		for l := range a.listeners {
			select {
			case l.queue <- b:
			default:
				delete(a.listeners, l)
				close(l.queue)
			}
		}
	}
}

// frame is one server-sent event. JSON has no line feeds, so it is one line of data.
func frame(event string, value any) []byte {
	text, err := json.Marshal(value)
	if err != nil {
		panic(err) // nothing in the model can fail
	}
	return fmt.Appendf(nil, "event: %s\ndata: %s\n\n", event, text)
}

// events answers /api/events until the client, the page or the node goes.
func (p *Page) events(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet {
		http.Error(w, "events are for GET", http.StatusMethodNotAllowed) // HEAD would never end
		return
	}
	l, whole := p.watch.join(p.book.read)
	if l == nil {
		w.Header().Set("Retry-After", "5")
		http.Error(w, fmt.Sprintf("%d pages are kept current already; close one", maxListeners), http.StatusServiceUnavailable)
		return
	}
	defer p.watch.leave(l)
	notify(p.looked)
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("X-Accel-Buffering", "no")
	control := http.NewResponseController(w)
	write := func(b []byte) bool {
		if control.SetWriteDeadline(time.Now().Add(answerTimeout)) != nil {
			return false
		}
		_, err := w.Write(b)
		return err == nil && control.Flush() == nil
	}
	hello := fmt.Appendf(nil, "retry: %d\n", retryAfter.Milliseconds())
	if !write(append(hello, frame("whole", whole)...)) {
		return
	}
	alive := time.NewTicker(keepAlive)
	defer alive.Stop()
	for {
		select {
		case b, ok := <-l.queue:
			if !ok || !write(b) {
				return
			}
		case <-alive.C:
			if !write([]byte(": still here\n\n")) {
				return
			}
		case <-r.Context().Done():
			return
		}
	}
}
