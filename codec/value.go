package codec

import (
	"errors"
	"fmt"
	"reflect"
	"unicode/utf8"

	"github.com/fxamacker/cbor/v2"
)

// Limits on one value, the same for who sends and who receives, so that what can be sent can be read. A hostile value within them costs
// its receiver at most some 64 MiB of memory beyond its own bytes: an empty map takes one byte to send and about 64 to hold.
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
	switch v := v.(type) {
	case nil:
		return append(dst, cborNull), nil
	case []byte:
		return append(appendHead(dst, majorBytes, uint64(len(v))), v...), nil
	case string:
		if !utf8.ValidString(v) {
			return dst, fmt.Errorf("%w: a string that is not UTF-8; send it as []byte", ErrValue)
		}
		return append(appendHead(dst, majorText, uint64(len(v))), v...), nil
	case bool:
		if v {
			return append(dst, cborTrue), nil
		}
		return append(dst, cborFalse), nil
	case int:
		return appendInt(dst, int64(v)), nil
	case int64:
		return appendInt(dst, v), nil
	case uint64:
		return appendHead(dst, majorUint, v), nil
	}
	return appendReflect(dst, v)
}

func appendInt(dst []byte, n int64) []byte {
	if n < 0 {
		return appendHead(dst, majorNegInt, uint64(^n))
	}
	return appendHead(dst, majorUint, uint64(n))
}

// appendReflect appends any other value. What the encoder makes is scanned with the receiver's rules, so that the sender
// hears of a value that nobody could read.
func appendReflect(dst []byte, v any) (out []byte, err error) {
	defer func() {
		// Types may bring their own marshalling, and that may have bugs.
		if r := recover(); r != nil {
			out, err = dst, fmt.Errorf("%w: encoding a %T panicked: %v", ErrValue, v, r)
		}
	}()
	if err := checkValue(v); err != nil {
		return dst, err
	}
	b, err := valueEnc.Marshal(v)
	if err != nil {
		return dst, encodeError(v, err)
	}
	if err := scanValue(b); err != nil {
		return dst, err
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

// AsText returns the text if b is exactly one text string of definite length, without reflection. The string is a copy.
func AsText(b []byte) (string, bool) {
	content, ok := exactString(b, majorText)
	if !ok || !utf8.Valid(content) {
		return "", false
	}
	return string(content), true
}

// AsBytes returns the bytes if b is exactly one byte string of definite length, without reflection and without a copy: the
// result is part of b.
func AsBytes(b []byte) ([]byte, bool) { return exactString(b, majorBytes) }

func exactString(b []byte, major byte) ([]byte, bool) {
	h, ok := readHead(b)
	if !ok || h.major != major || h.info == infoIndefinite || h.arg != uint64(len(b)-h.size) {
		return nil, false
	}
	return b[h.size:len(b):len(b)], true
}
