//go:build unix

package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// copyBench is a relay, a node that shares a folder, and on either side a file so long that no copy of it comes to its end.
type copyBench struct {
	*bench
	relay, nas *process
	share, dir string
	big, there string
}

func newCopyBench(t *testing.T) *copyBench {
	b := &copyBench{bench: newBench(t), share: t.TempDir(), dir: t.TempDir()}
	var addr string
	b.relay, addr = b.first("join", "--name", "relay")
	b.env = append(b.env, "ULTRA_SEED="+addr)
	b.nas = b.joins("nas", addr, "--share", b.share, "--stay")
	b.big, b.there = filepath.Join(b.dir, "big"), filepath.Join(b.share, "there")
	for _, p := range []string{b.big, b.there} {
		putText(t, "", p)
		if err := os.Truncate(p, 64<<30); err != nil { // of zeros, which take no place
			t.Skip("no sparse files here: ", err)
		}
	}
	return b
}

// shorten leaves so much of a file that a copy that was interrupted has little left to do.
func (b *copyBench) shorten(path, partial string) (size int64) {
	b.t.Helper()
	st, err := os.Stat(partial)
	if err == nil {
		size = st.Size() + 1<<20
		err = os.Truncate(path, size)
	}
	if err != nil {
		b.t.Fatal(err)
	}
	return size
}

// growing waits until a partial file has something in it, which nobody tells.
func (b *copyBench) growing(path string) {
	b.t.Helper()
	for limit := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		if st, err := os.Stat(path); err == nil && st.Size() > 0 {
			return
		}
		if time.Now().After(limit) {
			b.t.Fatal("nothing comes to ", path)
		}
	}
}

// files are those of a folder.
func (b *copyBench) files(dir string) string {
	b.t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		b.t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return strings.Join(names, " ")
}

// goesOn makes the copy to its end, and wants it to begin where it was interrupted.
func (b *copyBench) goesOn(size int64, copied string, args ...string) {
	b.t.Helper()
	var r copyReport
	if err := json.Unmarshal([]byte(b.must("", append([]string{"cp", "--json"}, args...)...)), &r); err != nil {
		b.t.Fatal(err)
	}
	if r.Files != 1 || r.Bytes != size || r.Moved != 1<<20 {
		b.t.Errorf("%+v", r)
	}
	if st, err := os.Stat(copied); err != nil || st.Size() != size {
		b.t.Error(st, err)
	}
}

func TestInterruptCopy(t *testing.T) {
	b := newCopyBench(t)
	p := b.start("cp", b.big, "nas:new")
	b.growing(filepath.Join(b.share, ".new.ultra-part"))
	p.signal(syscall.SIGINT)
	if code := p.exit(); code != exitFailed || p.stderr.String() != "ultra: interrupted; the same command goes on from there\n" {
		t.Error(code, p.stderr)
	}
	if got := b.files(b.share); got != ".new.ultra-part there" {
		t.Error(got)
	}
	size := b.shorten(b.big, filepath.Join(b.share, ".new.ultra-part"))
	b.goesOn(size, filepath.Join(b.share, "new"), b.big, "nas:new")

	to := filepath.Join(b.dir, "to")
	p = b.start("cp", "nas:there", to)
	b.growing(filepath.Join(b.dir, ".to.ultra-part"))
	p.signal(syscall.SIGTERM)
	if code := p.exit(); code != exitFailed || p.stderr.String() != "ultra: interrupted; the same command goes on from there\n" {
		t.Error(code, p.stderr)
	}
	if got := b.files(b.dir); got != ".to.ultra-part big" {
		t.Error(got)
	}
	size = b.shorten(b.there, filepath.Join(b.dir, ".to.ultra-part"))
	b.goesOn(size, to, "nas:there", to)

	p = b.start("cp", "-", "nas:stream")
	p.write(strings.Repeat("x", 1<<20))
	b.growing(filepath.Join(b.share, ".stream.ultra-part"))
	p.signal(syscall.SIGINT)
	if code := p.exit(); code != exitFailed || p.stderr.String() != "ultra: interrupted\n" {
		t.Error(code, p.stderr)
	}
	if got := b.files(b.share); got != "new there" {
		t.Error(got)
	}
	if out := b.must("", "nodes", "--json"); strings.Contains(out, "visitor") {
		t.Error(out)
	}
	b.nas.signal(syscall.SIGINT)
	if code := b.nas.exit(); code != exitDone || strings.Contains(b.nas.stderr.String(), "ultra: ") {
		t.Error(code, b.nas.stderr)
	}
}

// The receiver is interrupted: it leaves in good order, and the copy waits for it and goes on.
func TestInterruptReceiver(t *testing.T) {
	b := newCopyBench(t)
	p := b.start("cp", b.big, "nas:new")
	b.growing(filepath.Join(b.share, ".new.ultra-part"))
	b.nas.signal(syscall.SIGINT)
	if code := b.nas.exit(); code != exitDone {
		t.Error(code, b.nas.stderr)
	}
	p.stderr.has(t, "note: waiting: ")
	if got := b.files(b.share); got != ".new.ultra-part there" {
		t.Error(got)
	}
	if out := b.must("", "nodes", "--json"); strings.Contains(out, `"nas"`) {
		t.Error(out)
	}
	b.shorten(b.big, filepath.Join(b.share, ".new.ultra-part"))
	again := b.start("join", "--name", "nas", "--share", b.share, "--stay", "--events")
	again.stderr.has(t, "put new (")
	if code := p.exit(); code != exitDone {
		t.Error(code, p.stderr)
	}

	p = b.start("cp", "nas:there", filepath.Join(b.dir, "to"), "--wait", "100ms")
	b.growing(filepath.Join(b.dir, ".to.ultra-part"))
	again.signal(syscall.SIGTERM)
	if code := p.exit(); code != exitFailed || !strings.Contains(p.stderr.String(), "the same copy again goes on from there") {
		t.Error(code, p.stderr)
	}
	if got := b.files(b.dir); got != ".to.ultra-part big" {
		t.Error(got)
	}
}
