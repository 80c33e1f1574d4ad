package codec_test

import (
	"bytes"
	"runtime"
	"testing"

	"github.com/klauspost/compress/zstd"

	"ultrasockets/codec"
)

// TestOwnTransforms: what the examples show keeps the contract.
func TestOwnTransforms(t *testing.T) {
	sealed, err := newSeal(make([]byte, 32))
	if err != nil {
		t.Fatal(err)
	}
	compressed, err := newZstandard()
	if err != nil {
		t.Fatal(err)
	}
	for _, tr := range []codec.Transform{sealed, compressed} {
		t.Run(tr.Name(), func(t *testing.T) { codec.TransformContract(t, tr) })
	}
}

// TestZstdBombs: frames that say how much they become, and frames that do not, are refused before there is room for it.
func TestZstdBombs(t *testing.T) {
	tr, err := newZstandard()
	if err != nil {
		t.Fatal(err)
	}
	said, err := tr.Encode(nil, make([]byte, 64<<20))
	if err != nil {
		t.Fatal(err)
	}
	var unsaid bytes.Buffer
	w, err := zstd.NewWriter(&unsaid, zstd.WithEncoderConcurrency(1))
	if err != nil {
		t.Fatal(err)
	}
	for range 64 { // written piece by piece, so the head cannot know
		if _, err := w.Write(make([]byte, 1<<20)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	const n = 500
	dst := make([]byte, 0, codec.MaxPayload)
	for name, bomb := range map[string][]byte{"said": said, "unsaid": unsaid.Bytes()} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for range n {
			if out, err := tr.Decode(dst, bomb, codec.MaxPayload); err == nil {
				t.Fatalf("%s: %d bytes", name, len(out))
			}
		}
		runtime.ReadMemStats(&after)
		allocated := after.TotalAlloc - before.TotalAlloc
		t.Logf("%s: %d bytes for 64 MiB, %d times: %d KiB allocated in all", name, len(bomb), n, allocated>>10)
		if allocated > n*64<<10 {
			t.Errorf("%s: too much", name)
		}
	}
}
