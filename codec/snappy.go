package codec

import (
	"fmt"

	"github.com/golang/snappy"
)

// Snappy returns the transform "snappy": the snappy block format
// (https://github.com/google/snappy/blob/main/format_description.txt), not the framing format. It is fast rather than
// thorough: text and telemetry shrink to about half.
func Snappy() Transform { return snappyTransform{} }

type snappyTransform struct{}

func (snappyTransform) Name() string { return "snappy" }

// Overhead: the length in front takes 3 bytes, the tag of the last literal 3. Within a payload every literal is followed by
// a copy of at least 4 bytes, which saves at least 1; a literal of 61 bytes or more has a tag of 2. So the worst is one
// byte for every 65.
func (snappyTransform) Overhead() int { return 3 + 3 + MaxPayload/65 }

func (snappyTransform) Encode(dst, src []byte) ([]byte, error) {
	return snappy.Encode(dst[:cap(dst)], src), nil
}

func (snappyTransform) Decode(dst, src []byte, limit int) ([]byte, error) {
	// The block states its length in front, and snappy.Decode believes it: 7 bytes can ask for 1 GiB.
	n, err := snappy.DecodedLen(src)
	if err != nil {
		return nil, err
	}
	if n > limit {
		return nil, fmt.Errorf("snappy: %d bytes when undone, at most %d", n, limit)
	}
	// snappy.Decode looks at the length of dst and ignores its capacity.
	return snappy.Decode(dst[:cap(dst)], src)
}
