package codec

import (
	"bytes"
	"strings"
	"testing"
)

// sealed seals a whole frame, the body in the memory of the payload's copy.
func sealed(s *Sealer, f Raw) Raw {
	head := f[:HeadSize(f)]
	payload := bytes.Clone(f[len(head):])
	out, body := s.Seal(nil, payload[:0], head, payload)
	return append(out, body...)
}

func testKey(n byte) (key [SealKey]byte) {
	for i := range key {
		key[i] = n + byte(i)
	}
	return key
}

func TestSealOpens(t *testing.T) {
	var o Opener
	for _, size := range []int{0, 1, 15, 16, 17, 4096, MaxPayload} {
		for _, names := range [][2]string{{"b", "a"}, {strings.Repeat("b", MaxName), strings.Repeat("a", MaxName)}} {
			s := NewSealer(testKey(byte(size)))
			f := Frame{Kind: KindData, Flags: FlagFirst, Packing: 3, To: names[0], From: names[1], Stream: 7, Seq: 8,
				Payload: bytes.Repeat([]byte("payload."), size/8+1)[:size]}
			plain := Raw(f.Append(nil))
			for range 3 {
				raw, rest, err := Next(sealed(s, plain))
				if err != nil || len(rest) > 0 || len(raw) != len(plain)+SealSize || !IsSealed(raw) || HeadSize(raw) != len(plain)-size+SealHead {
					t.Fatalf("%d bytes: %d sealed, %v", size, len(raw), err)
				}
				if string(raw.To()) != names[0] || string(raw.From()) != names[1] || raw.Stream() != 7 || raw.Seq() != 8 || raw.Flags() != FlagFirst {
					t.Errorf("%d bytes: the sealed frame says %+v", size, raw.Frame())
				}
				if size >= 16 && bytes.Contains(raw, plain[len(plain)-size:]) {
					t.Errorf("%d bytes: the payload can be read", size)
				}
				if raw.Valid() {
					t.Errorf("%d bytes: valid while it is sealed", size)
				}
				if got := o.Open(raw); !bytes.Equal(got, plain) || !got.Valid() {
					t.Errorf("%d bytes: valid %v", size, got.Valid())
				}
			}
		}
	}
}

func TestOpenLeavesOthersAlone(t *testing.T) {
	f := Frame{Kind: KindData, To: "b", From: "a", Payload: []byte("payload")}
	if got := new(Opener).Open(f.Append(nil)); !bytes.Equal(got, f.Append(nil)) {
		t.Errorf("%x", got)
	}
}

// TestSealCoversEveryByte: what is changed on the way does not open, or is no valid frame then.
func TestSealCoversEveryByte(t *testing.T) {
	f := Frame{Kind: KindData, To: "b", From: "a", Stream: 1, Seq: 2, Payload: []byte("payload")}
	s := NewSealer(testKey(1))
	s.count = 0x0102030405060708
	whole := sealed(s, f.Append(nil))
	for i := range whole {
		for bit := range 8 {
			b := bytes.Clone(whole)
			b[i] ^= 1 << bit
			raw, _, err := Next(b)
			if err != nil || raw == nil {
				continue
			}
			if new(Opener).Open(raw).Valid() {
				t.Fatalf("bit %d of byte %d does not count", bit, i)
			}
		}
	}
}

// TestSealNeverRepeats: no two payloads have the same nonce under one key, nor does a body fit another head.
func TestSealNeverRepeats(t *testing.T) {
	f := Frame{Kind: KindData, To: "b", From: "a", Payload: []byte("the same")}
	s := NewSealer(testKey(1))
	one, two := sealed(s, f.Append(nil)), sealed(s, f.Append(nil))
	if at := HeadSize(one); bytes.Equal(one[at:], two[at:]) {
		t.Fatal("two frames are sealed alike")
	} else if new(Opener).Open(append(bytes.Clone(one[:at]), two[at:]...)).Valid() {
		t.Fatal("the body of another frame opens")
	}
}

// TestOpenerTakesAnyKey: frames with keys in any order open.
func TestOpenerTakesAnyKey(t *testing.T) {
	var o Opener
	f := Frame{Kind: KindData, To: "b", From: "a", Payload: []byte("payload")}
	for _, n := range []byte{1, 1, 2, 1, 3, 3, 0} {
		if !o.Open(sealed(NewSealer(testKey(n)), f.Append(nil))).Valid() {
			t.Fatalf("key %d: not valid", n)
		}
	}
}

func BenchmarkSeal(b *testing.B) {
	f := Frame{Kind: KindData, To: "b", From: "a", Payload: make([]byte, MaxPayload)}
	plain := Raw(f.Append(nil))
	head, payload := plain[:HeadSize(plain)], plain[HeadSize(plain):]
	s, dst, body := NewSealer(testKey(1)), make([]byte, 0, MaxHead), make([]byte, 0, MaxPayload+SealTag)
	b.SetBytes(MaxPayload)
	b.ReportAllocs()
	for b.Loop() {
		s.Seal(dst, body, head, payload)
	}
}

func BenchmarkOpen(b *testing.B) {
	f := Frame{Kind: KindData, To: "b", From: "a", Payload: make([]byte, MaxPayload)}
	whole := sealed(NewSealer(testKey(1)), f.Append(nil))
	var o Opener
	raw := bytes.Clone(whole)
	b.SetBytes(MaxPayload)
	b.ReportAllocs()
	for b.Loop() {
		copy(raw, whole)
		if IsSealed(o.Open(raw)) {
			b.Fatal("it does not open")
		}
	}
}
