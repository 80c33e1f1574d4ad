package codec

import (
	"errors"
	"fmt"
	"math/bits"
)

// Unpacker undoes, at a receiver, what senders packed for it. It is safe for concurrent use.
type Unpacker struct {
	transforms []Transform
	names      []string
	required   uint8
}

// NewUnpacker returns an Unpacker for a node that takes mine, in this order: at most [MaxTransforms], with different
// names. The error wraps [ErrPacking].
func NewUnpacker(mine []Transform) (*Unpacker, error) {
	names, requiredBits, err := checkTransformList(mine)
	if err != nil {
		return nil, err
	}
	return &Unpacker{transforms: append([]Transform(nil), mine...), names: names, required: requiredBits}, nil
}

// Names are the names of the transforms in order, for Hello.Transforms. The caller may not change them.
func (u *Unpacker) Names() []string { return u.names }

// Required are the bits of the required ones, for Hello.Required.
func (u *Unpacker) Required() uint8 { return u.required }

var errTooLong = errors.New("longer than a payload may be")

// Unpack undoes packing on src, one payload as it travelled. The result is at most [MaxPayload] bytes: src itself if
// packing is 0, else in dst[:cap(dst)] or in a new slice; dst and src do not overlap. The error wraps [ErrPacking]: a
// required transform was not applied, a bit names no transform of the list, or the data are broken.
func (u *Unpacker) Unpack(dst, src []byte, packing uint8) ([]byte, error) {
	switch {
	case len(src) > MaxPayload:
		return nil, fmt.Errorf("%w: %d bytes: %w", ErrPacking, len(src), errTooLong)
	case packing&u.required != u.required:
		return nil, fmt.Errorf("%w: packing %#b lacks a required transform (%#b)", ErrPacking, packing, u.required)
	case int(packing)>>len(u.transforms) != 0:
		return nil, fmt.Errorf("%w: packing %#b names a transform beyond the %d taken here", ErrPacking, packing, len(u.transforms))
	}
	current := src
	var space, spare *[]byte // what the next step may write to, and what holds current
	defer func() { putScratch(space); putScratch(spare) }()
	for packing != 0 {
		k := bits.Len8(packing) - 1 // undone in reverse
		packing &^= 1 << k
		into := dst
		if packing != 0 {
			if space == nil {
				space = getScratch()
			}
			into = *space
		}
		decoded, err := u.transforms[k].Decode(into, current, MaxPayload)
		if err == nil && len(decoded) > MaxPayload {
			err = errTooLong
		}
		if err != nil {
			return nil, fmt.Errorf("%w: %s: %w", ErrPacking, u.names[k], err)
		}
		current = decoded
		if packing != 0 {
			*space = decoded
			space, spare = spare, space
		}
	}
	return current, nil
}
