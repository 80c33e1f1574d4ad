package file_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"ultrasockets/mesh/file"
	"ultrasockets/mesh/meshtest"
)

// The three nodes are in one process and share its processors: compare runs with each other, not with the wire.
func BenchmarkPut(b *testing.B) { benchCopy(b, true) }

func BenchmarkGet(b *testing.B) { benchCopy(b, false) }

func benchCopy(b *testing.B, put bool) {
	const size = 64 << 20
	m := meshtest.New(b, "relay", "nas", "desk")
	share, dir := b.TempDir(), b.TempDir()
	server, err := file.Serve(m.Node("nas"), share, file.ServeOptions{})
	if err != nil {
		b.Fatal(err)
	}
	defer server.Close()
	for _, d := range []string{share, dir} {
		if err := os.WriteFile(filepath.Join(d, "from"), content(1, size), 0o666); err != nil {
			b.Fatal(err)
		}
	}
	b.SetBytes(size)
	for b.Loop() {
		if put {
			_, err = file.Put(context.Background(), m.Node("desk"), filepath.Join(dir, "from"), "nas", "to", file.Options{})
		} else {
			_, err = file.Get(context.Background(), m.Node("desk"), "nas", "from", filepath.Join(dir, "to"), file.Options{})
		}
		if err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		os.Remove(filepath.Join(share, "to"))
		os.Remove(filepath.Join(dir, "to"))
		b.StartTimer()
	}
}
