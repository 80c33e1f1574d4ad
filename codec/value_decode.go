package codec

import (
	"fmt"
	"math"
	"math/big"
	"reflect"
	"time"

	"github.com/fxamacker/cbor/v2"
	"github.com/x448/float16"
)

// DecodeValue reads b, which must be exactly one data item, into the Go type that fits it:
//
//   - null and undefined: nil; bool: bool; text: string; byte string: []byte; any float: float64
//   - integers: int64 where it fits, else uint64, else *[big.Int]
//   - tags 0 and 1: [time.Time] in UTC; tags 2 and 3: an integer. Other tags are passed over: the value is their content
//   - array: []any; map: map[string]any, or map[any]any if not all its keys are text
//
// The result shares nothing with b. The error wraps [ErrValue]: b is no well-formed item, passes [MaxDepth] or
// [MaxItems], or has a map with the same key twice or with a key that no Go map takes (an array, map, or byte string).
func DecodeValue(b []byte) (any, error) {
	if err := scanValue(b); err != nil {
		return nil, err
	}
	d := decoder{b: b}
	return d.value()
}

// decoder reads what scanValue has passed, so it checks meaning only, not bounds.
type decoder struct {
	b []byte
}

func (d *decoder) head() head {
	h, _ := readHead(d.b)
	d.b = d.b[h.size:]
	return h
}

// more reports whether a container with n elements left, or an indefinite one, goes on; and passes the break if it does
// not.
func (d *decoder) more(h head, done uint64) bool {
	if h.info != infoIndefinite {
		return done < h.arg
	}
	if d.b[0] == cborBreak {
		d.b = d.b[1:]
		return false
	}
	return true
}

func (d *decoder) value() (any, error) {
	h := d.head()
	switch h.major {
	case majorUint:
		return fromUint(h.arg), nil
	case majorNegInt:
		return fromNegInt(h.arg), nil
	case majorBytes:
		return d.bytes(h), nil
	case majorText:
		return d.text(h), nil
	case majorArray:
		return d.array(h)
	case majorMap:
		return d.mapping(h)
	case majorTag:
		return d.tag(h.arg)
	}
	return simple(h)
}

func fromUint(n uint64) any {
	if n <= math.MaxInt64 {
		return int64(n)
	}
	return n
}

// fromNegInt returns -1-n.
func fromNegInt(n uint64) any {
	if n <= math.MaxInt64 {
		return ^int64(n)
	}
	return new(big.Int).Not(new(big.Int).SetUint64(n))
}

// bytes returns a copy of a byte or text string.
func (d *decoder) bytes(h head) []byte {
	if h.info != infoIndefinite {
		content := append(make([]byte, 0, h.arg), d.b[:h.arg]...)
		d.b = d.b[h.arg:]
		return content
	}
	content := []byte{}
	for d.more(h, 0) {
		chunk := d.head()
		content = append(content, d.b[:chunk.arg]...)
		d.b = d.b[chunk.arg:]
	}
	return content
}

func (d *decoder) text(h head) string {
	if h.info == infoIndefinite {
		return string(d.bytes(h))
	}
	content := string(d.b[:h.arg])
	d.b = d.b[h.arg:]
	return content
}

func (d *decoder) array(h head) (any, error) {
	list := make([]any, 0, h.arg)
	for d.more(h, uint64(len(list))) {
		v, err := d.value()
		if err != nil {
			return nil, err
		}
		list = append(list, v)
	}
	return list, nil
}

func (d *decoder) mapping(h head) (any, error) {
	var text map[string]any // made at the first key, for a small map takes a hundred times its bytes
	var mixed map[any]any   // takes over at the first key that is not text
	for n := uint64(0); d.more(h, n); n++ {
		key, err := d.value()
		if err != nil {
			return nil, err
		}
		value, err := d.value()
		if err != nil {
			return nil, err
		}
		name, isText := key.(string)
		if !isText && mixed == nil {
			mixed = make(map[any]any, h.arg)
			for k, v := range text {
				mixed[k] = v
			}
		}
		if mixed == nil && text == nil {
			text = make(map[string]any, h.arg)
		}
		size := 0
		if mixed != nil {
			switch key.(type) {
			case []byte, []any, map[string]any, map[any]any, *big.Int:
				return nil, fmt.Errorf("%w: a map key of type %T; decode into a type of your own", ErrValue, key)
			}
			mixed[key] = value
			size = len(mixed)
		} else {
			text[name] = value
			size = len(text)
		}
		if uint64(size) != n+1 {
			return nil, fmt.Errorf("%w: a map has the key %v twice", ErrValue, key)
		}
	}
	if mixed != nil {
		return mixed, nil
	}
	if text == nil {
		text = map[string]any{}
	}
	return text, nil
}

func (d *decoder) tag(number uint64) (any, error) {
	content, err := d.value()
	if err != nil {
		return nil, err
	}
	switch number {
	case tagTime:
		text, ok := content.(string)
		t, err := time.Parse(time.RFC3339Nano, text)
		if !ok || err != nil {
			return nil, fmt.Errorf("%w: tag 0 without RFC 3339 text: %v", ErrValue, content)
		}
		return t.UTC(), checkTime(t)
	case tagEpoch:
		return epoch(content)
	case tagBigPos, tagBigNeg:
		magnitude, ok := content.([]byte)
		if !ok {
			return nil, fmt.Errorf("%w: a big number that is no byte string", ErrValue)
		}
		n := new(big.Int).SetBytes(magnitude)
		if n.IsUint64() {
			if number == tagBigNeg {
				return fromNegInt(n.Uint64()), nil
			}
			return fromUint(n.Uint64()), nil
		}
		if number == tagBigNeg {
			n.Not(n)
		}
		return n, nil
	}
	return content, nil
}

// The seconds that RFC 3339 can write: the years 0 to 9999.
const (
	minEpoch = -62167219200
	endEpoch = 253402300800
)

func epoch(content any) (any, error) {
	switch s := content.(type) {
	case int64:
		if minEpoch <= s && s < endEpoch {
			return time.Unix(s, 0).UTC(), nil
		}
	case float64:
		if minEpoch <= s && s < endEpoch {
			whole, part := math.Modf(s)
			return time.Unix(int64(whole), int64(math.Round(part*1e9))).UTC(), nil
		}
	}
	return nil, fmt.Errorf("%w: tag 1 without seconds within the years 0 to 9999: %v", ErrValue, content)
}

func simple(h head) (any, error) {
	switch h.info {
	case infoUint16:
		return float64(float16.Frombits(uint16(h.arg)).Float32()), nil
	case infoUint32:
		return float64(math.Float32frombits(uint32(h.arg))), nil
	case infoUint64:
		return math.Float64frombits(h.arg), nil
	}
	switch majorSimple<<5 | h.arg {
	case cborFalse:
		return false, nil
	case cborTrue:
		return true, nil
	case cborNull, cborUndefined:
		return nil, nil
	}
	return nil, fmt.Errorf("%w: simple value %d has no meaning", ErrValue, h.arg)
}

// The limits of scanValue hold; these only must not be narrower.
var valueDec = must(cbor.DecOptions{
	DupMapKey:        cbor.DupMapKeyEnforcedAPF,
	MaxNestedLevels:  2 * MaxDepth,
	MaxArrayElements: MaxItems,
	MaxMapPairs:      MaxItems,
	IntDec:           cbor.IntDecConvertSignedOrBigInt,
	DefaultMapType:   reflect.TypeFor[map[string]any](),
	TextUnmarshaler:  cbor.TextUnmarshalerTextString,
}.DecMode())

// UnmarshalValue reads b, which must be exactly one data item, into what v points to, by the rules of [AppendValue] in
// reverse: struct fields by cbor or json tags, unknown fields skipped, numbers into any numeric type that holds them.
// Into *any it does what [DecodeValue] does; an any deeper within takes integers as int64 or [big.Int], and maps with
// text keys only. Nothing of b is kept. The error wraps [ErrValue]; what v points to may then be half written.
func UnmarshalValue(b []byte, v any) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%w: decoding into a %T panicked: %v", ErrValue, v, r)
		}
	}()
	if p, ok := v.(*any); ok && p != nil {
		*p, err = DecodeValue(b)
		return err
	}
	if err := scanValue(b); err != nil {
		return err
	}
	if err := valueDec.Unmarshal(b, v); err != nil {
		return fmt.Errorf("%w: %w", ErrValue, err)
	}
	return nil
}
