package codec

import "fmt"

// Transform changes the bytes of one payload reversibly: compression, encryption. The nodes that use it list its name in
// their Hello.
//
// Implementations are safe for concurrent use, and keep nothing from one payload to the next: frames are lost, repeated
// and reordered between sender and receiver. Encode and Decode do not append: they may use dst[:cap(dst)] as space, and
// return the result, in it or in a new slice. dst and src do not overlap, and the result must not share memory with src,
// which they neither keep nor change. testTransform in this package's tests is the contract as code: copy it to test one
// of your own.
//
// One that is [Required] and makes payloads longer should also have a method Overhead() int, the most bytes that Encode
// adds: see [Packer.MaxPlain].
type Transform interface {
	// Name is what the other side lists to take it; [CheckName] accepts it. Another name means another format.
	Name() string

	// Encode returns src transformed. The result may be longer than src; if it is, and nobody requires the transform, it
	// is not used.
	Encode(dst, src []byte) ([]byte, error)

	// Decode returns what Encode was given. src is hostile until proven otherwise: Decode returns an error, and has not
	// allocated for the result, if the result would be longer than limit bytes.
	Decode(dst, src []byte, limit int) ([]byte, error)
}

// Required marks t as one that is never skipped: payloads sent without it are refused, and a node that does not take it
// gets nothing. Encryption, for one.
func Required(t Transform) Transform {
	if IsRequired(t) {
		return t
	}
	return required{t}
}

// IsRequired reports whether t was marked by [Required].
func IsRequired(t Transform) bool {
	_, ok := t.(required)
	return ok
}

type required struct{ Transform }

// Overhead of the wrapped transform, if it states one.
func (r required) Overhead() int { return overhead(r.Transform) }

// unstatedOverhead is kept free for a required transform that does not say how much it adds.
const unstatedOverhead = 512

// overhead is the number of bytes by which a transform makes a payload longer at most. A transform may state it with a
// method Overhead() int.
func overhead(t Transform) int {
	if o, ok := t.(interface{ Overhead() int }); ok {
		return o.Overhead()
	}
	return unstatedOverhead
}

// checkTransformList checks a list of transforms as a node may announce it.
func checkTransformList(list []Transform) (names []string, requiredBits uint8, err error) {
	for i, t := range list {
		if t == nil {
			return nil, 0, fmt.Errorf("%w: transform %d is nil", ErrPacking, i)
		}
		names = append(names, t.Name())
		if IsRequired(t) && i < MaxTransforms {
			requiredBits |= 1 << i
		}
	}
	if err := checkTransforms(names, requiredBits); err != nil {
		return nil, 0, fmt.Errorf("%w: %w", ErrPacking, err)
	}
	return names, requiredBits, nil
}
