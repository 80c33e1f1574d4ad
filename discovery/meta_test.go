package discovery

import (
	"bytes"
	"strings"
	"testing"

	"github.com/fxamacker/cbor/v2"
)

func TestMeta(t *testing.T) {
	for name, m := range map[string]Meta{
		"least":   {Name: "a"},
		"relay":   {Name: "böard-7.lab", Role: RoleServer, Relay: true, Term: 1<<32 - 1},
		"longest": {Name: strings.Repeat("n", MaxName), Role: RolePeer, Relay: true, Term: 1<<32 - 1},
	} {
		t.Run(name, func(t *testing.T) {
			b, err := m.encode()
			if err != nil || len(b) > maxMeta {
				t.Fatalf("%d bytes, %v", len(b), err)
			}
			if got, err := parseMeta(b); err != nil || got != m {
				t.Errorf("got %+v, %v", got, err)
			}
			for n := range b {
				if got, err := parseMeta(b[:n]); err == nil {
					t.Errorf("cut to %d bytes: %+v", n, got)
				}
			}
		})
	}
}

func TestMetaThatCannotBe(t *testing.T) {
	for name, m := range map[string]Meta{
		"no name":   {},
		"long name": {Name: strings.Repeat("n", MaxName+1)},
		"not UTF-8": {Name: "\xff"},
		"role":      {Name: "a", Role: 3},
	} {
		if b, err := m.encode(); err == nil {
			t.Errorf("%s: encoded as %x", name, b)
		}
	}
	for name, v := range map[string]any{
		"a list":          []int{1, 2},
		"a term too high": map[int]any{1: "a", 4: uint64(1) << 32},
		"a name of bytes": map[int]any{1: []byte("a")},
		"a negative role": map[int]any{1: "a", 2: -1},
		"too many keys":   manyKeys(1000),
		"too deep":        map[int]any{1: "a", 9: [][][][]int{{{{1}}}}},
	} {
		if m, err := parseMeta(mustCBOR(t, v)); err == nil {
			t.Errorf("%s: read as %+v", name, m)
		}
	}
}

func TestMetaIgnoresUnknownKeys(t *testing.T) {
	m, err := parseMeta(mustCBOR(t, map[int]any{1: "a", 4: 9, 5: "news", 77: []int{1}}))
	if want := (Meta{Name: "a", Term: 9}); err != nil || m != want {
		t.Errorf("got %+v, %v", m, err)
	}
}

func manyKeys(n int) map[int]int {
	m := make(map[int]int, n)
	for i := range n {
		m[i] = 0
	}
	return m
}

func mustCBOR(t *testing.T, v any) []byte {
	t.Helper()
	b, err := cbor.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func FuzzMeta(f *testing.F) {
	for _, m := range []Meta{{Name: "a"}, {Name: "relay", Role: RoleServer, Relay: true, Term: 42}} {
		b, _ := m.encode()
		f.Add(b)
	}
	f.Add([]byte{0xbf, 0xff})
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := parseMeta(b)
		if err != nil {
			return
		}
		again, err := m.encode()
		if err != nil || len(again) > maxMeta {
			t.Fatalf("read %+v, which cannot be written: %v", m, err)
		}
		if back, err := parseMeta(again); err != nil || back != m {
			t.Fatalf("%+v became %+v, %v", m, back, err)
		}
		if len(again) == len(b) && !bytes.Equal(again, b) && cbor.Wellformed(b) != nil {
			t.Fatalf("malformed %x was read", b)
		}
	})
}
