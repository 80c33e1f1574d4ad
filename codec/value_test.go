package codec

import (
	"bytes"
	"encoding/hex"
	"errors"
	"math"
	"math/big"
	"net/netip"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/fxamacker/cbor/v2"
	"pgregory.net/rapid"
)

var noon = time.Date(2026, 11, 22, 12, 0, 0, 123456789, time.UTC)

func bigInt(s string) *big.Int {
	n, ok := new(big.Int).SetString(s, 10)
	if !ok {
		panic(s)
	}
	return n
}

type reading struct {
	Celsius float64   `cbor:"c"`
	At      time.Time `json:"at"`
	Note    string    `json:"note,omitempty"`
	Hidden  int       `json:"-"`
	Plain   int
	secret  int
}

type nested struct {
	reading  // promoted
	Next     *nested
	Tags     map[string]string
	Raw      []byte
	Any      any
	Duration time.Duration
}

// TestValues: what a Go value becomes, in CBOR and when it is decoded without a type.
func TestValues(t *testing.T) {
	seven := 7
	for _, c := range []struct {
		name string
		v    any
		diag string
		want any
	}{
		{"nil", nil, "null", nil},
		{"true", true, "true", true},
		{"false", false, "false", false},
		{"zero", 0, "0", int64(0)},
		{"int", 23, "23", int64(23)},
		{"negative int", -1, "-1", int64(-1)},
		{"int8", int8(-128), "-128", int64(-128)},
		{"int16", int16(-32768), "-32768", int64(-32768)},
		{"int32", int32(math.MinInt32), "-2147483648", int64(math.MinInt32)},
		{"int64 min", int64(math.MinInt64), "-9223372036854775808", int64(math.MinInt64)},
		{"int64 max", int64(math.MaxInt64), "9223372036854775807", int64(math.MaxInt64)},
		{"uint", uint(5), "5", int64(5)},
		{"uint8", uint8(255), "255", int64(255)},
		{"uint16", uint16(65535), "65535", int64(65535)},
		{"uint32", uint32(math.MaxUint32), "4294967295", int64(math.MaxUint32)},
		{"uint64 that fits", uint64(24), "24", int64(24)},
		{"uint64 max", uint64(math.MaxUint64), "18446744073709551615", uint64(math.MaxUint64)},
		{"big that fits", big.NewInt(-5), "-5", int64(-5)},
		{"big", bigInt("18446744073709551616"), "18446744073709551616", bigInt("18446744073709551616")},
		{"big negative", bigInt("-9223372036854775809"), "-9223372036854775809", bigInt("-9223372036854775809")},
		{"big more negative", bigInt("-18446744073709551617"), "-18446744073709551617", bigInt("-18446744073709551617")},
		{"float64", 1.1, "1.1", 1.1},
		{"float64 that is whole", 2.0, "2.0", 2.0},
		{"float32", float32(0.5), "0.5", 0.5},
		{"float max", math.MaxFloat64, "1.7976931348623157e+308", math.MaxFloat64},
		{"infinity", math.Inf(1), "Infinity", math.Inf(1)},
		{"minus infinity", math.Inf(-1), "-Infinity", math.Inf(-1)},
		{"string", "ünï", `"\u00fcn\u00ef"`, "ünï"},
		{"empty string", "", `""`, ""},
		{"bytes", []byte{1, 2}, "h'0102'", []byte{1, 2}},
		{"nil bytes", []byte(nil), "h''", []byte{}},
		{"byte array", [2]byte{1, 2}, "h'0102'", []byte{1, 2}},
		{"time", noon, `0("2026-11-22T12:00:00.123456789Z")`, noon},
		{"time elsewhere", noon.In(time.FixedZone("", 3600)), `0("2026-11-22T12:00:00.123456789Z")`, noon},
		{"zero time", time.Time{}, "null", nil},
		{"duration", time.Second, "1000000000", int64(1000000000)},
		{"slice", []int{1, 2}, "[1, 2]", []any{int64(1), int64(2)}},
		{"nil slice", []int(nil), "[]", []any{}},
		{"array", [2]string{"a", "b"}, `["a", "b"]`, []any{"a", "b"}},
		{"mixed slice", []any{1, "a", nil, []byte{1}}, `[1, "a", null, h'01']`, []any{int64(1), "a", nil, []byte{1}}},
		{"map", map[string]int{"b": 2, "a": 1, "aa": 3}, `{"a": 1, "b": 2, "aa": 3}`, map[string]any{"a": int64(1), "b": int64(2), "aa": int64(3)}},
		{"nil map", map[string]int(nil), "{}", map[string]any{}},
		{"map of numbers", map[int]string{1: "a", -1: "b"}, `{1: "a", -1: "b"}`, map[any]any{int64(1): "a", int64(-1): "b"}},
		{"map of anything", map[any]any{"a": 1, 2: true, false: nil}, `{2: true, "a": 1, false: null}`, map[any]any{"a": int64(1), int64(2): true, false: nil}},
		{"map in a map", map[string]any{"m": map[string]any{"x": []any{}}}, `{"m": {"x": []}}`, map[string]any{"m": map[string]any{"x": []any{}}}},
		{"struct", reading{Celsius: 21.5, At: noon, Hidden: 1, Plain: 2, secret: 3}, `{"c": 21.5, "at": 0("2026-11-22T12:00:00.123456789Z"), "Plain": 2}`,
			map[string]any{"c": 21.5, "at": noon, "Plain": int64(2)}},
		{"pointer", &seven, "7", int64(7)},
		{"nil pointer", (*int)(nil), "null", nil},
		{"pointer to a struct", &struct{ A *int }{&seven}, `{"A": 7}`, map[string]any{"A": int64(7)}},
		{"a type with MarshalBinary", netip.MustParseAddr("192.0.2.1"), "h'c0000201'", []byte{192, 0, 2, 1}},
		{"a type with MarshalText", level(2), `"level 2"`, "level 2"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b, err := AppendValue([]byte("before"), c.v)
			if err != nil {
				t.Fatal(err)
			}
			b, ok := bytes.CutPrefix(b, []byte("before"))
			if !ok {
				t.Fatal("AppendValue changed what stood before")
			}
			if got := Diagnose(b); got != c.diag {
				t.Errorf("it travels as %s, want %s", got, c.diag)
			}
			got, err := DecodeValue(b)
			if err != nil || !reflect.DeepEqual(got, c.want) {
				t.Errorf("decoded as %#v, %v; want %#v", got, err, c.want)
			}
			var through any
			if err := UnmarshalValue(b, &through); err != nil || !reflect.DeepEqual(through, c.want) {
				t.Errorf("unmarshalled as %#v, %v; want %#v", through, err, c.want)
			}
			for n := range b {
				if _, err := DecodeValue(b[:n]); !errors.Is(err, ErrValue) {
					t.Errorf("cut at %d: %v, want ErrValue", n, err)
				}
			}
		})
	}
}

type level int

func (l level) MarshalText() ([]byte, error) { return []byte("level " + string(rune('0'+l))), nil }

func (l *level) UnmarshalText(b []byte) error {
	*l = level(b[len(b)-1] - '0')
	return nil
}

func TestNaN(t *testing.T) {
	b, err := AppendValue(nil, math.NaN())
	if err != nil || hex.EncodeToString(b) != "f97e00" {
		t.Fatalf("%x, %v", b, err)
	}
	if got, err := DecodeValue(b); err != nil || !math.IsNaN(got.(float64)) {
		t.Fatal(got, err)
	}
}

func TestTypedRoundTrip(t *testing.T) {
	want := nested{
		reading: reading{Celsius: -0.1, At: noon, Note: "cold", Plain: -3},
		Next:    &nested{Tags: map[string]string{}, Raw: []byte{}, Any: "deep"},
		Tags:    map[string]string{"a": "b"}, Raw: []byte{0, 255}, Any: map[string]any{"n": int64(1), "l": []any{true}},
		Duration: time.Minute,
	}
	b, err := AppendValue(nil, want)
	if err != nil {
		t.Fatal(err)
	}
	var got nested
	if err := UnmarshalValue(b, &got); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v, %v\nwant %+v", got, err, want)
	}

	check := func(v, into any) {
		t.Helper()
		b, err := AppendValue(nil, v)
		if err != nil {
			t.Fatal(err)
		}
		if err := UnmarshalValue(b, into); err != nil || !reflect.DeepEqual(reflect.ValueOf(into).Elem().Interface(), v) {
			t.Errorf("%#v came back as %#v, %v", v, reflect.ValueOf(into).Elem(), err)
		}
	}
	check([]float64{1, 1.5, math.Pi}, new([]float64))
	check([]string{"a"}, new([]string))
	check(map[int]bool{1: true}, new(map[int]bool))
	check([4]byte{1, 2, 3, 4}, new([4]byte))
	check(netip.MustParseAddrPort("[2001:db8::1]:80"), new(netip.AddrPort))
	check(level(3), new(level))
	check(time.Time{}, new(time.Time))
	check(uint64(math.MaxUint64), new(uint64))
	check(*bigInt("123456789012345678901234567890"), new(big.Int))
	check([]byte("bytes"), new([]byte))
	check("text", new(string))
}

func TestUnmarshalKeepsNothing(t *testing.T) {
	b := value(map[string]any{"b": []byte("bytes"), "s": "text"})
	var got struct {
		B []byte `cbor:"b"`
		S string `cbor:"s"`
	}
	decoded, err := DecodeValue(b)
	if err := errors.Join(err, UnmarshalValue(b, &got)); err != nil {
		t.Fatal(err)
	}
	for i := range b {
		b[i] = 0xee
	}
	if string(got.B) != "bytes" || got.S != "text" {
		t.Errorf("%+v", got)
	}
	if m := decoded.(map[string]any); string(m["b"].([]byte)) != "bytes" || m["s"] != "text" {
		t.Errorf("%v", m)
	}
}

func TestUnmarshalRefusals(t *testing.T) {
	var n int8
	for _, c := range []struct {
		b    []byte
		into any
	}{
		{value("text"), &n},
		{value(1000), &n},
		{value(1), nil},
		{value(1), n},
		{[]byte{0x18}, &n},
		{[]byte{1, 1}, &n},
		{value(1), &panics{}},
	} {
		if err := UnmarshalValue(c.b, c.into); !errors.Is(err, ErrValue) {
			t.Errorf("%x into %T: %v, want ErrValue", c.b, c.into, err)
		}
	}
}

type panics struct{}

func (*panics) UnmarshalCBOR([]byte) error  { panic("a bug of the user's") }
func (panics) MarshalCBOR() ([]byte, error) { panic("a bug of the user's") }

type (
	endlessPointer *endlessPointer
	list           struct {
		Next *list
		Prev *list `cbor:"-"`
		back *list
	}
	tree struct{ Kids [2]*tree }
)

// TestValuesThatCannotTravel: each is refused with a sentence, and nothing is appended.
func TestValuesThatCannotTravel(t *testing.T) {
	var pointer endlessPointer
	pointer = &pointer
	slice := []any{nil}
	slice[0] = slice
	mapping := map[string]any{}
	mapping["m"] = mapping
	circle := &list{}
	circle.Next = circle
	var self any
	self = &self
	bush := &tree{}
	bush.Kids = [2]*tree{bush, bush}
	deep := any(1)
	for range MaxDepth + 1 {
		deep = []any{deep}
	}
	for _, c := range []struct {
		name string
		v    any
		says string
	}{
		{"channel", make(chan int), "chan int"},
		{"nil channel", (chan int)(nil), "chan int"},
		{"function", func() {}, "func()"},
		{"complex", 1i, "complex128"},
		{"channel in a struct", struct{ C []chan int }{}, "chan int"},
		{"channel in a slice", []any{1, make(chan int)}, "chan int"},
		{"functions in a map", map[string]func(){}, "func()"},
		{"text that is not UTF-8", "\xff", "UTF-8"},
		{"text that is not UTF-8 in a slice", []string{"\xff"}, "UTF-8"},
		{"a field that is not UTF-8", struct{ A string }{"\xff"}, "UTF-8"},
		{"an endless type", pointer, "points to itself"},
		{"an endless type within", []any{pointer}, "points to itself"},
		{"slice in itself", slice, "contains itself"},
		{"map in itself", mapping, "contains itself"},
		{"struct in itself", circle, "contains itself"},
		{"any in itself", self, "contains itself"},
		{"a bush of itself", bush, "contains itself"},
		{"too deep", deep, "deeper than 32"},
		{"too many", make([]bool, MaxItems), "more than 1048576 items"},
		{"too many in all", [][]int8{make([]int8, MaxItems/2), make([]int8, MaxItems/2)}, "more than 1048576 items"},
		{"too many of any", make([]any, MaxItems+1), "more than 1048576 items"},
		{"year 10000", time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC), "year 10000"},
		{"year -1", []time.Time{noon, time.Date(-1, 1, 1, 0, 0, 0, 0, time.UTC)}, "year -1"},
		{"year 10000 in a struct", reading{At: time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)}, "year 10000"},
		{"a bug", panics{}, "a bug of the user's"},
		{"broken raw CBOR", cbor.RawMessage{0x81}, "EOF"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b, err := AppendValue([]byte("before"), c.v)
			if !errors.Is(err, ErrValue) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%v; want ErrValue with %q", err, c.says)
			}
			if string(b) != "before" {
				t.Errorf("%d bytes came with the error", len(b))
			}
		})
	}
}

// TestValuesAtTheLimits: just allowed, so both sides agree on where the limits are.
func TestValuesAtTheLimits(t *testing.T) {
	deep := any(1)
	for range MaxDepth {
		deep = []any{deep}
	}
	chain := &list{}
	for range MaxDepth - 2 {
		chain = &list{Next: chain, back: chain, Prev: chain}
	}
	for name, v := range map[string]any{
		"deep": deep, "a chain": chain, "many": make([]bool, MaxItems-1), "a list twice": []any{chain.Next.Next, chain.Next.Next},
	} {
		b, err := AppendValue(nil, v)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if _, err := DecodeValue(b); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if err := UnmarshalValue(b, reflect.New(reflect.TypeOf(v)).Interface()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestValuesOfTheRFC reads the samples in testdata/values in both directions.
func TestValuesOfTheRFC(t *testing.T) {
	text, err := os.ReadFile("../testdata/values/values.txt")
	if err != nil {
		t.Fatal(err)
	}
	lines := 0
	for line := range strings.Lines(string(text)) {
		if line = strings.TrimSpace(line); line == "" || line[0] == '#' {
			continue
		}
		lines++
		digits, diag, _ := strings.Cut(line, " ")
		b, err := hex.DecodeString(digits)
		if err != nil {
			t.Fatal(err)
		}
		if got := Diagnose(b); got != strings.TrimSpace(diag) {
			t.Errorf("%s: %s, want %s", digits, got, diag)
		}
		v, err := DecodeValue(b)
		if err != nil {
			t.Errorf("%s: %v", digits, err)
			continue
		}
		if again, err := AppendValue(nil, v); err != nil || !bytes.Equal(again, b) {
			t.Errorf("%s came back as %x, %v", digits, again, err)
		}
	}
	if lines < 30 {
		t.Errorf("only %d samples", lines)
	}
}

// drawValue draws what DecodeValue can return, so that it must come back as it went.
func drawValue(depth int) *rapid.Generator[any] {
	kinds := []*rapid.Generator[any]{
		rapid.Just[any](nil),
		rapid.Bool().AsAny(), rapid.Int64().AsAny(), rapid.Float64().AsAny(), rapid.String().AsAny(),
		rapid.SliceOf(rapid.Byte()).AsAny(),
		rapid.Custom(func(t *rapid.T) any { return rapid.Uint64Range(1<<63, math.MaxUint64).Draw(t, "uint64") }),
		rapid.Custom(func(t *rapid.T) any {
			return time.Unix(rapid.Int64Range(-1e9, 1e10).Draw(t, "s"), rapid.Int64Range(0, 999999999).Draw(t, "ns")).UTC()
		}),
	}
	if depth > 0 {
		kinds = append(kinds,
			rapid.Custom(func(t *rapid.T) any { return rapid.SliceOfN(drawValue(depth-1), 0, 5).Draw(t, "list") }),
			rapid.Custom(func(t *rapid.T) any { return rapid.MapOfN(rapid.String(), drawValue(depth-1), 0, 5).Draw(t, "map") }))
	}
	return rapid.OneOf(kinds...)
}

func TestValueRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := drawValue(4).Draw(t, "value")
		b, err := AppendValue(nil, want)
		if err != nil {
			t.Fatal(err)
		}
		got, err := DecodeValue(b)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Fatalf("got %#v, %v; want %#v", got, err, want)
		}
		if again, err := AppendValue(nil, got); err != nil || !bytes.Equal(again, b) {
			t.Fatalf("the same value is different bytes: %x, %x", b, again)
		}
		// The encoder with reflection writes the same.
		if other, err := valueEnc.Marshal(want); err != nil || !bytes.Equal(other, b) {
			t.Fatalf("%x, but with reflection %x, %v", b, other, err)
		}
	})
}

func TestAsTextAndAsBytes(t *testing.T) {
	for _, c := range []struct {
		b           []byte
		text, bytes bool
	}{
		{value("text"), true, false},
		{value(""), true, false},
		{value([]byte("bytes")), false, true},
		{value([]byte{}), false, true},
		{value(strings.Repeat("x", 70000)), true, false},
		{append(value("text"), 0), false, false},
		{value("text")[:3], false, false},
		{[]byte{0x61, 0xff}, false, false},
		{[]byte{0x7f, 0xff}, false, false},
		{[]byte{0x5f, 0xff}, false, false},
		{value(1), false, false},
		{value([]string{"text"}), false, false},
		{nil, false, false},
	} {
		text, ok := AsText(c.b)
		if ok != c.text || ok && !bytes.Equal(value(text), c.b) {
			t.Errorf("AsText(%.20x) = %.20q, %v", c.b, text, ok)
		}
		content, ok := AsBytes(c.b)
		if ok != c.bytes || ok && !bytes.Equal(value(content), c.b) {
			t.Errorf("AsBytes(%.20x) = %.20x, %v", c.b, content, ok)
		}
	}
}

func TestDiagnoseJunk(t *testing.T) {
	for _, b := range [][]byte{nil, {0xff}, bytes.Repeat([]byte{0x81}, 1000), []byte("\x61\xff")} {
		if s := Diagnose(b); !strings.Contains(s, "h'") || len(s) > 300 {
			t.Errorf("%x: %s", b, s)
		}
	}
}

func TestValuesAllocateNothing(t *testing.T) {
	dst := make([]byte, 0, 4096)
	text, raw := any(strings.Repeat("t", 1000)), any(make([]byte, 1000))
	noAllocs(t, "AppendValue string", func() { dst, _ = AppendValue(dst[:0], text) })
	noAllocs(t, "AppendValue []byte", func() { dst, _ = AppendValue(dst[:0], raw) })
	noAllocs(t, "AsBytes", func() {
		if _, ok := AsBytes(dst); !ok {
			t.Fatal("no bytes")
		}
	})
	noAllocs(t, "scan", func() {
		if scanValue(dst) != nil {
			t.Fatal("not well-formed")
		}
	})
	b := value(text)
	if n := testing.AllocsPerRun(100, func() { AsText(b) }); n != 1 {
		t.Errorf("AsText: %v allocations, want one: the string", n)
	}
}
