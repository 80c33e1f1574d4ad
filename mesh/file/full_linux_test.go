package file_test

import (
	"errors"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"ultrasockets/mesh/file"
)

// A full disk is told, on either side, and what fitted is kept.
func TestDiskFull(t *testing.T) {
	small := t.TempDir()
	if err := syscall.Mount("none", small, "tmpfs", 0, "size=1m"); err != nil {
		t.Skip("no small file system can be mounted here: ", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(small, 0); err != nil {
			t.Error(err)
		}
	})
	o := newOffice(t, file.ServeOptions{})
	server, err := file.NewServer(small, file.ServeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	server.Serve(o.mesh.Node("relay"))
	b := content(1, 2<<20)
	from := write(t, b, o.dir, "from")
	if _, err := file.Put(o.ctx, o.desk, from, "relay", "x", file.Options{}); err == nil || !strings.Contains(err.Error(), "no space left") {
		t.Error(err)
	}
	write(t, b, o.share, "x")
	if _, err := file.Get(o.ctx, o.desk, "nas", "x", filepath.Join(small, "y"), file.Options{}); !errors.Is(err, syscall.ENOSPC) {
		t.Error(err)
	}
	if got := names(t, small); got != ".x.ultra-part .y.ultra-part" && got != ".x.ultra-part" {
		t.Error(got)
	}
}
