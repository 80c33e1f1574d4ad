package codec

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"
)

func mustUnpacker(t *testing.T, mine ...Transform) *Unpacker {
	t.Helper()
	u, err := NewUnpacker(mine)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func mustPacker(t *testing.T, u *Unpacker, mine ...Transform) *Packer {
	t.Helper()
	p, err := NewPacker(mine, u.Names(), u.Required())
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func randomBytes(n int) []byte {
	b := make([]byte, n)
	rng := rand.New(rand.NewPCG(uint64(n), 7))
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
	return b
}

func TestPackAndUnpack(t *testing.T) {
	text := bytes.Repeat([]byte("temperature=21.5 "), 100)
	for _, c := range []struct {
		name             string
		sender, receiver []Transform
		src              []byte
		packing          uint8
	}{
		{"nobody lists anything", nil, nil, text, 0},
		{"the receiver takes nothing", []Transform{Snappy()}, nil, text, 0},
		{"the sender has nothing", nil, []Transform{Snappy()}, text, 0},
		{"snappy", []Transform{Snappy()}, []Transform{Snappy()}, text, 1},
		{"the receiver's order", []Transform{Snappy(), runs{}}, []Transform{runs{}, Snappy()}, text, 2},
		{"both shrink", []Transform{Snappy(), runs{}}, []Transform{runs{}, Snappy()}, bytes.Repeat([]byte("aaaaaaaabbbbbbbb"), MaxPayload/16), 3},
		{"small", []Transform{Snappy()}, []Transform{Snappy()}, text[:minPack-1], 0},
		{"just large enough", []Transform{Snappy()}, []Transform{Snappy()}, text[:minPack], 1},
		{"does not shrink", []Transform{Snappy()}, []Transform{Snappy()}, randomBytes(1000), 0},
		{"full and does not shrink", []Transform{Snappy()}, []Transform{Snappy()}, randomBytes(MaxPayload), 0},
		{"required by the receiver", []Transform{seal{1}}, []Transform{Required(seal{1})}, []byte("small"), 1},
		{"required by the sender", []Transform{Required(seal{1})}, []Transform{seal{1}}, []byte("small"), 1},
		{"required by the sender, listed late", []Transform{Required(seal{1})}, []Transform{Snappy(), runs{}, seal{1}}, []byte("small"), 4},
		{"required and empty", []Transform{seal{1}}, []Transform{Required(seal{1})}, nil, 1},
		{"required and a choice", []Transform{Required(seal{1}), Snappy()}, []Transform{Snappy(), Required(seal{1})}, text, 3},
		{"required, and the choice does not shrink", []Transform{Snappy(), seal{1}}, []Transform{Snappy(), Required(seal{1})}, randomBytes(1000), 2},
		{"a required one does not shrink", []Transform{Snappy()}, []Transform{Required(Snappy())}, randomBytes(1000), 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			u := mustUnpacker(t, c.receiver...)
			for _, dst := range [][]byte{nil, make([]byte, 0, 10), make([]byte, 5, 2*MaxPayload)} {
				p := mustPacker(t, u, c.sender...)
				before := bytes.Clone(c.src)
				packed, packing, err := p.Pack(dst, c.src)
				if err != nil || packing != c.packing {
					t.Fatalf("packing %#b, %v; want %#b", packing, err, c.packing)
				}
				if packing == 0 && len(c.src) > 0 && &packed[0] != &c.src[0] {
					t.Error("plain, but not src itself")
				}
				plain, err := u.Unpack(make([]byte, 0, MaxPayload), packed, packing)
				if err != nil || !bytes.Equal(plain, before) {
					t.Fatalf("came back as %.20x, %v", plain, err)
				}
				if !bytes.Equal(before, c.src) {
					t.Fatal("src was changed")
				}
			}
		})
	}
}

func TestNoCommonTransform(t *testing.T) {
	for _, c := range []struct {
		name     string
		mine     []Transform
		theirs   []string
		required uint8
		want     error
	}{
		{"sender requires what the receiver lacks", []Transform{Required(seal{})}, []string{"snappy"}, 0, ErrNoCommonTransform},
		{"receiver requires what the sender lacks", []Transform{Snappy()}, []string{"snappy", "seal"}, 2, ErrNoCommonTransform},
		{"receiver lists nothing", []Transform{Required(seal{})}, nil, 0, ErrNoCommonTransform},
		{"receiver requires what it does not list", nil, []string{"snappy"}, 2, ErrPacking},
		{"nil", []Transform{nil}, nil, 0, ErrPacking},
		{"twice", []Transform{Snappy(), Snappy()}, nil, 0, ErrPacking},
		{"receiver lists one twice", nil, []string{"a", "a"}, 0, ErrPacking},
		{"receiver lists nine", nil, []string{"1", "2", "3", "4", "5", "6", "7", "8", "9"}, 0, ErrPacking},
		{"no room", []Transform{greedy{}}, []string{"greedy"}, 1, ErrPacking},
	} {
		if _, err := NewPacker(c.mine, c.theirs, c.required); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
	nine := []Transform{}
	for i := range 9 {
		nine = append(nine, Required(named{seal{}, fmt.Sprint("t", i)}))
	}
	for name, list := range map[string][]Transform{
		"nil": {nil}, "twice": {Snappy(), Snappy()}, "nine": nine, "bad name": {named{seal{}, "a b"}},
	} {
		if _, err := NewUnpacker(list); !errors.Is(err, ErrPacking) {
			t.Errorf("%s: %v, want ErrPacking", name, err)
		}
	}
	if u, err := NewUnpacker(nine[:8]); err != nil || u.Required() != 0xff || len(u.Names()) != 8 {
		t.Errorf("eight: %v", err)
	}
}

type named struct {
	Transform
	name string
}

func (n named) Name() string { return n.name }

// greedy claims more room than there is.
type greedy struct{ seal }

func (greedy) Name() string  { return "greedy" }
func (greedy) Overhead() int { return MaxPayload }

// failing fails to encode, and decodes to more than it may.
type failing struct{ Transform }

func (failing) Encode(dst, src []byte) ([]byte, error) { return nil, errors.New("out of order") }
func (failing) Decode(dst, src []byte, limit int) ([]byte, error) {
	return make([]byte, limit+1), nil
}

func TestPackFailures(t *testing.T) {
	u := mustUnpacker(t, Required(seal{1}))
	p := mustPacker(t, u, seal{1})
	if p.MaxPlain() != MaxPayload-sealSize {
		t.Errorf("MaxPlain %d", p.MaxPlain())
	}
	full := make([]byte, p.MaxPlain())
	packed, packing, err := p.Pack(nil, full)
	if err != nil || len(packed) != MaxPayload {
		t.Fatalf("MaxPlain bytes became %d, %v", len(packed), err)
	}
	if plain, err := u.Unpack(nil, packed, packing); err != nil || !bytes.Equal(plain, full) {
		t.Fatal(err)
	}
	if _, _, err := p.Pack(nil, make([]byte, p.MaxPlain()+1)); !errors.Is(err, ErrPacking) {
		t.Errorf("one byte more: %v", err)
	}
	if _, _, err := mustPacker(t, mustUnpacker(t)).Pack(nil, make([]byte, MaxPayload+1)); !errors.Is(err, ErrPacking) {
		t.Errorf("more than a payload: %v", err)
	}

	bad := failing{runs{}}
	if _, packing, err := mustPacker(t, mustUnpacker(t, bad), bad).Pack(nil, make([]byte, 1000)); err != nil || packing != 0 {
		t.Errorf("a failing transform nobody requires: %v; want plain", err)
	}
	if _, _, err := mustPacker(t, mustUnpacker(t, Required(bad)), bad).Pack(nil, make([]byte, 1000)); !errors.Is(err, ErrPacking) {
		t.Errorf("a failing transform that is required: %v", err)
	}
	if _, err := mustUnpacker(t, bad).Unpack(nil, []byte("x"), 1); !errors.Is(err, ErrPacking) {
		t.Errorf("a transform that passes its limit: %v", err)
	}
}

func TestUnpackFailures(t *testing.T) {
	packed := snapped(make([]byte, 1000))
	for _, c := range []struct {
		name    string
		u       *Unpacker
		src     []byte
		packing uint8
	}{
		{"a bit beyond the list", mustUnpacker(t, Snappy()), packed, 2},
		{"any bit of no list", mustUnpacker(t), packed, 1},
		{"broken", mustUnpacker(t, Snappy()), packed[1:], 1},
		{"cut", mustUnpacker(t, Snappy()), packed[:len(packed)-1], 1},
		{"plain, but required", mustUnpacker(t, Required(Snappy())), packed, 0},
		{"packed, but not by the required one", mustUnpacker(t, Required(seal{}), Snappy()), packed, 2},
		{"larger than a payload when undone", mustUnpacker(t, Snappy()), snapped(make([]byte, MaxPayload+1)), 1},
		{"larger than a payload", mustUnpacker(t), make([]byte, MaxPayload+1), 0},
		{"a bomb within", mustUnpacker(t, Snappy(), runs{}), bytes.Repeat([]byte{255, 0}, 1000), 3},
	} {
		if got, err := c.u.Unpack(nil, c.src, c.packing); !errors.Is(err, ErrPacking) {
			t.Errorf("%s: %d bytes, %v; want ErrPacking", c.name, len(got), err)
		}
	}
}

// TestPackLeavesAloneWhatDoesNotShrink: of many random payloads few are tried, and the way back is short enough.
func TestPackLeavesAloneWhatDoesNotShrink(t *testing.T) {
	counted := &counting{Transform: Snappy()}
	p := mustPacker(t, mustUnpacker(t, Snappy()), counted)
	random, text := randomBytes(1000), make([]byte, 1000)
	dst := make([]byte, 0, MaxPayload)
	for range 1000 {
		if _, packing, err := p.Pack(dst, random); packing != 0 || err != nil {
			t.Fatal(packing, err)
		}
	}
	if counted.n < 8 || counted.n > 12 {
		t.Errorf("%d of 1000 tried, want about 10", counted.n)
	}
	untried := 0
	for {
		_, packing, err := p.Pack(dst, text)
		if err != nil {
			t.Fatal(err)
		}
		if packing != 0 {
			break
		}
		if untried++; untried > maxPause {
			t.Fatalf("%d payloads that shrink were not tried", untried)
		}
	}
	for range 10 {
		if _, packing, _ := p.Pack(dst, text); packing == 0 {
			t.Fatal("left alone though it shrinks")
		}
	}
	// One failure costs one.
	_, _, _ = p.Pack(dst, random)
	_, first, _ := p.Pack(dst, text)
	_, second, _ := p.Pack(dst, text)
	if first != 0 || second == 0 {
		t.Errorf("after one failure: packings %d, %d; want one pause", first, second)
	}
}

type counting struct {
	Transform
	n int
}

func (c *counting) Encode(dst, src []byte) ([]byte, error) {
	c.n++
	return c.Transform.Encode(dst, src)
}

// TestPackModel: whatever both sides list, what is packed is unpacked, and no required transform is missing.
func TestPackModel(t *testing.T) {
	all := []Transform{Snappy(), runs{}, seal{3}, named{seal{9}, "other"}}
	drawList := func(t *rapid.T, label string) []Transform {
		var list []Transform
		for _, tr := range rapid.Permutation(all).Draw(t, label)[:rapid.IntRange(0, len(all)).Draw(t, label+" size")] {
			if rapid.Bool().Draw(t, "required") {
				tr = Required(tr)
			}
			list = append(list, tr)
		}
		return list
	}
	rapid.Check(t, func(t *rapid.T) {
		sender, receiver := drawList(t, "sender"), drawList(t, "receiver")
		u, err := NewUnpacker(receiver)
		if err != nil {
			t.Fatal(err)
		}
		p, err := NewPacker(sender, u.Names(), u.Required())
		missing := lacks(sender, receiver) || lacks(receiver, sender)
		if missing != errors.Is(err, ErrNoCommonTransform) {
			t.Fatalf("a required one is missing: %v, error: %v", missing, err)
		}
		if err != nil {
			return
		}
		for range rapid.IntRange(1, 20).Draw(t, "payloads") {
			src := bytes.Repeat(rapid.SliceOfN(rapid.Byte(), 1, 50).Draw(t, "bytes"), rapid.IntRange(0, 100).Draw(t, "times"))
			packed, packing, err := p.Pack(nil, src)
			if err != nil {
				t.Fatal(err)
			}
			if len(packed) > MaxPayload {
				t.Fatalf("%d bytes", len(packed))
			}
			if must := mustBits(sender, receiver); packing&must != must {
				t.Fatalf("packing %#b, required %#b", packing, must)
			}
			plain, err := u.Unpack(nil, packed, packing)
			if err != nil || !bytes.Equal(plain, src) {
				t.Fatalf("came back as %.20x, %v", plain, err)
			}
		}
	})
}

// lacks reports whether a list requires what another has not.
func lacks(requiring, other []Transform) bool {
	for _, t := range requiring {
		found := false
		for _, o := range other {
			found = found || o.Name() == t.Name()
		}
		if IsRequired(t) && !found {
			return true
		}
	}
	return false
}

func TestPackAllocatesNothing(t *testing.T) {
	u := mustUnpacker(t, Snappy())
	p := mustPacker(t, u, Snappy())
	src := bytes.Repeat([]byte("temperature=21.5 "), 100)
	dst, into := make([]byte, 0, MaxPayload), make([]byte, 0, MaxPayload)
	noAllocs(t, "Pack and Unpack", func() {
		packed, packing, err := p.Pack(dst, src)
		if err != nil || packing != 1 {
			t.Fatal(packing, err)
		}
		if plain, err := u.Unpack(into, packed, packing); err != nil || len(plain) != len(src) {
			t.Fatal(err)
		}
	})
	noAllocs(t, "Pack what is small", func() { _, _, _ = p.Pack(dst, src[:10]) })
}
