package codec_test

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/klauspost/compress/zstd"

	"ultrasockets/codec"
)

// zstandard compresses better than snappy, and takes longer. One encoder and one decoder serve all callers at once.
type zstandard struct {
	enc *zstd.Encoder
	dec *zstd.Decoder
}

func newZstandard() (codec.Transform, error) {
	enc, err := zstd.NewWriter(nil, zstd.WithWindowSize(codec.MaxPayload), zstd.WithEncoderConcurrency(1))
	if err != nil {
		return nil, err
	}
	// The decoder refuses what would become larger before it makes room for it: a few bytes can ask for gigabytes.
	dec, err := zstd.NewReader(nil, zstd.WithDecoderMaxMemory(codec.MaxPayload), zstd.WithDecoderConcurrency(1))
	return zstandard{enc, dec}, err
}

func (zstandard) Name() string { return "zstd" }

func (z zstandard) Encode(dst, src []byte) ([]byte, error) { return z.enc.EncodeAll(src, dst[:0]), nil }

func (z zstandard) Decode(dst, src []byte, limit int) ([]byte, error) {
	var head zstd.Header
	if err := head.Decode(src); err == nil && head.HasFCS && head.FrameContentSize > uint64(limit) {
		return nil, errors.New("zstd: too long")
	}
	out, err := z.dec.DecodeAll(src, dst[:0])
	if err == nil && len(out) > limit { // its head did not say so
		err = errors.New("zstd: too long")
	}
	return out, err
}

// An own compression next to snappy: the receiver's list is in its own order, and the sender uses of it what it has.
func ExampleTransform_compression() {
	zstandard, err := newZstandard()
	if err != nil {
		panic(err)
	}
	receiver, err := codec.NewUnpacker([]codec.Transform{zstandard, codec.Snappy()})
	if err != nil {
		panic(err)
	}
	text := bytes.Repeat([]byte("temperature=21.5 humidity=40 "), 100)
	for _, mine := range [][]codec.Transform{{zstandard}, {codec.Snappy()}, nil} {
		sender, err := codec.NewPacker(mine, receiver.Names(), receiver.Required())
		if err != nil {
			panic(err)
		}
		packed, packing, err := sender.Pack(nil, text)
		if err != nil {
			panic(err)
		}
		plain, err := receiver.Unpack(nil, packed, packing)
		fmt.Println(packing, len(packed) < len(text)/10, bytes.Equal(plain, text), err)
	}

	bomb, err := zstandard.Encode(nil, make([]byte, 10<<20))
	if err != nil {
		panic(err)
	}
	_, err = receiver.Unpack(nil, bomb, 1)
	fmt.Println("10 MiB in one frame:", len(bomb) < codec.MaxPayload, "refused:", errors.Is(err, codec.ErrPacking))
	// Output:
	// 1 true true <nil>
	// 2 true true <nil>
	// 0 false true <nil>
	// 10 MiB in one frame: true refused: true
}
