package codec

import (
	"encoding/hex"
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestDecodeRefusals(t *testing.T) {
	for _, c := range []struct{ what, hex, says string }{
		{"nothing", "", "cut"},
		{"two items", "0000", "follow"},
		{"an array of 2^64-1", "9bffffffffffffffff", "cut"},
		{"a map of 2^63 pairs", "bb8000000000000000", "cut"},
		{"a text of 2^64-1", "7bffffffffffffffff", "cut"},
		{"bytes of 1 GiB", "5a40000000", "cut"},
		{"an endless array", "9f", "cut"},
		{"an endless text", "7f", "cut"},
		{"half a pair", "bf00ff", "well-formed"},
		{"a break alone", "ff", "well-formed"},
		{"a break in an array", "81ff", "well-formed"},
		{"a chunk of another type", "5f6161ff", "well-formed"},
		{"a chunk within a chunk", "5f5f4100ffff", "well-formed"},
		{"info 28", "1c", "well-formed"},
		{"an indefinite number", "1f", "well-formed"},
		{"an indefinite tag", "dfff", "well-formed"},
		{"simple value 5 in two bytes", "f805", "well-formed"},
		{"simple value 5", "e5", "no meaning"},
		{"simple value 255", "f8ff", "no meaning"},
		{"text that is not UTF-8", "61ff", "UTF-8"},
		{"a chunk that is not UTF-8", "7f61c3ff", "UTF-8"},
		{"a key twice", "a2616100616101", "twice"},
		{"a number twice", "a201000101", "twice"},
		{"a number twice among text", "a3616100010001f6", "twice"},
		{"an array as key", "a18000", "key of type []interface {}"},
		{"a map as key", "a1a000", "key of type map"},
		{"bytes as key", "a1410000", "key of type []uint8"},
		{"a big number as key", "a1c24901000000000000000000", "key of type *big.Int"},
		{"a time that is none", "c06161", "RFC 3339"},
		{"a time of a number", "c000", "RFC 3339"},
		{"seconds that are text", "c16161", "seconds"},
		{"seconds beyond all years", "c11b7fffffffffffffff", "seconds"},
		{"seconds that are NaN", "c1f97e00", "seconds"},
		{"seconds before year 0", "c1c3453030303030", "seconds"},
		{"text that is before year 0 in UTC", "c0" + "7819" + hex.EncodeToString([]byte("0000-01-01T00:00:00+23:59")), "year -1"},
		{"text that is after year 9999 in UTC", "c0" + "7819" + hex.EncodeToString([]byte("9999-12-31T23:59:59-23:59")), "year 10000"},
		{"a big number of text", "c26161", "big number"},
		{"33 arrays", strings.Repeat("81", 33) + "00", "deeper"},
		{"33 tags", strings.Repeat("c6", 33) + "00", "deeper"},
		{"33 endless arrays", strings.Repeat("9f", 33), "deeper"},
		{"1 Mi numbers", "9a00100000" + strings.Repeat("00", 1<<20), "items"},
		{"1 Mi chunks", "5f" + strings.Repeat("40", 1<<20), "items"},
		{"1 Mi in an endless array", "9f" + strings.Repeat("00", 1<<20), "items"},
	} {
		t.Run(c.what, func(t *testing.T) {
			b, err := hex.DecodeString(strings.TrimSpace(c.hex))
			if err != nil {
				t.Fatal(err)
			}
			got, err := DecodeValue(b)
			if !errors.Is(err, ErrValue) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%v, %v; want ErrValue with %q", got, err, c.says)
			}
		})
	}
}

// TestDecodeForeign: well-formed items that Go would not write, but others do.
func TestDecodeForeign(t *testing.T) {
	for _, c := range []struct {
		hex  string
		want any
	}{
		{"1800", int64(0)}, // not the shortest
		{"1b0000000000000001", int64(1)},
		{"f7", nil}, // undefined
		{"9f0102ff", []any{int64(1), int64(2)}},
		{"bf616101ff", map[string]any{"a": int64(1)}},
		{"7f61616162ff", "ab"},
		{"5f41014102ff", []byte{1, 2}},
		{"7fff", ""},
		{"5fff", []byte{}},
		{"fa3fc00000", 1.5},
		{"fb3ff8000000000000", 1.5},
		{"f93e00", 1.5},
		{"f90001", 5.960464477539063e-08}, // the smallest of half precision
		{"d9d9f701", int64(1)},            // self-described CBOR
		{"d8204161", []byte("a")},         // an unknown tag
		{"c11a514b67b0", time.Date(2013, 3, 21, 20, 4, 0, 0, time.UTC)},
		{"c1fb41d452d9ec200000", time.Date(2013, 3, 21, 20, 4, 0, 500_000_000, time.UTC)},
		{"c13b0000000e79747bff", time.Date(0, 1, 1, 0, 0, 0, 0, time.UTC)},
		{"c11b0000003afff4417f", time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)},
		{"c120", time.Date(1969, 12, 31, 23, 59, 59, 0, time.UTC)},
		{"c074323031332d30332d32315432303a30343a30305a", time.Date(2013, 3, 21, 20, 4, 0, 0, time.UTC)},
		{"c240", int64(0)}, // a big zero
		{"c24105", int64(5)},
		{"c34105", int64(-6)},
		{"c248ffffffffffffffff", uint64(math.MaxUint64)},
		{"c348ffffffffffffffff", bigInt("-18446744073709551616")},
		{"3bffffffffffffffff", bigInt("-18446744073709551616")},
		{"a26161000100", map[any]any{"a": int64(0), int64(1): int64(0)}},
	} {
		b, err := hex.DecodeString(c.hex)
		if err != nil {
			t.Fatal(err)
		}
		got, err := DecodeValue(b)
		if err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %#v, %v; want %#v", c.hex, got, err, c.want)
		}
	}
}
