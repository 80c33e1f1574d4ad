package codec

import (
	"bytes"
	"encoding/binary"
	"errors"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// anyFrame draws a frame within the limits. Names in frames are bytes to the codec: whoever looks them up judges them.
func anyFrame(t *rapid.T) Frame {
	return Frame{
		Kind:    Kind(rapid.Uint8().Draw(t, "kind")),
		Flags:   Flags(rapid.Uint8().Draw(t, "flags")),
		Packing: rapid.Uint8().Draw(t, "packing"),
		To:      rapid.StringN(0, MaxName, MaxName).Draw(t, "to"),
		From:    rapid.StringN(0, MaxName, MaxName).Draw(t, "from"),
		Stream:  rapid.Uint32().Draw(t, "stream"),
		Seq:     rapid.Uint32().Draw(t, "seq"),
		Payload: rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(t, "payload"),
	}
}

func equalFrames(a, b Frame) bool {
	if !bytes.Equal(a.Payload, b.Payload) {
		return false
	}
	return a.Kind == b.Kind && a.Flags == b.Flags && a.Packing == b.Packing && a.To == b.To && a.From == b.From &&
		a.Stream == b.Stream && a.Seq == b.Seq
}

func largestFrame() Frame {
	return Frame{
		Kind: KindData, Flags: FlagFirst | FlagMore, Packing: 0xff,
		To: strings.Repeat("t", MaxName), From: strings.Repeat("f", MaxName),
		Stream: 1<<32 - 1, Seq: 1<<32 - 1, Payload: bytes.Repeat([]byte{0xa5}, MaxPayload),
	}
}

func TestLimits(t *testing.T) {
	// The numbers of WIRE.md; the code has them as sums.
	for _, c := range []struct {
		what      string
		got, want int
	}{
		{"header", HeaderSize, 24},
		{"frame", MaxFrame, 16592},
		{"frame that is not sealed", MaxFrame - SealSize, 16536},
		{"shortest length field", minLength, 20},
		{"longest length field", maxLength, 16588},
		{"stream at", streamAt, 12},
		{"sealed at", sealedAt, 9},
		{"seal", SealSize, 56},
		{"sequence at", seqAt, 16},
		{"checksum at", checksumAt, 20},
		{"preamble", PreambleSize, 8},
		{"ack", AckSize, 12},
		{"ack: taken at", takenAt, 8},
	} {
		if c.got != c.want {
			t.Errorf("%s: %d, WIRE.md says %d", c.what, c.got, c.want)
		}
	}
	f := largestFrame()
	if b := sealed(NewSealer(testKey(1)), f.Append(nil)); len(b) != MaxFrame {
		t.Errorf("the largest frame, sealed, has %d bytes, want %d", len(b), MaxFrame)
	}
}

func TestFrameRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		frames := rapid.SliceOfN(rapid.Custom(anyFrame), 1, 5).Draw(t, "frames")
		prefix := rapid.SliceOfN(rapid.Byte(), 0, 9).Draw(t, "prefix")
		b := bytes.Clone(prefix)
		for i := range frames {
			before := len(b)
			b = frames[i].Append(b)
			if len(b)-before != frames[i].Size() {
				t.Fatalf("appended %d bytes, Size says %d", len(b)-before, frames[i].Size())
			}
		}
		if !bytes.HasPrefix(b, prefix) {
			t.Fatal("Append changed what stood before")
		}
		rest := b[len(prefix):]
		for _, want := range frames {
			var raw Raw
			var err error
			if raw, rest, err = Next(rest); err != nil || raw == nil {
				t.Fatalf("Next: %v, %v", raw, err)
			}
			if !raw.Valid() {
				t.Fatal("checksum is wrong")
			}
			if got := raw.Frame(); !equalFrames(got, want) {
				t.Fatalf("got %+v, want %+v", got, want)
			}
		}
		if len(rest) != 0 {
			t.Fatalf("%d bytes left", len(rest))
		}
	})
}

func TestNextAtEveryCut(t *testing.T) {
	f := Frame{Kind: KindData, To: "thermostat", From: "board", Stream: 7, Seq: 8, Payload: []byte("a payload")}
	b := f.Append(nil)
	for n := range len(b) {
		if raw, rest, err := Next(b[:n]); raw != nil || len(rest) != n || err != nil {
			t.Fatalf("cut at %d: %v, %d bytes left, %v; want nothing yet", n, raw, len(rest), err)
		}
	}
	raw, rest, err := Next(append(b, 0, 0))
	if err != nil || len(raw) != len(b) || len(rest) != 2 {
		t.Fatalf("whole: %d of %d bytes, %d left, %v", len(raw), len(b), len(rest), err)
	}
	if _ = append(raw, 1, 2); rest[0] != 0 {
		t.Fatal("appending to a frame overwrites the next one")
	}
}

func TestNextRefusesAsSoonAsItCanTell(t *testing.T) {
	header := func(length uint32, to, from byte) []byte {
		b := binary.BigEndian.AppendUint32(nil, length)
		return append(b, byte(KindData), 0, 0, to, from, 0)
	}
	sealedHeader := func(length uint32, to, from byte) []byte {
		b := header(length, to, from)
		b[sealedAt] = isSealed
		return b
	}
	for _, c := range []struct {
		name string
		b    []byte
		at   int // the error comes with this many bytes, and not earlier
	}{
		{"length below a header", header(minLength-1, 0, 0), 4},
		{"length zero", header(0, 0, 0), 4},
		{"length above a frame", header(maxLength+1, 0, 0), 4},
		{"length of 4 GiB", header(1<<32-1, 0, 0), 4},
		{"text instead of a frame", []byte("GET / HTTP"), 4},
		{"long destination", header(500, MaxName+1, 0), 10},
		{"long source", header(500, 0, MaxName+1), 10},
		{"names longer than the frame", header(minLength+3, 2, 2), 10},
		{"payload too long for short names", header(minLength+MaxPayload+1, 0, 0), 10},
		{"sealed, and too short for that", sealedHeader(minLength+4+SealSize-1, 2, 2), 10},
		{"sealed, and too long", sealedHeader(minLength+MaxPayload+SealSize+1, 0, 0), 10},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, _, err := Next(c.b[:c.at-1]); err != nil {
				t.Errorf("after %d bytes: %v; too early", c.at-1, err)
			}
			for n := c.at; n <= len(c.b); n++ {
				raw, rest, err := Next(c.b[:n])
				if !errors.Is(err, ErrFrame) || raw != nil || len(rest) != n {
					t.Errorf("after %d bytes: %v, %v; want ErrFrame", n, raw, err)
				}
			}
		})
	}
}

func TestChecksumCoversEveryByte(t *testing.T) {
	f := Frame{Kind: KindData, To: "a", From: "b", Payload: []byte("payload")}
	b := f.Append(nil)
	for i := range b {
		for bit := range 8 {
			b[i] ^= 1 << bit
			if raw, _, err := Next(b); err == nil && raw != nil && raw.Valid() {
				t.Fatalf("bit %d of byte %d does not count", bit, i)
			}
			b[i] ^= 1 << bit
		}
	}
	if !Raw(b).Valid() {
		t.Fatal("the untouched frame is not valid")
	}
}

// TestChecksumAsWritten computes the checksum bit by bit, as somebody would who has only WIRE.md.
func TestChecksumAsWritten(t *testing.T) {
	crc32 := func(b []byte) uint32 {
		const reflected = 0xEDB88320 // 0x04C11DB7 read backwards
		sum := uint32(0xFFFFFFFF)
		for _, c := range b {
			sum ^= uint32(c)
			for range 8 {
				if sum&1 != 0 {
					sum = sum>>1 ^ reflected
				} else {
					sum >>= 1
				}
			}
		}
		return sum ^ 0xFFFFFFFF
	}
	if got := crc32([]byte("123456789")); got != 0xCBF43926 {
		t.Fatalf("check value %08X, want CBF43926", got)
	}
	f := Frame{Kind: KindData, To: "a", From: "b", Seq: 3, Payload: []byte("payload")}
	b := f.Append(nil)
	want := binary.BigEndian.Uint32(b[checksumAt:])
	if got := crc32(slices.Concat([]byte("payload"), b[:20], []byte("ab"))); got != want {
		t.Fatalf("checksum %08x, WIRE.md makes it %08x", want, got)
	}
}

func TestReservedBytesAreIgnored(t *testing.T) {
	f := Frame{Kind: KindPing}
	b := f.Append(nil)
	b[reservedAt] = 0xff
	if raw, _, err := Next(b); err != nil || raw == nil {
		t.Fatalf("%v, %v", raw, err)
	}
}

func TestAppendPanicsOnWhatNobodyCanMean(t *testing.T) {
	for _, f := range []Frame{
		{To: strings.Repeat("x", MaxName+1)},
		{From: strings.Repeat("x", MaxName+1)},
		{Payload: make([]byte, MaxPayload+1)},
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("names of %d and %d bytes, payload of %d: no panic", len(f.To), len(f.From), len(f.Payload))
				}
			}()
			f.Append(nil)
		}()
	}
}

func TestLess(t *testing.T) {
	for _, c := range []struct {
		a, b uint32
		want bool
	}{
		{0, 0, false},
		{0, 1, true},
		{1, 0, false},
		{1<<32 - 1, 0, true}, // it wraps
		{0, 1<<32 - 1, false},
		{1<<32 - 5, 5, true},
		{0, 1<<31 - 1, true},
	} {
		if got := Less(c.a, c.b); got != c.want {
			t.Errorf("Less(%d, %d) = %v", c.a, c.b, got)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		a, step := rapid.Uint32().Draw(t, "a"), rapid.Uint32Range(1, 1<<31-1).Draw(t, "step")
		if !Less(a, a+step) || Less(a+step, a) {
			t.Fatalf("%d and %d steps on", a, step)
		}
	})
}

func TestKindAndFlagNames(t *testing.T) {
	for k, want := range map[Kind]string{KindHello: "Hello", KindUnreachable: "Unreachable", KindBye: "Bye", 0: "Kind(0x00)", 0x80: "Kind(0x80)"} {
		if got := k.String(); got != want {
			t.Errorf("kind %d is called %q, want %q", uint8(k), got, want)
		}
	}
	for f, want := range map[Flags]string{0: "none", FlagFirst | FlagAckNow: "first+ack-now", FlagReply | 0x80: "reply+0x80"} {
		if got := f.String(); got != want {
			t.Errorf("flags %#x are called %q, want %q", uint8(f), got, want)
		}
	}
}

func TestFramesAllocateNothing(t *testing.T) {
	f := largestFrame()
	dst := make([]byte, 0, MaxFrame)
	noAllocs(t, "Append", func() { dst = f.Append(dst[:0]) })
	noAllocs(t, "Next and accessors", func() {
		raw, _, err := Next(dst)
		if err != nil || !raw.Valid() || raw.Kind() != f.Kind || raw.Flags() != f.Flags || raw.Packing() != f.Packing ||
			raw.Stream() != f.Stream || raw.Seq() != f.Seq || string(raw.To()) != f.To || string(raw.From()) != f.From ||
			len(raw.Payload()) != len(f.Payload) {
			t.Fatal("the frame came back different")
		}
	})
	noAllocs(t, "Next on a cut frame", func() { _, _, _ = Next(dst[:100]) })
	ack := Ack{1, 2, 3}
	noAllocs(t, "Ack", func() {
		dst = ack.Append(dst[:0])
		if got, err := ParseAck(dst); err != nil || got != ack {
			t.Fatal(got, err)
		}
	})
}

func noAllocs(t *testing.T, what string, f func()) {
	t.Helper()
	if n := testing.AllocsPerRun(100, f); n != 0 {
		t.Errorf("%s: %v allocations, want none", what, n)
	}
}
