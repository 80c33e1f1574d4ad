package codec

import (
	"fmt"
	"slices"
	"sync"
)

const (
	// minPack is the size in bytes below which nothing is tried: at 128 bytes snappy costs more than half of the
	// throughput and saves next to nothing.
	minPack = 256

	// A transform that nobody requires must save 1/minSaving of the payload, or it is not worth undoing.
	minSaving = 8

	// maxPause is the most payloads that pass untried after a transform did not shrink a few. A stream that starts
	// to shrink is noticed after that many: about 4 MiB of full frames.
	maxPause = 255
)

// Packer packs the payloads of one sender for one receiver: it applies the transforms that the receiver lists and the
// sender has, in the order of the receiver's list. Required ones always; the others when the payload is at least 256
// bytes and becomes at least an eighth smaller. A transform that does not shrink is left alone for 1, 3, 7 … 255
// payloads before it is tried again; one success forgets that.
//
// A Packer is not safe for concurrent use.
type Packer struct {
	steps    []packStep
	maxPlain int
}

type packStep struct {
	transform Transform
	bit       uint8
	required  bool

	pause uint // payloads to let pass after the next failure
	skip  uint // payloads still to let pass
}

// NewPacker returns a Packer for a sender that has mine and a receiver that lists theirs and requires the bits of
// theirsRequired. The error wraps [ErrNoCommonTransform] if a transform that either side requires is missing at the
// other, and [ErrPacking] if a list itself is wrong.
func NewPacker(mine []Transform, theirs []string, theirsRequired uint8) (*Packer, error) {
	if _, _, err := checkTransformList(mine); err != nil {
		return nil, err
	}
	if err := checkTransforms(theirs, theirsRequired); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrPacking, err)
	}
	for _, t := range mine {
		if IsRequired(t) && !slices.Contains(theirs, t.Name()) {
			return nil, fmt.Errorf("%w: the receiver does not take %q, which is required here", ErrNoCommonTransform, t.Name())
		}
	}
	p := &Packer{maxPlain: MaxPayload}
	for k, name := range theirs {
		bit := uint8(1) << k
		i := slices.IndexFunc(mine, func(t Transform) bool { return t.Name() == name })
		if i < 0 {
			if theirsRequired&bit != 0 {
				return nil, fmt.Errorf("%w: the receiver requires %q, which is missing here", ErrNoCommonTransform, name)
			}
			continue
		}
		step := packStep{transform: mine[i], bit: bit, required: theirsRequired&bit != 0 || IsRequired(mine[i])}
		if step.required {
			p.maxPlain -= overhead(mine[i])
		}
		p.steps = append(p.steps, step)
	}
	if p.maxPlain <= 0 {
		return nil, fmt.Errorf("%w: the required transforms leave no room in a frame", ErrPacking)
	}
	return p, nil
}

// MaxPlain is the size in bytes to which messages are to be cut before packing: [MaxPayload], less what the required
// transforms may add (512 bytes for one that does not state it by a method Overhead() int).
func (p *Packer) MaxPlain() int { return p.maxPlain }

// Pack packs src, one payload before packing. The result is src itself if nothing was applied (packing is 0), else it is
// in dst[:cap(dst)] or, if that is too small, in a new slice; dst and src do not overlap. The error wraps [ErrPacking]:
// a required transform failed, or its result is longer than [MaxPayload] (src was longer than [Packer.MaxPlain]).
func (p *Packer) Pack(dst, src []byte) (out []byte, packing uint8, err error) {
	if len(src) > MaxPayload {
		return nil, 0, fmt.Errorf("%w: %d bytes before packing, at most %d", ErrPacking, len(src), MaxPayload)
	}
	current := src
	var space, spare *[]byte // what the next step may write to, and what holds current
	defer func() { putScratch(space); putScratch(spare) }()
	for i := range p.steps {
		step := &p.steps[i]
		if !step.wanted(current) {
			continue
		}
		if space == nil {
			space = getScratch()
		}
		encoded, err := step.transform.Encode(*space, current)
		if !step.accept(len(encoded), len(current), err) {
			continue
		}
		if err == nil && len(encoded) > MaxPayload {
			err = fmt.Errorf("%d bytes, at most %d", len(encoded), MaxPayload)
		}
		if err != nil {
			return nil, 0, fmt.Errorf("%w: %s: %w", ErrPacking, step.transform.Name(), err)
		}
		*space = encoded
		current, packing = encoded, packing|step.bit
		space, spare = spare, space
	}
	if packing == 0 {
		return src, 0, nil
	}
	return append(dst[:0], current...), packing, nil
}

// wanted says whether to try the step on a payload.
func (s *packStep) wanted(payload []byte) bool {
	if s.required {
		return true
	}
	if len(payload) < minPack {
		return false
	}
	if s.skip > 0 {
		s.skip--
		return false
	}
	return true
}

// accept says whether to use what the step made of a payload, and learns from it.
func (s *packStep) accept(after, before int, err error) bool {
	if s.required {
		return true
	}
	if err == nil && after <= before-before/minSaving {
		s.pause = 0
		return true
	}
	s.pause = min(2*s.pause+1, maxPause)
	s.skip = s.pause
	return false
}

// Scratch buffers hold what one step leaves to the next. They belong to nobody, so that a thousand idle streams hold none.
var scratch = sync.Pool{New: func() any {
	b := make([]byte, 0, MaxPayload+MaxPayload/4)
	return &b
}}

func getScratch() *[]byte { return scratch.Get().(*[]byte) }

// putScratch keeps what is worth keeping: a transform may have replaced the buffer by a small or a huge one of its own.
func putScratch(b *[]byte) {
	if b != nil && cap(*b) >= MaxPayload && cap(*b) <= 4*MaxPayload {
		*b = (*b)[:0]
		scratch.Put(b)
	}
}
