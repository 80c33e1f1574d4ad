package relay

import (
	"bytes"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/flynn/noise"
	"pgregory.net/rapid"

	"ultrasockets/codec"
)

// packing is the writing end of a secure channel, of a dialler if it seals, else of a relay.
func packing(w io.Writer, seals bool) *secureConn {
	return &secureConn{Conn: writeOnly{w: w}, enc: newHalf(noise.UnsafeNewCipherState(cipherSuite, [32]byte{1}, 0)), seals: seals}
}

// unpacking is the reading end of the same.
func unpacking(wire []byte, step int) *secureConn {
	return &secureConn{Conn: &scripted{in: wire, step: step}, dec: newHalf(noise.UnsafeNewCipherState(cipherSuite, [32]byte{1}, 0))}
}

// opened is the frames of b, opened.
func opened(b []byte) (out []byte) {
	var o codec.Opener
	for {
		f, rest, _ := codec.Next(b)
		if f == nil {
			return append(out, b...)
		}
		out, b = append(out, o.Open(f)...), rest
	}
}

// TestRecords sends any frames, cut anywhere, over two links: what arrives is what was sent, and it was sealed if it is long.
func TestRecords(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		sizes := rapid.OneOf(
			rapid.IntRange(0, 200), rapid.IntRange(sealFrom-2, sealFrom+2), rapid.IntRange(0, codec.MaxPayload),
			rapid.Just(codec.MaxPayload), rapid.IntRange(codec.MaxPayload-codec.SealSize, codec.MaxPayload),
		)
		names := rapid.SampledFrom([]string{"b", "c", strings.Repeat("x", codec.MaxName)})
		var sent []byte
		long := 0
		for i, size := range rapid.SliceOfN(sizes, 1, 20).Draw(t, "sizes") {
			f := codec.Frame{Kind: codec.KindData, From: names.Draw(t, "from"), To: names.Draw(t, "to"),
				Stream: rapid.Uint32Range(0, 1).Draw(t, "stream"), Seq: uint32(i), Payload: bytes.Repeat([]byte{byte(i)}, size)}
			if f.Stream != 0 && size >= sealFrom {
				long += size
			}
			sent = f.Append(sent)
		}
		one := over(t, sent, true)
		two := over(t, one, false)
		if !bytes.Equal(one, two) {
			t.Fatal("a relay changed frames")
		}
		if !bytes.Equal(opened(bytes.Clone(two)), sent) {
			t.Fatalf("%d bytes arrive of %d", len(two), len(sent))
		}
		if sealed := sealedBytes(two); sealed > long {
			t.Fatalf("%d bytes are sealed of %d", sealed, long)
		}
	})
}

// over is what arrives of frames that are written in some calls, of some pieces each, and read in some steps.
func over(t *rapid.T, frames []byte, seals bool) []byte {
	var wire bytes.Buffer
	w := packing(&wire, seals)
	for rest := frames; len(rest) > 0; {
		n := len(rest)
		if rapid.Bool().Draw(t, "ends early") {
			n = rapid.IntRange(1, len(rest)).Draw(t, "call")
		}
		var bufs [][]byte
		for call := rest[:n]; len(call) > 0; {
			m := min(len(call), rapid.SampledFrom([]int{1, 23, 24, 90, 5000, chunkSize, 1 << 20}).Draw(t, "piece"))
			bufs, call = append(bufs, call[:m]), call[m:]
		}
		if err := w.writeBuffers(bufs, nil); err != nil {
			t.Fatal(err)
		}
		if len(w.parcels) > 0 {
			t.Fatalf("%d parcels are left", len(w.parcels))
		}
		rest = rest[n:]
	}
	got, err := io.ReadAll(unpacking(wire.Bytes(), rapid.SampledFrom([]int{1, 100, 4096, 1 << 20}).Draw(t, "step")))
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func sealedBytes(b []byte) (n int) {
	for len(b) > 0 {
		f, rest, _ := codec.Next(b)
		if codec.IsSealed(f) {
			n += len(f) - codec.HeadSize(f) - codec.SealTag
		}
		b = rest
	}
	return n
}

// TestHalfIsNoise: the records are those of Noise, as its library makes them, from any number on.
func TestHalfIsNoise(t *testing.T) {
	for _, count := range []uint64{0, 1, 255, 0x0102030405060708} {
		mine, theirs := newHalf(noise.UnsafeNewCipherState(cipherSuite, [32]byte{7}, count)), noise.UnsafeNewCipherState(cipherSuite, [32]byte{7}, count)
		back := newHalf(noise.UnsafeNewCipherState(cipherSuite, [32]byte{7}, count))
		for i := range 3 {
			plain := bytes.Repeat([]byte("plain"), i)
			want, err := theirs.Encrypt(nil, nil, plain)
			if err != nil {
				t.Fatal(err)
			}
			if got := mine.encrypt(nil, plain); !bytes.Equal(got, want) {
				t.Fatalf("record %d from %d: %x, want %x", i, count, got, want)
			}
			if got, err := back.decrypt(nil, want); err != nil || !bytes.Equal(got, plain) {
				t.Fatalf("record %d from %d: %q, %v", i, count, got, err)
			}
		}
	}
}

// TestSealedWhenLong: who dials seals long payloads and no others, with another key for another destination, and a relay none.
func TestSealedWhenLong(t *testing.T) {
	long, short := strings.Repeat("l", sealFrom), strings.Repeat("s", sealFrom-1)
	send := slices.Concat(data("a", "b", 1, 0, long), data("a", "b", 1, 1, short), data("a", "c", 2, 0, long), data("a", "b", 1, 2, long), data("a", "b", 0, 0, long))
	for _, seals := range []bool{true, false} {
		var wire bytes.Buffer
		w := packing(&wire, seals)
		if _, err := w.Write(send); err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(wire.Bytes(), []byte("llllllll")) || bytes.Contains(wire.Bytes(), []byte("ssssssss")) {
			t.Error("a payload travels in the clear")
		}
		got, err := io.ReadAll(unpacking(wire.Bytes(), 4096))
		if err != nil {
			t.Fatal(err)
		}
		var sealed []bool
		var keys []string
		for len(got) > 0 {
			f, rest, _ := codec.Next(got)
			sealed = append(sealed, codec.IsSealed(f))
			if codec.IsSealed(f) {
				keys = append(keys, string(f.Payload()[:codec.SealKey]))
				if bytes.Contains(wire.Bytes(), f.Payload()[:codec.SealKey]) {
					t.Error("a key travels in the clear")
				}
				if !bytes.Contains(wire.Bytes(), f.Payload()[codec.SealHead:]) {
					t.Error("a sealed body is encrypted once more")
				}
			}
			got = rest
		}
		if want := []bool{seals, false, seals, seals, false}; !slices.Equal(sealed, want) {
			t.Errorf("sealed %v, want %v", sealed, want)
		}
		if seals && (keys[0] == keys[1] || keys[2] == keys[1]) {
			t.Error("two destinations have one key")
		}
	}
}

// TestNothingIsSealedTwice: what is sealed already, and what nobody could open again as it was, a dialler puts into records.
func TestNothingIsSealedTwice(t *testing.T) {
	long := data("a", "b", 1, 0, strings.Repeat("l", sealFrom))
	odd := bytes.Clone(long)
	odd[sealedAt] = 2
	var once bytes.Buffer
	if _, err := packing(&once, true).Write(long); err != nil {
		t.Fatal(err)
	}
	sealed, err := io.ReadAll(unpacking(once.Bytes(), 4096))
	if err != nil {
		t.Fatal(err)
	}
	names := data("a", "b", 1, 0, strings.Repeat("l", 2*sealFrom))
	names[toLenAt], names[fromLenAt] = 255, 255 // no frame; nobody may stumble over it
	for _, f := range [][]byte{sealed, odd, names} {
		var wire bytes.Buffer
		if _, err := packing(&wire, true).Write(f); err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(unpacking(wire.Bytes(), 4096)); err != nil || !bytes.Equal(got, f) {
			t.Errorf("%d bytes of %d: %v", len(got), len(f), err)
		}
		if body := f[codec.HeadSize(long)+codec.SealHead:]; bytes.Contains(wire.Bytes(), body[:100]) {
			t.Error("it travels as it is")
		}
	}
}
