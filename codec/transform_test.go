package codec

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"strings"
	"testing"
)

// Two transforms besides snappy: one that shrinks, and one that makes longer, as encryption does.

// runs is a run-length code: pairs of a count and a byte.
type runs struct{}

func (runs) Name() string { return "runs" }

func (runs) Encode(dst, src []byte) ([]byte, error) {
	dst = dst[:0]
	for i := 0; i < len(src); {
		n := 1
		for i+n < len(src) && n < 255 && src[i+n] == src[i] {
			n++
		}
		dst = append(dst, byte(n), src[i])
		i += n
	}
	return dst, nil
}

func (runs) Decode(dst, src []byte, limit int) ([]byte, error) {
	if len(src)%2 != 0 {
		return nil, errors.New("runs: half a pair")
	}
	total := 0
	for i := 0; i < len(src); i += 2 {
		if src[i] == 0 {
			return nil, errors.New("runs: an empty run")
		}
		total += int(src[i])
	}
	if total > limit {
		return nil, errors.New("runs: too long")
	}
	dst = dst[:0]
	for i := 0; i < len(src); i += 2 {
		dst = append(dst, bytes.Repeat(src[i+1:i+2], int(src[i]))...)
	}
	return dst, nil
}

// seal is no encryption, but has its shape: a head, a masked body, and a check that fails on any change.
type seal struct{ mask byte }

const sealSize = 2

func (seal) Name() string  { return "seal" }
func (seal) Overhead() int { return sealSize }

func (s seal) sum(b []byte) byte {
	sum := s.mask
	for _, c := range b {
		sum = sum*31 + c
	}
	return sum
}

func (s seal) Encode(dst, src []byte) ([]byte, error) {
	dst = append(dst[:0], 'S', s.sum(src))
	for _, c := range src {
		dst = append(dst, c^s.mask)
	}
	return dst, nil
}

func (s seal) Decode(dst, src []byte, limit int) ([]byte, error) {
	if len(src) < sealSize || src[0] != 'S' || len(src)-sealSize > limit {
		return nil, errors.New("seal: not sealed")
	}
	dst = dst[:0]
	for _, c := range src[sealSize:] {
		dst = append(dst, c^s.mask)
	}
	if s.sum(dst) != src[1] {
		return nil, errors.New("seal: broken")
	}
	return dst, nil
}

func TestTransforms(t *testing.T) {
	for _, tr := range []Transform{Snappy(), runs{}, seal{0x5a}, Required(Snappy()), Required(seal{1})} {
		t.Run(tr.Name(), func(t *testing.T) { testTransform(t, tr) })
	}
}

// samples are payloads of all sorts.
func samples() map[string][]byte {
	random := make([]byte, MaxPayload)
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range random {
		random[i] = byte(rng.Uint32())
	}
	return map[string][]byte{
		"empty":      {},
		"one byte":   {7},
		"zeros":      make([]byte, MaxPayload),
		"random":     random,
		"text":       []byte(strings.Repeat("temperature=21.5 humidity=40 ", 40)),
		"short text": []byte("21.5"),
	}
}

// testTransform is the contract of Transform. Copy it to test one of your own.
func testTransform(t *testing.T, tr Transform) {
	if err := CheckName(tr.Name()); err != nil {
		t.Fatalf("Name %q: %v", tr.Name(), err)
	}
	for name, src := range samples() {
		t.Run(name, func(t *testing.T) {
			before := bytes.Clone(src)
			for what, dst := range map[string][]byte{
				"no space": nil, "little space": make([]byte, 3), "used space": bytes.Repeat([]byte{0xee}, 2*MaxPayload),
				"empty space": make([]byte, 0, 2*MaxPayload),
			} {
				packed, err := tr.Encode(dst, src)
				if err != nil {
					t.Fatalf("%s: Encode: %v", what, err)
				}
				if !bytes.Equal(src, before) {
					t.Fatalf("%s: Encode changed its input", what)
				}
				if sharesMemory(packed, src) {
					t.Fatalf("%s: Encode returned part of its input", what)
				}
				asPacked := bytes.Clone(packed)
				for what, dst := range map[string][]byte{
					"no space": nil, "little space": make([]byte, 3), "used space": bytes.Repeat([]byte{0xee}, 2*MaxPayload),
				} {
					plain, err := tr.Decode(dst, packed, len(src))
					if err != nil {
						t.Fatalf("%s: Decode: %v", what, err)
					}
					if !bytes.Equal(plain, src) {
						t.Fatalf("%s: came back as %.20x", what, plain)
					}
					if !bytes.Equal(packed, asPacked) {
						t.Fatalf("%s: Decode changed its input", what)
					}
					if sharesMemory(plain, packed) {
						t.Fatalf("%s: Decode returned part of its input", what)
					}
				}
				if len(src) > 0 {
					if got, err := tr.Decode(nil, packed, len(src)-1); err == nil {
						t.Fatalf("Decode passed its limit of %d: %d bytes", len(src)-1, len(got))
					}
				}
				if len(packed)-len(src) > overhead(tr) && IsRequired(tr) {
					t.Fatalf("%d bytes became %d: more than the %d stated", len(src), len(packed), overhead(tr))
				}
				// Hostile input: errors or bytes within the limit, never a panic.
				for n := range min(len(packed), 100) {
					if got, err := tr.Decode(nil, packed[:n], MaxPayload); err == nil && len(got) > MaxPayload {
						t.Fatalf("cut at %d: %d bytes", n, len(got))
					}
				}
			}
		})
	}
	t.Run("at the same time", func(t *testing.T) {
		done := make(chan error)
		const many = 4
		for i := range many {
			go func() {
				src := bytes.Repeat([]byte{byte(i)}, 1000)
				for range 100 {
					packed, err := tr.Encode(nil, src)
					if err != nil {
						done <- err
						return
					}
					if plain, err := tr.Decode(nil, packed, MaxPayload); err != nil || !bytes.Equal(plain, src) {
						done <- errors.Join(err, errors.New("came back different"))
						return
					}
				}
				done <- nil
			}()
		}
		for range many {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	})
}

func sharesMemory(a, b []byte) bool {
	if cap(a) == 0 || cap(b) == 0 {
		return false
	}
	return &a[:cap(a)][cap(a)-1] == &b[:cap(b)][cap(b)-1]
}

func TestSnappyRefusesBeforeItAllocates(t *testing.T) {
	hostile := []byte("\x80\x80\x80\x80\x04\x00\x00") // says: 1 GiB when undone
	allocated := testing.Benchmark(func(b *testing.B) {
		b.ReportAllocs()
		for range b.N {
			if _, err := Snappy().Decode(nil, hostile, MaxPayload); err == nil {
				b.Fatal("taken")
			}
		}
	}).AllocedBytesPerOp()
	if allocated > 1024 {
		t.Errorf("%d bytes allocated on the way to the error", allocated)
	}
}

func TestRequired(t *testing.T) {
	r := Required(Snappy())
	if !IsRequired(r) || IsRequired(Snappy()) || r.Name() != "snappy" || Required(r) != r {
		t.Error("Required marks, and marks once")
	}
	if overhead(Required(seal{})) != sealSize || overhead(runs{}) != unstatedOverhead {
		t.Error("a required transform adds what the one within adds")
	}
}
