package mesh

import (
	"bytes"
	"encoding/binary"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"ultrasockets/codec"
)

// TestPieces: messages that shared a frame come out as they went in, and none keeps more alive than it may.
func TestPieces(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		sizes := rapid.SliceOfN(rapid.OneOf(rapid.IntRange(0, 40), rapid.IntRange(100, shareMost)), 1, 60).Draw(t, "sizes")
		var several []byte
		var want [][]byte
		for i, n := range sizes {
			m := bytes.Repeat([]byte{byte(i)}, n)
			several = append(binary.BigEndian.AppendUint16(several, uint16(n)), m...)
			want = append(want, m)
		}
		p := parcel{left: len(sizes)}
		p.fill(several, false)
		for _, piece := range p.more {
			least, count := maxPiece, 0
			for rest := piece; len(rest) > 0; count++ {
				data, after, ok := cutSeveral(rest)
				if !ok {
					t.Fatalf("a piece ends within a message")
				}
				least, rest = min(least, codec.SeveralLength+len(data)), after
			}
			if count > 1 && len(piece) > max(pieceSize, pieceShare*least) || count > 1 && len(piece) > maxPiece {
				t.Fatalf("%d bytes are kept alive with a message of %d", len(piece), least)
			}
		}
		if !slices.EqualFunc(want, take(&p), bytes.Equal) {
			t.Fatal("other messages came out")
		}
	})
}

func take(p *parcel) (all [][]byte) {
	for p.left > 0 {
		var m Message
		p.take(&m)
		all = append(all, m.data)
	}
	return all
}
