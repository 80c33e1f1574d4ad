package codec

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/fxamacker/cbor/v2"
	"github.com/x448/float16"
)

// Limits on one value, the same for who sends and who receives, so that what can be sent can be read. A hostile value
// within them costs its receiver at most some 200 MiB of memory beyond its own bytes, for a map of one entry takes two
// bytes to send and about 320 to hold; one of a single frame costs at most some 3 MiB (TestWorstValues).
const (
	MaxDepth = 32      // arrays, maps and tags within each other
	MaxItems = 1 << 20 // data items in the whole value; a map counts its keys and its values
)

// Values use core deterministic encoding too: equal values are equal bytes. Containers that are nil travel as empty ones,
// because a list without elements is still a list to a reader in another language.
var valueEnc = must(func() (cbor.EncMode, error) {
	opts := cbor.CoreDetEncOptions()
	opts.Time = cbor.TimeRFC3339NanoUTC
	opts.TimeTag = cbor.EncTagRequired
	opts.NilContainers = cbor.NilContainerAsEmpty
	opts.TextMarshaler = cbor.TextMarshalerTextString
	return opts.EncMode()
}())

// AppendValue appends v to dst as one CBOR data item (RFC 8949, core deterministic encoding):
//
//   - nil, bool, integers, floats, string, []byte and [math/big.Int] as themselves; a nil slice or map as an empty one
//   - [time.Time] as RFC 3339 text with tag 0, in UTC, to the nanosecond; the zero time as null
//   - slices and arrays as arrays (of bytes: a byte string), maps as maps
//   - structs as maps with their exported fields, named by the tag `cbor:"name,omitempty"` or else by a json tag
//   - pointers and interfaces as what they hold
//   - types with MarshalCBOR, MarshalBinary or MarshalText as those say
//
// It copies what it needs; v may be changed afterwards. []byte and string take a path without reflection, and no allocation
// but for a dst that is too small. What cannot travel (a channel, function or complex number, text that is not UTF-8, a
// value that contains itself or passes [MaxDepth] or [MaxItems]) gives an error that wraps [ErrValue], and dst as it was.
func AppendValue(dst []byte, v any) ([]byte, error) {
	w := valueWriter{scanner{items: MaxItems}}
	out, err := w.append(dst, v, 0)
	if err != nil {
		return dst, err
	}
	return out, nil
}

// AppendBytes appends b to dst as a byte string: what AppendValue does with a []byte. It adds at most [MaxBytesHead] bytes
// to those of b, and allocates nothing but for a dst that is too small.
func AppendBytes(dst, b []byte) []byte {
	return append(appendHead(dst, majorBytes, uint64(len(b))), b...)
}

// MaxBytesHead is the most that stands before the content of a byte string, in bytes.
const MaxBytesHead = maxHead

// ItemSize is how long the item at the beginning of b says that it is, if it is bytes or a text; else 0. b may be cut. What an
// item says need not be true: it is a hint.
func ItemSize(b []byte) uint64 {
	h, ok := readHead(b)
	if !ok || h.major != majorBytes && h.major != majorText || h.arg > 1<<62 {
		return 0
	}
	return uint64(h.size) + h.arg
}

// valueWriter appends one value. The types that [DecodeValue] returns are written here, as fast as it goes; the encoder
// with reflection takes the others, and writes the same bytes.
type valueWriter struct {
	scanner // counts the items
}

func (w *valueWriter) append(dst []byte, v any, depth int) ([]byte, error) {
	if dst, ok, err := w.appendPlain(dst, v); ok {
		return dst, err
	}
	switch v := v.(type) {
	case []any:
		return w.appendList(dst, v, depth+1)
	case map[string]any:
		return w.appendMap(dst, v, depth+1)
	}
	return w.appendReflect(dst, v, depth)
}

// appendPlain appends v if it is no container and needs no reflection; ok tells.
func (w *valueWriter) appendPlain(dst []byte, v any) (out []byte, ok bool, err error) {
	switch v := v.(type) {
	case nil:
		dst = append(dst, cborNull)
	case []byte:
		dst = append(appendHead(slices.Grow(dst, len(v)+maxHead), majorBytes, uint64(len(v))), v...)
	case string:
		if !utf8.ValidString(v) {
			return dst, true, errUTF8
		}
		dst = append(appendHead(slices.Grow(dst, len(v)+maxHead), majorText, uint64(len(v))), v...)
	case bool:
		if v {
			dst = append(dst, cborTrue)
		} else {
			dst = append(dst, cborFalse)
		}
	case int:
		dst = appendInt(dst, int64(v))
	case int64:
		dst = appendInt(dst, v)
	case uint64:
		dst = appendHead(dst, majorUint, v)
	case float64:
		dst = appendFloat(dst, v)
	case float32:
		dst = appendFloat(dst, float64(v))
	default:
		return dst, false, nil
	}
	return dst, true, w.count()
}

func appendInt(dst []byte, n int64) []byte {
	if n < 0 {
		return appendHead(dst, majorNegInt, uint64(^n))
	}
	return appendHead(dst, majorUint, uint64(n))
}

// appendFloat appends the shortest of half, single and double precision that holds f exactly, and one NaN for all.
func appendFloat(dst []byte, f float64) []byte {
	single := float32(f)
	switch half := float16.Fromfloat32(single); {
	case f != f:
		return append(dst, majorSimple<<5|infoUint16, 0x7e, 0)
	case float64(single) != f:
		return binary.BigEndian.AppendUint64(append(dst, majorSimple<<5|infoUint64), math.Float64bits(f))
	case half.Float32() != single:
		return binary.BigEndian.AppendUint32(append(dst, majorSimple<<5|infoUint32), math.Float32bits(single))
	default:
		return binary.BigEndian.AppendUint16(append(dst, majorSimple<<5|infoUint16), half.Bits())
	}
}

func (w *valueWriter) appendList(dst []byte, list []any, depth int) ([]byte, error) {
	if depth > MaxDepth {
		return nil, errEndless
	}
	if err := w.count(); err != nil {
		return nil, err
	}
	dst = appendHead(dst, majorArray, uint64(len(list)))
	for _, v := range list {
		var err error
		if dst, err = w.append(dst, v, depth); err != nil {
			return nil, err
		}
	}
	return dst, nil
}

func (w *valueWriter) appendMap(dst []byte, m map[string]any, depth int) ([]byte, error) {
	if depth > MaxDepth {
		return nil, errEndless
	}
	if err := w.count(); err != nil {
		return nil, err
	}
	keys := make([]string, 0, 16) // on the stack, unless there are more
	for key := range m {
		keys = append(keys, key)
	}
	slices.SortFunc(keys, compareKeys)
	dst = appendHead(dst, majorMap, uint64(len(keys)))
	for _, key := range keys {
		var err error
		if dst, err = w.append(dst, key, depth); err != nil {
			return nil, err
		}
		if dst, err = w.append(dst, m[key], depth); err != nil {
			return nil, err
		}
	}
	return dst, nil
}

// compareKeys orders text keys as their encoded bytes are ordered: the head, which holds the length, comes first.
func compareKeys(a, b string) int {
	if len(a) != len(b) {
		return len(a) - len(b)
	}
	return strings.Compare(a, b)
}

// appendReflect appends any other value. What the encoder makes is scanned with the receiver's rules, so that the sender
// hears of a value that nobody could read.
func (w *valueWriter) appendReflect(dst []byte, v any, depth int) (out []byte, err error) {
	defer func() {
		// Types may bring their own marshalling, and that may have bugs.
		if r := recover(); r != nil {
			out, err = nil, fmt.Errorf("%w: encoding a %T panicked: %v", ErrValue, v, r)
		}
	}()
	if err := checkValue(v); err != nil {
		return nil, err
	}
	b, err := valueEnc.Marshal(v)
	if err != nil {
		return nil, encodeError(v, err)
	}
	rest, err := w.item(b, depth)
	if err != nil {
		return nil, err
	}
	if err := trailing(rest); err != nil {
		return nil, err
	}
	return append(dst, b...), nil
}

func encodeError(v any, err error) error {
	var unsupported *cbor.UnsupportedTypeError
	if !errors.As(err, &unsupported) {
		return fmt.Errorf("%w: %w", ErrValue, err)
	}
	refused := findRefused(unsupported.Type)
	if refused == reflect.TypeOf(v) {
		return fmt.Errorf("%w: a %v; channels, functions and complex numbers stay at home", ErrValue, refused)
	}
	return fmt.Errorf("%w: a %T holds a %v; channels, functions and complex numbers stay at home", ErrValue, v, refused)
}
