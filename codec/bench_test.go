package codec

import (
	"bytes"
	"fmt"
	"testing"
	"time"
)

func BenchmarkFrameAppend(b *testing.B) {
	benchFrames(b, func(b *testing.B, f Frame) {
		dst := make([]byte, 0, MaxFrame)
		for b.Loop() {
			dst = f.Append(dst[:0])
		}
	})
}

func BenchmarkFrameNext(b *testing.B) {
	benchFrames(b, func(b *testing.B, f Frame) {
		buf := f.Append(nil)
		for b.Loop() {
			raw, _, err := Next(buf)
			if err != nil || len(raw.To()) == 0 {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkFrameValid(b *testing.B) {
	benchFrames(b, func(b *testing.B, f Frame) {
		raw := Raw(f.Append(nil))
		for b.Loop() {
			if !raw.Valid() {
				b.Fatal("not valid")
			}
		}
	})
}

func benchFrames(b *testing.B, bench func(*testing.B, Frame)) {
	for _, size := range []int{16, 128, 1024, MaxPayload} {
		f := Frame{Kind: KindData, To: "thermostat", From: "board-17", Stream: 1, Seq: 2, Payload: make([]byte, size)}
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			b.SetBytes(int64(f.Size()))
			b.ReportAllocs()
			bench(b, f)
		})
	}
}

func BenchmarkPack(b *testing.B) {
	for name, src := range map[string][]byte{
		"telemetry 1 KiB": bytes.Repeat([]byte("temperature=21.5 humidity=40 pm=3"), 32)[:1024],
		"random 1 KiB":    randomBytes(1024),
		"small":           make([]byte, 100),
		"zeros 16 KiB":    make([]byte, MaxPayload),
	} {
		b.Run(name, func(b *testing.B) {
			u, _ := NewUnpacker([]Transform{Snappy()})
			p, _ := NewPacker([]Transform{Snappy()}, u.Names(), 0)
			dst := make([]byte, 0, MaxPayload)
			b.SetBytes(int64(len(src)))
			b.ReportAllocs()
			for b.Loop() {
				if _, _, err := p.Pack(dst, src); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkUnpack(b *testing.B) {
	src := bytes.Repeat([]byte("temperature=21.5 humidity=40 pm=3"), 32)[:1024]
	packed := snapped(src)
	u, _ := NewUnpacker([]Transform{Snappy()})
	dst := make([]byte, 0, MaxPayload)
	b.SetBytes(int64(len(src)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := u.Unpack(dst, packed, 1); err != nil {
			b.Fatal(err)
		}
	}
}

var benchValues = []struct {
	name string
	v    any
}{
	{"bytes 1 KiB", make([]byte, 1024)},
	{"text", "temperature=21.5"},
	{"int", 12345},
	{"float", 21.5},
	{"time", time.Date(2026, 1, 1, 0, 0, 0, 1, time.UTC)},
	{"map", map[string]any{"celsius": 21.5, "n": 3, "room": "lab", "ok": true, "list": []any{1, 2, 3}}},
	{"struct", reading{Celsius: 21.5, Note: "fine", Plain: 3}},
	{"floats", make([]float64, 100)},
}

func BenchmarkAppendValue(b *testing.B) {
	for _, c := range benchValues {
		b.Run(c.name, func(b *testing.B) {
			dst := make([]byte, 0, 4096)
			b.ReportAllocs()
			for b.Loop() {
				var err error
				if dst, err = AppendValue(dst[:0], c.v); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkDecodeValue(b *testing.B) {
	for _, c := range benchValues {
		buf := value(c.v)
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := DecodeValue(buf); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkHello(b *testing.B) {
	h := fullBodies["Hello"].(Hello)
	buf := h.Append(nil)
	b.Run("Append", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			buf = h.Append(buf[:0])
		}
	})
	b.Run("Parse", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := ParseHello(buf); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkRoster500(b *testing.B) {
	var entries []Entry
	for i := range 500 {
		entries = append(entries, Entry{Name: fmt.Sprint("node-", i), Instance: uint64(i) << 40, Transforms: []string{"snappy"}, Groups: []string{"lab"}})
	}
	b.Run("Append", func(b *testing.B) {
		var dst []byte
		b.ReportAllocs()
		for b.Loop() {
			dst = AppendRosterFrames(dst[:0], entries, nil)
		}
	})
	frames := AppendRosterFrames(nil, entries, nil)
	b.Run("Parse", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			for rest := frames; len(rest) > 0; {
				var raw Raw
				raw, rest, _ = Next(rest)
				if _, err := ParseRoster(raw.Payload()); err != nil {
					b.Fatal(err)
				}
			}
		}
	})
}
