package mesh

import (
	"fmt"
	"testing"
	"time"

	"ultrasockets/codec"
	"ultrasockets/relay"
)

// BenchmarkStream is both ends of a stream without a link between them: what numbers, checksums, windows and acknowledgements
// cost for each message.
func BenchmarkStream(b *testing.B) {
	for _, size := range []int{16, 128, 1024, 64 << 10, 1 << 20} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			s := &outStream{sender: *newSender("b", "a", time.Hour, 0)}
			s.maxShare = codec.MaxPayload
			in := newIntake("b", DefaultInboxBytes, DefaultMaxMessage, unpackPlain)
			in.outbox = 4 << 20
			var (
				now     time.Duration
				w       relay.Writing
				answers []byte
				lent    []parcel
				m       Message
			)
			taken := 0
			pass := func() {
				for s.held() > 0 {
					now += time.Millisecond
					s.transmit(now, &w, 1<<20, plain)
					frames, memory := w.InOnePiece()
					for len(frames) > 0 {
						f, rest, err := codec.Next(frames)
						if err != nil || !f.Valid() {
							b.Fatal("a bad frame: ", err)
						}
						frames = rest
						in.data(now, time.Time{}, f, nil)
					}
					memory.Release()
					w.Reset()
					for lent = in.draw(lent[:0]); len(lent) > 0; lent = in.draw(lent[:0]) {
						for i := range lent {
							for lent[i].left > 0 {
								lent[i].take(&m)
								taken++
							}
						}
						in.tookDrawn(lent)
					}
					answers = in.answers(now, answers[:0], true)
					for rest := answers; len(rest) > 0; {
						var f codec.Raw
						f, rest, _ = codec.Next(rest)
						s.takeAnswer(now, f, true)
					}
				}
			}
			d := draft{body: make([]byte, size), isRaw: true}
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				if !s.join(&d) {
					s.push(now, &d)
				}
				if s.bytes > 1<<20 {
					pass()
				}
			}
			pass()
			if taken != b.N {
				b.Fatalf("%d of %d arrived", taken, b.N)
			}
		})
	}
}
