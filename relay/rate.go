package relay

import (
	"net"
	"time"

	"ultrasockets/codec"
)

// Rate bounds what one link may send in the long run. Each may send a second's worth at once; then its reader pauses, so
// that what it sends waits in the network and at its own side, and nothing is lost or refused. Zero is no limit.
//
// It is meant for loads that nobody intends, and should be far above those that somebody does. A node that is slowed down
// has its Acks and pings wait too. One that goes on flooding may take its link for dead when what it may send is
// less than some 64 KiB a second.
type Rate struct {
	// Messages a second: Data frames, of which a message has one for every 16 KiB.
	Messages int
	// Bytes a second, of all frames with their headers.
	Bytes int
}

// limitedBuffer is what the kernel holds of a link with a limit: it decides how soon the sender feels it.
const limitedBuffer = 64 << 10

// limit is what one link may still send. It belongs to the link's reader.
type limit struct {
	messages, bytes *bucket // nil: no limit
}

// newLimit returns nil if there is nothing to limit.
func newLimit(r Rate, conn net.Conn, now time.Duration) *limit {
	if r.Messages <= 0 && r.Bytes <= 0 {
		return nil
	}
	if tcp, ok := rawConn(conn).(*net.TCPConn); ok {
		_ = tcp.SetReadBuffer(limitedBuffer)
	}
	of := func(n int) *bucket {
		if n <= 0 {
			return nil
		}
		b := newBucket(float64(n), float64(n), now)
		return &b
	}
	return &limit{messages: of(r.Messages), bytes: of(r.Bytes)}
}

// updateRate is how many times a second a node may say that it has changed: each time costs the hub as much as a
// hundred frames.
const updateRate = 1000

// owes is how long the reader is to pause after a batch of whole frames.
func (p *peer) owes(frames []byte) time.Duration {
	wait := p.owed
	p.owed = 0
	if p.limit != nil {
		wait = max(wait, p.limit.spend(frames, p.hub.now()))
	}
	return wait
}

// most is how much is to be read at a time: what may be sent in a tenth of a second, if frames are small.
func (l *limit) most() int {
	n := float64(inbufMax)
	if l.bytes != nil {
		n = min(n, l.bytes.rate/10)
	}
	if l.messages != nil {
		n = min(n, l.messages.rate/10*2*codec.HeaderSize)
	}
	return max(int(n), inbufMin)
}

// spend takes whole frames that came, and returns how long to pause before more are read.
func (l *limit) spend(frames []byte, now time.Duration) time.Duration {
	var pause time.Duration
	if l.bytes != nil {
		pause = l.bytes.take(len(frames), now)
	}
	if l.messages != nil {
		n := 0
		for ; len(frames) > 0; frames = frames[wholeFrame(frames):] {
			if k := codec.Kind(frames[kindAt]); k == codec.KindData || k >= codec.KindForward {
				n++
			}
		}
		pause = max(pause, l.messages.take(n, now))
	}
	return pause
}

// pause keeps the reader from reading. Who waits must not look dead: the node hears a Pong for each heartbeat, and for the
// hub it lives. It ends early when the link is to end.
func (p *peer) pause(d time.Duration) {
	beat := time.Duration(p.beat.Load())
	p.hub.count.slowed.Add(1)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for d > 0 {
		step := min(d, beat/2)
		timer.Reset(step)
		select {
		case <-p.ended:
			return
		case <-timer.C:
		}
		d -= step
		now := p.hub.now()
		p.lastRead.Store(int64(now))
		p.doubted.Store(false)
		if now-p.comforted >= beat/2 {
			p.comforted = now
			pong := codec.Frame{Kind: codec.KindPong}
			p.out.write(pong.Append(nil), true)
		}
	}
}

// bucket is a token bucket: it fills at a rate, up to a burst, and what is taken beyond what is there is a debt to be
// waited for. So a taker never has to know beforehand how much it will want. It reads no clock, and belongs to one
// goroutine or lock at a time.
type bucket struct {
	rate  float64 // tokens a second
	burst float64

	level float64       // below zero: a debt
	at    time.Duration // when level was right
}

func newBucket(rate, burst float64, now time.Duration) bucket {
	return bucket{rate: rate, burst: burst, level: burst, at: now}
}

// take takes n tokens, and returns how long to wait until there is no debt. Nothing is taken by n = 0.
func (b *bucket) take(n int, now time.Duration) time.Duration {
	if now > b.at {
		b.level = min(b.burst, b.level+b.rate*(now-b.at).Seconds())
		b.at = now
	}
	b.level -= float64(n)
	if b.level >= 0 {
		return 0
	}
	return time.Duration(-b.level / b.rate * float64(time.Second))
}
