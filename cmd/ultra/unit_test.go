package main

import (
	"math"
	"math/big"
	"reflect"
	"slices"
	"strings"
	"testing"

	"ultrasockets/codec"
)

func TestParseText(t *testing.T) {
	for _, c := range []struct {
		text string
		want order
	}{
		{"b hello", order{"b", "hello"}},
		{"  b hello ", order{"b", "hello "}},
		{"b\thello\tthere", order{"b", "hello\tthere"}},
		{"b  two", order{"b", " two"}},
		{"b ", order{"b", ""}},
		{"@lab x", order{"@lab", "x"}},
	} {
		if got, err := parseText(c.text); err != nil || got != c.want {
			t.Errorf("%q: %v, %v", c.text, got, err)
		}
	}
	if _, err := parseText("lonely"); err == nil {
		t.Error("a name alone is no line")
	}
}

func TestParseJSON(t *testing.T) {
	for _, c := range []struct {
		text string
		want any
	}{
		{`{"to":"b","value":1}`, int64(1)},
		{`{"to":"b","value":1.0}`, 1.0},
		{`{"to":"b","value":-9223372036854775808}`, int64(math.MinInt64)},
		{`{"to":"b","value":18446744073709551615}`, uint64(math.MaxUint64)},
		{`{"to":"b","value":18446744073709551616}`, new(big.Int).Lsh(big.NewInt(1), 64)},
		{`{"to":"b","value":null}`, nil},
		{`{"to":"b","value":{"a":[1,{"b":2e3}]},"serial":7}`, map[string]any{"a": []any{int64(1), map[string]any{"b": 2000.0}}}},
		{`{"to":"b","bytes":"AAE="}`, []byte{0, 1}},
		{`{"to":"b","bytes":""}`, []byte{}},
	} {
		got, err := parseJSON(c.text)
		if err != nil || got.to != "b" || !reflect.DeepEqual(got.value, c.want) {
			t.Errorf("%s: %#v, %v", c.text, got, err)
		}
	}
	for _, bad := range []string{``, `1`, `{"value":1}`, `{"to":"b"}`, `{"to":"b","value":1} x`, `{"to":"b","value":1,"bytes":"AA=="}`, `{"to":"b","bytes":"?"}`, `{"to":"b","value":1e400}`} {
		if got, err := parseJSON(bad); err == nil {
			t.Errorf("%s: %#v", bad, got)
		}
	}
}

func TestJsonable(t *testing.T) {
	got, err := encodeJSON(jsonable([]any{math.NaN(), map[any]any{int64(1): math.Inf(-1)}, "<&>"}))
	if want := `["NaN",{"1":"-Inf"},"<&>"]`; err != nil || string(got) != want {
		t.Errorf("%s, %v", got, err)
	}
}

func TestEscape(t *testing.T) {
	if got, want := string(appendEscaped(nil, "a\tb\nc\rd\\e\x1b[2J\u0085ü")), `a\tb\nc\rd\\e\u001b[2J\u0085ü`; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestLegalName(t *testing.T) {
	for name, want := range map[string]string{
		"pc1": "pc1", "my laptop": "my-laptop", "-x-": "x", "": "node", "all": "node", "..": "node",
		"Büro.local": "Büro.local", "\xff": "node", strings.Repeat("ü", 40): strings.Repeat("ü", 32),
	} {
		got := legalName(name)
		if got != want || codec.CheckName(got) != nil {
			t.Errorf("%q: %q, want %q", name, got, want)
		}
	}
}

func TestCompare(t *testing.T) {
	sent := []string{"a", "b", "c", "d"}
	for _, c := range []struct {
		got  string
		want string
	}{
		{"a b c d", ""},
		{"a b d", "1 missing: c"},
		{"a b b c d", "1 arrived twice: b"},
		{"a c b d", "1 out of order: b"},
		{"a b c d x", "1 never sent: x"},
		{"", "4 missing: a, b, c, …"},
		{"d a a", "2 missing: b, c; 1 arrived twice: a; 1 out of order: a"},
	} {
		if got := strings.Join(compare(sent, strings.Fields(c.got)), "; "); got != c.want {
			t.Errorf("%s: %q, want %q", c.got, got, c.want)
		}
	}
	l := newLedger()
	l.sends(pair{"a", "b"}, "x")
	l.arrives(pair{"c", "b"}, "y")
	if got := l.complaints(); !slices.Equal(got, []string{"a -> b: 1 missing: x", "c -> b: 1 never sent: y"}) {
		t.Error(got)
	}
}
