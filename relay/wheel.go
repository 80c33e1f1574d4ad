package relay

import (
	"time"

	"ultrasockets/codec"
)

// The wheel is the one clock of a hub: a goroutine that looks at every link a few
// times per heartbeat, or at every turn while one is doubted, instead of a timer for each.

const (
	maxTick = 250 * time.Millisecond
	minTick = 5 * time.Millisecond
)

// startWheel starts the wheel if it does not turn yet; mu is held.
func (h *Hub) startWheel() {
	if !h.wheeling && !h.closed {
		h.wheeling = true
		h.news.due = time.NewTimer(time.Hour)
		h.news.due.Stop()
		h.wg.Add(1)
		go h.wheel()
	}
}

func (h *Hub) wheel() {
	defer h.wg.Done()
	tick := min(max(h.cfg.Heartbeat/4, minTick), maxTick)
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	due := h.news.due // set before the wheel was started, and never again
	defer due.Stop()
	pace := pacer{tick: tick, last: h.now()}
	h.clock.publish(pace.last)
	for {
		select {
		case <-h.done:
			return
		case <-due.C:
			h.mu.Lock()
			h.tell()
			h.mu.Unlock()
			continue
		case <-ticker.C:
		}
		now := h.now()
		h.clock.publish(now)
		stood, grace := pace.at(now)
		h.turn(now, stood, grace)
	}
}

// pacer notices when the wheel stood still itself (a machine that was short of time, stopped or asleep): then what the links
// brought meanwhile may lie there unread, and they are given as long again before they are called dead.
type pacer struct {
	tick  time.Duration
	last  time.Duration // the last tick
	stood time.Duration // how long it last stood still …
	until time.Duration // … and how long that is an excuse
}

// maxExcuse is the most that a pacer excuses, in ticks: what links may be silent for at the usual heartbeat. Who stood still for
// longer is the relay no more, and the links of its next reign have no part in that.
const maxExcuse = 12

// at takes a tick: how long it is since the last, and how much longer than usual a silence may be now.
func (p *pacer) at(now time.Duration) (stood, grace time.Duration) {
	stood = now - p.last
	p.last = now
	if now >= p.until {
		p.stood = 0
	}
	if stood > 2*p.tick {
		excuse := min(stood, maxExcuse*p.tick)
		p.stood, p.until = max(p.stood, excuse), max(p.until, now+excuse)
	}
	return stood, p.stood
}

// turn is one turn of the wheel; stood is the time since the last, and grace how much longer than usual links may be silent.
func (h *Hub) turn(now, stood, grace time.Duration) {
	h.mu.Lock()
	h.beat.Store(int64(h.heartbeat()))
	if att := h.att; att != nil && stood > deadBeats*h.heartbeat() {
		h.mu.Unlock()
		h.log.Warn("stood still, so no longer the relay", "for", stood)
		h.endReign(att, ErrStalled)
		return
	}
	defer h.mu.Unlock()
	if now-h.looked >= h.heartbeat()/5 || h.doubts > 0 {
		h.looked, h.doubts = now, 0
		for p := range h.peers {
			if p.overdue(now, grace) {
				p.kill(ErrLinkDead)
			}
			if p.doubted.Load() {
				h.doubts++
			}
		}
	}
	for name, until := range h.kept {
		if now >= until {
			delete(h.kept, name)
		}
	}
	if len(h.expected) > 0 && now >= h.expectEnd {
		clear(h.expected)
	}
}

// overdue tells whether the link is dead; Hub.mu is held.
func (p *peer) overdue(now, grace time.Duration) bool {
	read := time.Duration(p.lastRead.Load())
	if now-read > p.dead()+grace {
		return true
	}
	if p.out.stuck(now, p.dead()+grace) {
		return true
	}
	return p.doubted.Load() && now-p.probed > min(probeTime, p.dead())+grace
}

// probe asks a name's holder whether it still lives: if nothing is read from it
// for two seconds (or three heartbeats, if that is shorter), it is dropped. mu is held.
func (h *Hub) probe(p *peer) {
	if p.doubted.Load() {
		return
	}
	p.probed = h.clock.now()
	p.doubted.Store(true)
	h.doubts++
	p.out.write(pingFrame(nil), true)
}

func pingFrame(payload []byte) []byte {
	f := codec.Frame{Kind: codec.KindPing, Payload: payload}
	return f.Append(nil)
}
