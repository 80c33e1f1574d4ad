package mesh

import (
	"bytes"
	"testing"

	"ultrasockets/codec"
)

// FuzzCutKind: whatever a request holds, what is cut out of it is what stands there.
func FuzzCutKind(f *testing.F) {
	for _, v := range []any{OfKind("clock", 1), OfKind("", nil), "plain", map[string]any{"kind": 1, "value": 2}} {
		b, err := codec.AppendValue(nil, v)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte(kindHead + "\x7b\xff\xff\xff\xff\xff\xff\xff\xff"))
	f.Add([]byte(kindHead + "\x61a" + valueHead))
	f.Fuzz(func(t *testing.T, data []byte) {
		kind, value, ok := cutKind(data)
		if !ok {
			return
		}
		if !bytes.HasPrefix(data, []byte(kindHead)) || !bytes.HasSuffix(data, append([]byte(valueHead), value...)) {
			t.Fatalf("%q: %q %q", data, kind, value)
		}
		v, err := codec.DecodeValue(data)
		if err != nil {
			return
		}
		m, isMap := v.(map[string]any)
		if !isMap || len(m) != 2 || m["kind"] != kind {
			t.Fatalf("%v: %q", v, kind)
		}
		if again, err := codec.AppendValue(nil, OfKind(kind, m["value"])); err != nil || !bytes.HasPrefix(again, []byte(kindHead)) {
			t.Fatal(err)
		}
	})
}
