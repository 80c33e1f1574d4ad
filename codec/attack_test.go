package codec

import (
	"bytes"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"math"
	"runtime"
	"testing"
	"time"
)

// What a hostile sender can make its receiver do, as far as this package sees it. Memory is asserted, time is printed.

// long makes the attacks as large as the security page says they were tried; .ci/long sets it.
var long = flag.Bool("long", false, "attack at full size")

func pick[T any](short, full T) T {
	if *long {
		return full
	}
	return short
}

// cost runs f and returns what it allocated in all, and how long it took.
func cost(f func()) (bytes uint64, took time.Duration) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	begun := time.Now()
	f()
	took = time.Since(begun)
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc, took
}

// TestBombs: payloads that would become huge are refused, and nobody makes room for them first.
func TestBombs(t *testing.T) {
	n := pick(1000, 10_000)
	for _, c := range []struct {
		name    string
		list    []Transform
		bomb    []byte
		packing uint8
		each    uint64 // bytes that one may cost
	}{
		{"snappy: 7 bytes that say 1 GiB", []Transform{Snappy()}, []byte("\x80\x80\x80\x80\x04\x00\x00"), 1, 5 << 10},
		{"snappy: 4 GiB", []Transform{Snappy()}, []byte("\xff\xff\xff\xff\x0f\x00\x00"), 1, 5 << 10},
		{"snappy: a full frame of copies, 1 MiB", []Transform{Snappy()}, snapped(make([]byte, 1<<20))[:MaxPayload], 1, 5 << 10},
		{"snappy: one byte too much", []Transform{Snappy()}, snapped(make([]byte, MaxPayload+1)), 1, 5 << 10},
		{"a bomb in a bomb", []Transform{runs{}, Snappy()}, snapped(bytes.Repeat([]byte{255, 0}, MaxPayload/2)), 3, 3 * MaxPayload}, // buffers between
		{"an own transform that believes what it reads", []Transform{believer{}}, []byte{0, 1, 0, 0}, 1, 64<<10 + 4<<10},            // its own fault
	} {
		t.Run(c.name, func(t *testing.T) {
			u := mustUnpacker(t, c.list...)
			dst := make([]byte, 0, MaxPayload)
			for range 10 { // what is made once
				_, _ = u.Unpack(dst, c.bomb, c.packing)
			}
			allocated, took := cost(func() {
				for range n {
					if out, err := u.Unpack(dst, c.bomb, c.packing); !errors.Is(err, ErrPacking) {
						t.Fatalf("%d bytes, %v", len(out), err)
					}
				}
			})
			t.Logf("%d bombs: %d KiB allocated in all, %v for one", n, allocated>>10, took/time.Duration(n))
			if limit := uint64(n) * c.each; allocated > limit {
				t.Errorf("more than %d KiB", limit>>10)
			}
		})
	}
}

// believer is what a transform must not be: it makes what its input asks for. Its result is refused all the same.
type believer struct{}

func (believer) Name() string { return "believer" }

func (believer) Encode(dst, src []byte) ([]byte, error) {
	return append(binary.BigEndian.AppendUint32(dst[:0], uint32(len(src))), src...), nil
}

func (believer) Decode(dst, src []byte, limit int) ([]byte, error) {
	return make([]byte, binary.BigEndian.Uint32(src)), nil
}

// fill repeats an item until n bytes are full, within an array whose head says how many there are.
func fill(n int, item []byte) []byte {
	count := (n - 5) / len(item)
	return append(appendHead(nil, majorArray, uint64(count)), bytes.Repeat(item, count)...)
}

// worstValues are values of n bytes that cost their reader the most.
func worstValues(n int) map[string][]byte {
	values := map[string][]byte{
		"empty maps":         fill(n, []byte{0xa0}),
		"empty arrays":       fill(n, []byte{0x80}),
		"small integers":     fill(n, []byte{0}),
		"null":               fill(n, []byte{cborNull}),
		"empty texts":        fill(n, []byte{0x60}),
		"empty bytes":        fill(n, []byte{0x40}),
		"maps of one":        fill(n, []byte{0xa1, 0, 0}),
		"maps with a text":   fill(n, []byte{0xa1, 0x60, 0}),
		"big numbers":        fill(n, append([]byte{0xc2, 0x49}, bytes.Repeat([]byte{0xff}, 9)...)),
		"times":              fill(n, append([]byte{0xc0, 0x74}, "2026-01-01T00:00:00Z"...)),
		"epochs":             fill(n, []byte{0xc1, 0}),
		"empty strings, cut": fill(n, []byte{0x5f, 0xff}),
		"arrays without end": fill(n, []byte{0x9f, 0xff}),
		"maps without end":   fill(n, []byte{0xbf, 0xff}),
		"half floats":        fill(n, []byte{0xf9, 0x7e, 0}),
		"one big number":     append(appendHead([]byte{0xc2}, majorBytes, uint64(n-4)), bytes.Repeat([]byte{0xff}, n-4)...),
		"one text":           append(appendHead(nil, majorText, uint64(n-3)), bytes.Repeat([]byte{'x'}, n-3)...),
		"one string in bits": append(append([]byte{0x5f}, bytes.Repeat([]byte{0x41, 1}, (n-2)/2)...), cborBreak),
		"as deep as allowed": fill(n, append(bytes.Repeat([]byte{0x81}, MaxDepth-1), 0)),
		"deep maps":          fill(n, append(bytes.Repeat([]byte{0xa1, 0}, MaxDepth-1), 0)),
		"deep tags":          fill(n, append(bytes.Repeat([]byte{0xd8, 0x20}, MaxDepth-1), 0)),
	}
	keys := []byte{0xbf}
	for i := uint64(0); len(keys) < n-12; i++ {
		keys = append(appendHead(keys, majorUint, i), 0)
	}
	values["a map of many keys"] = append(keys, cborBreak)
	nans := []byte{0xbf}
	for i := uint64(0); len(nans) < n-12; i++ { // no NaN equals another, so these are many keys with one hash each
		nans = append(binary.BigEndian.AppendUint64(append(nans, 0xfb), math.Float64bits(math.NaN())+i), 0)
	}
	values["a map of NaNs"] = append(nans, cborBreak)
	return values
}

// TestWorstValues: the costliest values of the largest frame are decoded or refused within bounds, in every way to read one.
func TestWorstValues(t *testing.T) {
	type reading struct {
		bytes uint64
		took  time.Duration
		what  string
	}
	var worst, slowest reading
	for name, b := range worstValues(MaxPayload) {
		if len(b) > MaxPayload {
			t.Fatalf("%s: %d bytes", name, len(b))
		}
		for how, read := range map[string]func() error{
			"DecodeValue":    func() error { _, err := DecodeValue(b); return err },
			"into any":       func() error { var v any; return UnmarshalValue(b, &v) },
			"into []any":     func() error { var v []any; return UnmarshalValue(b, &v) },
			"into a map":     func() error { var v map[string]any; return UnmarshalValue(b, &v) },
			"into structs":   func() error { var v []nested; return UnmarshalValue(b, &v) },
			"into big":       func() error { var v struct{ A []any }; return UnmarshalValue(b, &v) },
			"Diagnose":       func() error { _ = Diagnose(b); return nil },
			"as text, bytes": func() error { AsText(b); AsBytes(b); return nil },
		} {
			var err error
			_ = read() // what is made once for each type
			allocated, took := cost(func() { err = read() })
			if err != nil && !errors.Is(err, ErrValue) {
				t.Errorf("%s, %s: %v", name, how, err)
			}
			what := fmt.Sprintf("%s, %s: %v", name, how, err)
			if allocated > worst.bytes {
				worst = reading{allocated, took, what}
			}
			if took > slowest.took {
				slowest = reading{allocated, took, what}
			}
			if allocated > 256*MaxPayload { // a slice of structs has a whole struct for each byte
				t.Errorf("%s, %s: %d KiB for %d", name, how, allocated>>10, len(b)>>10)
			}
		}
	}
	t.Logf("of %d bytes: the most memory is %d KiB, in %v (%s)", MaxPayload, worst.bytes>>10, worst.took, worst.what)
	t.Logf("the most time %v, with %d KiB (%s)", slowest.took, slowest.bytes>>10, slowest.what)
}

// TestWorstMessages: so are those of a whole message, of as many items as there may be, or of 64 MiB.
func TestWorstMessages(t *testing.T) {
	testWorstMessages(t, MaxItems)
	if *long {
		testWorstMessages(t, DefaultMaxMessage)
	}
}

func testWorstMessages(t *testing.T, size int) {
	for name, b := range worstValues(size) {
		var err error
		allocated, took := cost(func() { _, err = DecodeValue(b) })
		if err != nil && !errors.Is(err, ErrValue) {
			t.Errorf("%s: %v", name, err)
		}
		if limit := uint64(3*len(b) + 200*MaxItems); allocated > limit {
			t.Errorf("%s: %d MiB for %d", name, allocated>>20, len(b)>>20)
		}
		t.Logf("%s: %d KiB in, %d MiB made of it in %v (%.60v)", name, len(b)>>10, allocated>>20, took, err)
	}
}

// TestWorstBodies: what the relay reads of a stranger, a Hello of 4 KiB, and of a member, costs a small multiple of its size.
func TestWorstBodies(t *testing.T) {
	for name, b := range worstValues(MaxHello - 8) {
		for key := range byte(16) {
			in := append([]byte{0xa1, key}, b...)
			for what, parse := range map[string]func([]byte) error{
				"Hello":   func(b []byte) error { _, err := ParseHello(b); return err },
				"Update":  func(b []byte) error { _, err := ParseUpdate(b); return err },
				"Roster":  func(b []byte) error { _, err := ParseRoster(b); return err },
				"Welcome": func(b []byte) error { _, err := ParseWelcome(b); return err },
				"Refusal": func(b []byte) error { _, err := ParseRefusal(b); return err },
				"Bye":     func(b []byte) error { _, err := ParseBye(b); return err },
			} {
				allocated, _ := cost(func() {
					if err := parse(in); err != nil && !errors.Is(err, ErrBody) {
						t.Errorf("%s in key %d of %s: %v", name, key, what, err)
					}
				})
				if allocated > 100*MaxHello {
					t.Errorf("%s in key %d of %s: %d KiB for %d", name, key, what, allocated>>10, len(in)>>10)
				}
			}
		}
	}
}
