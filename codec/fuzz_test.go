package codec

import (
	"bytes"
	"encoding/hex"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/fxamacker/cbor/v2"
)

// Every parser has a fuzz target here, seeded with the golden bytes: go test ./codec -fuzz=FuzzNext

// goldenBytes are the bytes of all golden files.
func goldenBytes(f *testing.F) [][]byte {
	files, err := filepath.Glob(framesDir + "/*.hex")
	if err != nil || len(files) == 0 {
		f.Fatal(len(files), err)
	}
	var all [][]byte
	for _, path := range files {
		all = append(all, readHex(f, path))
	}
	return all
}

func FuzzNext(f *testing.F) {
	for _, b := range goldenBytes(f) {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		all := b
		for {
			raw, rest, err := Next(b)
			if err != nil {
				if !errors.Is(err, ErrFrame) || raw != nil {
					t.Fatal(raw, err)
				}
				return
			}
			if raw == nil {
				if len(rest) != len(b) || len(rest) >= MaxFrame {
					t.Fatalf("%d bytes and no frame", len(rest))
				}
				return
			}
			if len(raw)+len(rest) != len(b) || len(raw) > MaxFrame || !bytes.HasSuffix(all, rest) {
				t.Fatal(len(raw), len(rest), len(b))
			}
			if IsSealed(raw) {
				if got := new(Opener).Open(bytes.Clone(raw)); raw.Valid() || len(got) != len(raw) && len(got) != len(raw)-SealSize {
					t.Fatalf("valid %v, %d bytes of %d when opened", raw.Valid(), len(got), len(raw))
				}
				b = rest
				continue
			}
			fields := raw.Frame()
			if fields.Size() != len(raw) {
				t.Fatalf("%+v has %d bytes, came in %d", fields, fields.Size(), len(raw))
			}
			// A frame with nothing in the reserved bytes and a right checksum is what Append makes.
			again := fields.Append(nil)
			if !Raw(again).Valid() {
				t.Fatal("not valid")
			}
			if raw.Valid() && bytes.Equal(raw[sealedAt:streamAt], []byte{0, 0, 0}) && !bytes.Equal(again, raw) {
				t.Fatalf("%x became %x", raw, again)
			}
			b = rest
		}
	})
}

func FuzzPreamble(f *testing.F) {
	for _, g := range goldenPreambles {
		f.Add(g.bytes)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if p, err := ParsePreamble(b); err == nil {
			if again := p.Append(nil); !bytes.Equal(again[:waitAt], b[:waitAt]) {
				t.Fatalf("%x became %x", b, again)
			}
		} else if !errors.Is(err, ErrPreamble) {
			t.Fatal(err)
		}
		if a, err := ParseAnswer(b); err == nil {
			again, err := ParseAnswer(a.Append(nil))
			if err != nil || again != a {
				t.Fatal(again, a, err)
			}
		} else if !errors.Is(err, ErrPreamble) {
			t.Fatal(err)
		}
	})
}

func FuzzHello(f *testing.F)       { fuzzBody(f, bodyNamed("Hello")) }
func FuzzWelcome(f *testing.F)     { fuzzBody(f, bodyNamed("Welcome")) }
func FuzzRefusal(f *testing.F)     { fuzzBody(f, bodyNamed("Refusal")) }
func FuzzBye(f *testing.F)         { fuzzBody(f, bodyNamed("Bye")) }
func FuzzRoster(f *testing.F)      { fuzzBody(f, bodyNamed("Roster")) }
func FuzzUpdate(f *testing.F)      { fuzzBody(f, bodyNamed("Update")) }
func FuzzAck(f *testing.F)         { fuzzBody(f, bodyNamed("Ack")) }
func FuzzReset(f *testing.F)       { fuzzBody(f, bodyNamed("Reset")) }
func FuzzUnreachable(f *testing.F) { fuzzBody(f, bodyNamed("Unreachable")) }

// fuzzBody checks that a parser returns ErrBody or a body that stays the same when it is written and read again. (An empty
// list is written as none, so the first reading may differ from the bytes.)
func fuzzBody(f *testing.F, body body) {
	for _, g := range goldens {
		if g.body != nil && bodyOf(g.body).name == body.name {
			f.Add(body.write(g.body))
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		v, err := body.parse(b)
		if err != nil {
			if !errors.Is(err, ErrBody) {
				t.Fatal(err)
			}
			return
		}
		written := body.write(v)
		again, err := body.parse(written)
		if err != nil {
			t.Fatalf("%+v cannot be read again: %v", v, err)
		}
		if twice := body.write(again); !bytes.Equal(written, twice) {
			t.Fatalf("%x became %x", written, twice)
		}
	})
}

// FuzzValue checks the scanner against another reader of CBOR, and that what is decoded can be sent and comes back.
func FuzzValue(f *testing.F) {
	text, err := os.ReadFile("../testdata/values/values.txt")
	if err != nil {
		f.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if b, err := hex.DecodeString(strings.SplitN(line, " ", 2)[0]); err == nil {
			f.Add(b)
		}
	}
	other := must(cbor.DecOptions{MaxNestedLevels: 2 * MaxDepth, MaxArrayElements: MaxItems, MaxMapPairs: MaxItems}.DecMode())
	f.Fuzz(func(t *testing.T, b []byte) {
		scanned := scanValue(b)
		if wellformed := other.Wellformed(b); scanned == nil && wellformed != nil {
			t.Fatalf("%x: scanned, but %v", b, wellformed)
		} else if wellformed == nil && errors.Is(scanned, errCut) {
			t.Fatalf("%x is well-formed, but %v", b, scanned)
		}
		_ = Diagnose(b)
		AsText(b)
		AsBytes(b)
		var typed nested
		_ = UnmarshalValue(b, &typed)

		v, err := DecodeValue(b)
		if err != nil {
			if !errors.Is(err, ErrValue) {
				t.Fatal(err)
			}
			return
		}
		if scanned != nil {
			t.Fatalf("%x: decoded, but %v", b, scanned)
		}
		written, err := AppendValue(nil, v)
		if err != nil {
			t.Fatalf("%x: %#v cannot be sent: %v", b, v, err)
		}
		again, err := DecodeValue(written)
		if err != nil {
			t.Fatalf("%x: %#v cannot be read again: %v", b, v, err)
		}
		if twice, err := AppendValue(nil, again); err != nil || !bytes.Equal(written, twice) {
			t.Fatalf("%x became %x, %v", written, twice, err)
		}
	})
}

func FuzzUnpack(f *testing.F) {
	list := []Transform{Snappy(), runs{}, seal{1}}
	u, err := NewUnpacker(list)
	if err != nil {
		f.Fatal(err)
	}
	for _, src := range samples() {
		p, err := NewPacker(list, u.Names(), 0)
		if err != nil {
			f.Fatal(err)
		}
		packed, packing, err := p.Pack(nil, src)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(packed, packing)
	}
	f.Add([]byte("\x80\x80\x80\x80\x04\x00\x00"), uint8(1))
	f.Fuzz(func(t *testing.T, b []byte, packing uint8) {
		before := bytes.Clone(b)
		plain, err := u.Unpack(make([]byte, 0, 100), b, packing)
		if err != nil && !errors.Is(err, ErrPacking) || len(plain) > MaxPayload {
			t.Fatal(len(plain), err)
		}
		if !reflect.DeepEqual(b, before) {
			t.Fatal("the input was changed")
		}
	})
}

func FuzzCheckName(f *testing.F) {
	for _, name := range []string{"a", "küche", "all", "-", "a\xff", "e\u0301"} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		err := CheckName(name)
		if err != nil && !errors.Is(err, ErrBadName) {
			t.Fatal(err)
		}
		if err == nil && (len(name) == 0 || len(name) > MaxName || strings.ContainsAny(name, " /\\:\x00\n\"'$*?")) {
			t.Fatalf("%q was taken", name)
		}
	})
}

// FuzzSplit cuts a stream of frames anywhere: the frames are the same as those of the whole.
func FuzzSplit(f *testing.F) {
	golden := goldenBytes(f)
	f.Add(bytes.Join(golden[len(golden)/2:], nil), 7, 100)
	for i, b := range golden {
		f.Add(b, i, 2*i)
	}
	f.Fuzz(func(t *testing.T, b []byte, first, second int) {
		var whole []Raw
		rest, wholeErr := b, error(nil)
		for {
			var frame Raw
			if frame, rest, wholeErr = Next(rest); frame == nil {
				break
			}
			whole = append(whole, frame)
		}
		a := min(max(first, 0), len(b))
		c := min(max(second, a), len(b))
		var held []byte
		n := 0
		for _, piece := range [][]byte{b[:a], b[a:c], b[c:]} {
			held = append(held, piece...)
			for {
				frame, after, err := Next(held)
				if err != nil {
					if wholeErr == nil || n != len(whole) {
						t.Fatalf("frame %d: %v, and of the whole: %v", n, err, wholeErr)
					}
					return
				}
				if frame == nil {
					break
				}
				if n >= len(whole) || !bytes.Equal(frame, whole[n]) {
					t.Fatalf("frame %d differs", n)
				}
				n++
				held = after
			}
		}
		if n != len(whole) || wholeErr != nil {
			t.Fatalf("%d of %d frames, and of the whole: %v", n, len(whole), wholeErr)
		}
	})
}

// FuzzPack lets two nodes list any transforms, require any, and send anything: it comes back, and nothing that either
// requires was left out.
func FuzzPack(f *testing.F) {
	for i, src := range slices.Sorted(maps.Keys(samples())) {
		f.Add(samples()[src][:min(1000, len(samples()[src]))], uint8(0x17), uint8(0x37+i), uint8(i))
	}
	all := []Transform{Snappy(), runs{}, seal{1}}
	list := func(bits uint8) (l []Transform) { // three bits: which; three more: required
		for i, tr := range all {
			if bits>>i&1 == 0 {
				continue
			}
			if bits>>(i+3)&1 != 0 {
				tr = Required(tr)
			}
			l = append(l, tr)
		}
		return l
	}
	f.Fuzz(func(t *testing.T, src []byte, sender, receiver, order uint8) {
		mine, theirs := list(sender), list(receiver)
		if order&1 != 0 {
			slices.Reverse(theirs)
		}
		u, err := NewUnpacker(theirs)
		if err != nil {
			t.Fatal(err)
		}
		p, err := NewPacker(mine, u.Names(), u.Required())
		if missing := lacks(mine, theirs) || lacks(theirs, mine); missing != errors.Is(err, ErrNoCommonTransform) {
			t.Fatalf("missing %v, %v", missing, err)
		}
		if err != nil {
			return
		}
		src = src[:min(len(src), p.MaxPlain())]
		for range 3 { // what does not shrink is left alone for a while
			packed, packing, err := p.Pack(nil, src)
			if err != nil || len(packed) > MaxPayload {
				t.Fatal(len(packed), err)
			}
			if must := mustBits(mine, theirs); packing&must != must {
				t.Fatalf("packing %#b, required %#b", packing, must)
			}
			if plain, err := u.Unpack(nil, packed, packing); err != nil || !bytes.Equal(plain, src) {
				t.Fatalf("%q came back as %q, %v", src, plain, err)
			}
			if u.Required() != 0 {
				if _, err := u.Unpack(nil, packed, packing&^u.Required()); !errors.Is(err, ErrPacking) {
					t.Fatalf("taken without the required ones: %v", err)
				}
			}
		}
	})
}

// mustBits are the bits, in the receiver's list, of what either side requires.
func mustBits(sender, receiver []Transform) (bits uint8) {
	for k, tr := range receiver {
		required := IsRequired(tr)
		for _, mine := range sender {
			required = required || mine.Name() == tr.Name() && IsRequired(mine)
		}
		if required {
			bits |= 1 << k
		}
	}
	return bits
}
