package codec

import (
	"encoding"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"time"

	"github.com/fxamacker/cbor/v2"
)

// The encoder follows pointers without counting, and a value that contains itself would end the program with a stack
// overflow, which cannot be recovered. So values whose type can form a circle are walked first. Types are looked at once
// and remembered; a []float64 or a struct of plain fields is never walked. The walk also meets what the encoder writes
// and no receiver can read: times outside the four-digit years of RFC 3339.

// maxWalk bounds the walk: every level of CBOR costs at most a container, an interface and a pointer or two.
const maxWalk = 4 * MaxDepth

var errEndless = fmt.Errorf("%w: it nests deeper than %d levels, or contains itself", ErrValue, MaxDepth)

// checkValue returns an error if v contains itself, is absurdly large, or holds a time that cannot be written. It does
// not look into types that marshal themselves.
func checkValue(v any) error {
	items := MaxItems
	return walk(reflect.ValueOf(v), 0, &items)
}

func walk(v reflect.Value, depth int, items *int) error {
	if !v.IsValid() {
		return nil
	}
	t := v.Type()
	switch shapeOf(t) {
	case shapeFlat:
		return nil
	case shapeEndless:
		return fmt.Errorf("%w: %v points to itself", ErrValue, t)
	}
	if depth > maxWalk {
		return errEndless
	}
	if *items--; *items < 0 {
		return fmt.Errorf("%w: more than %d items, or it contains itself", ErrValue, MaxItems)
	}
	if t == timeType {
		return checkTime(v.Interface().(time.Time))
	}
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		return walk(v.Elem(), depth+1, items)
	case reflect.Slice, reflect.Array:
		for i := range v.Len() {
			if err := walk(v.Index(i), depth+1, items); err != nil {
				return err
			}
		}
	case reflect.Map:
		for iter := v.MapRange(); iter.Next(); {
			if err := walk(iter.Key(), depth+1, items); err != nil {
				return err
			}
			if err := walk(iter.Value(), depth+1, items); err != nil {
				return err
			}
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if !travels(t.Field(i)) {
				continue
			}
			if err := walk(v.Field(i), depth+1, items); err != nil {
				return err
			}
		}
	}
	return nil
}

func checkTime(t time.Time) error {
	if year := t.UTC().Year(); year < 0 || year > 9999 {
		return fmt.Errorf("%w: a time in the year %d; RFC 3339 writes 0 to 9999", ErrValue, year)
	}
	return nil
}

// shape says what values of a type can do.
type shape uint8

const (
	shapeFlat    shape = iota // hold nothing that must be looked at
	shapeWalk                 // may contain themselves, or hold times
	shapeEndless              // type P *P: cannot be encoded at all
)

var shapes sync.Map // reflect.Type to shape

func shapeOf(t reflect.Type) shape {
	if s, ok := shapes.Load(t); ok {
		return s.(shape)
	}
	s := findShape(t, map[reflect.Type]bool{})
	shapes.Store(t, s)
	return s
}

var (
	timeType        = reflect.TypeFor[time.Time]()
	cborMarshaler   = reflect.TypeFor[cbor.Marshaler]()
	binaryMarshaler = reflect.TypeFor[encoding.BinaryMarshaler]()
	textMarshaler   = reflect.TypeFor[encoding.TextMarshaler]()
)

func marshalsItself(t reflect.Type) bool {
	if t.Kind() == reflect.Interface {
		return false
	}
	for _, m := range []reflect.Type{cborMarshaler, binaryMarshaler, textMarshaler} {
		if t.Implements(m) || reflect.PointerTo(t).Implements(m) {
			return true
		}
	}
	return false
}

func findShape(t reflect.Type, path map[reflect.Type]bool) shape {
	switch t.Kind() {
	case reflect.Interface:
		return shapeWalk
	case reflect.Pointer, reflect.Slice, reflect.Array, reflect.Map, reflect.Struct:
	default:
		return shapeFlat
	}
	if t == timeType {
		return shapeWalk
	}
	if marshalsItself(t) {
		return shapeFlat
	}
	if path[t] {
		return shapeWalk
	}
	path[t] = true
	defer delete(path, t)

	switch t.Kind() {
	case reflect.Struct:
		worst := shapeFlat
		for i := range t.NumField() {
			if f := t.Field(i); travels(f) {
				worst = max(worst, findShape(f.Type, path))
			}
		}
		return worst
	case reflect.Map:
		return max(findShape(t.Key(), path), findShape(t.Elem(), path))
	case reflect.Pointer:
		elem := t.Elem()
		for range maxWalk {
			if elem.Kind() != reflect.Pointer {
				return findShape(elem, path)
			}
			elem = elem.Elem()
		}
		return shapeEndless
	}
	return findShape(t.Elem(), path)
}

// travels reports whether the encoder looks at a field.
func travels(f reflect.StructField) bool {
	if !f.IsExported() && !f.Anonymous {
		return false
	}
	tag, ok := f.Tag.Lookup("cbor")
	if !ok {
		tag = f.Tag.Get("json")
	}
	return strings.TrimSpace(tag) != "-"
}

// findRefused returns the channel, function or other type within t that cannot travel, or t if it finds none.
func findRefused(t reflect.Type) reflect.Type {
	if found := refusedIn(t, map[reflect.Type]bool{}); found != nil {
		return found
	}
	return t
}

func refusedIn(t reflect.Type, seen map[reflect.Type]bool) reflect.Type {
	if seen[t] {
		return nil
	}
	seen[t] = true
	switch t.Kind() {
	case reflect.Chan, reflect.Func, reflect.Complex64, reflect.Complex128, reflect.Uintptr, reflect.UnsafePointer:
		return t
	case reflect.Pointer, reflect.Slice, reflect.Array:
		return refusedIn(t.Elem(), seen)
	case reflect.Map:
		if found := refusedIn(t.Key(), seen); found != nil {
			return found
		}
		return refusedIn(t.Elem(), seen)
	case reflect.Struct:
		for i := range t.NumField() {
			if f := t.Field(i); travels(f) {
				if found := refusedIn(f.Type, seen); found != nil {
					return found
				}
			}
		}
	}
	return nil
}
