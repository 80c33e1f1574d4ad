package file

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path"
	"runtime"
	"time"
)

// SHA-256, because what a copy prints can be compared with sha256sum and the like everywhere, and because the processors
// of today have instructions for it: with them it is no slower than BLAKE2, which has none.

// partial is a file that is being written, hidden beside its final name. Whoever has it has its lock. Not safe for
// concurrent use.
type partial struct {
	root    *os.Root
	path    string // the final name
	temp    string
	f       *os.File
	sum     hash.Hash // of what there is
	have    int64     // bytes there are
	once    bool      // nobody could go on with it: it is removed if it does not come to its end
	private bool      // its permissions are told at the end; until then nobody else reads it
}

// openPartial opens the partial file of path, makes the folders above it, and keeps what an earlier try has left of it, if that is no
// more than size (-1: nothing is kept). The error wraps ErrBusy if another has it.
func openPartial(ctx context.Context, root *os.Root, p string, size int64, private bool) (*partial, error) {
	if dir := path.Dir(p); dir != "." {
		if err := root.MkdirAll(dir, 0o777); err != nil {
			return nil, err
		}
	}
	t := &partial{root: root, path: p, temp: partialOf(p), sum: sha256.New(), private: private}
	for t.f == nil {
		if err := t.open(); err != nil {
			return nil, err
		}
	}
	err := t.keep(ctx, size)
	if err != nil {
		t.f.Close()
		return nil, err
	}
	return t, nil
}

// open opens the file and locks it; f is nil afterwards if it was renamed meanwhile.
func (t *partial) open() error {
	if st, err := t.root.Lstat(t.temp); err == nil {
		// A rename that was cut short may have left both names for one file: the final one is not to be written to.
		final, err := t.root.Lstat(t.path)
		if !st.Mode().IsRegular() || err == nil && os.SameFile(st, final) {
			if err := t.root.Remove(t.temp); err != nil {
				return err
			}
		}
	}
	mode := fs.FileMode(0o666)
	if t.private {
		mode = 0o600
	}
	f, err := t.root.OpenFile(t.temp, os.O_RDWR|os.O_CREATE|largeFile, mode)
	if errors.Is(err, fs.ErrPermission) && t.root.Remove(t.temp) == nil {
		return nil // it had its permissions already when it was cut short, and they do not let it be written
	}
	if err != nil {
		return err
	}
	if err := lock(f); err != nil {
		f.Close()
		return fmt.Errorf("%w: %s", ErrBusy, t.path)
	}
	mine, err := f.Stat()
	if err != nil {
		f.Close()
		return err
	}
	if there, err := t.root.Lstat(t.temp); err != nil || !os.SameFile(mine, there) {
		f.Close()
		return nil
	}
	t.f = f
	return nil
}

// keep sums up what is there, or drops it.
func (t *partial) keep(ctx context.Context, size int64) error {
	st, err := t.f.Stat()
	if err != nil {
		return err
	}
	if st.Size() > size {
		return t.restart()
	}
	t.have, err = sumUp(ctx, t.sum, t.f, st.Size())
	return err
}

// restart drops what there is.
func (t *partial) restart() error {
	t.have = 0
	t.sum.Reset()
	return t.f.Truncate(0)
}

func (t *partial) write(b []byte) error {
	if _, err := t.f.WriteAt(b, t.have); err != nil {
		return err
	}
	t.sum.Write(b)
	t.have += int64(len(b))
	return nil
}

// meta is what is known of a file at its end. Mode 0 and Time 0: nothing.
type meta struct {
	size int64
	sum  []byte
	time int64
	mode uint32
}

// finish verifies the file and gives it its final name; over an existing file only by force. It is closed afterwards.
func (t *partial) finish(m meta, force bool) error {
	if t.have != m.size || !bytes.Equal(t.sum.Sum(nil), m.sum) {
		t.discard()
		return ErrSum
	}
	err := t.settle(m)
	if err == nil && runtime.GOOS == "windows" {
		err = t.f.Close() // an open file cannot be renamed there
	}
	if err == nil {
		err = t.rename(force)
	}
	t.f.Close() // with it goes the lock, not before the name
	if err == nil {
		syncFolder(t.root, path.Dir(t.path))
	}
	return err
}

// settle writes permissions and time, and waits for the disk.
func (t *partial) settle(m meta) error {
	if t.private && m.mode != 0 {
		if err := t.f.Chmod(fs.FileMode(m.mode).Perm()); err != nil {
			return err
		}
	}
	if err := t.f.Sync(); err != nil {
		return err
	}
	if m.time == 0 {
		return nil
	}
	at := time.Unix(0, m.time)
	return t.root.Chtimes(t.temp, at, at)
}

// rename gives the file its final name. Not by force, a link is made first, which fails if the name is taken; where a
// file system has no links, a look must do.
func (t *partial) rename(force bool) error {
	if st, err := t.root.Lstat(t.path); err == nil && st.IsDir() {
		return fmt.Errorf("%w: %s", ErrFolder, t.path)
	} else if err == nil && !force {
		return fmt.Errorf("%s %w", t.path, ErrExists)
	}
	if !force {
		err := t.root.Link(t.temp, t.path)
		if err == nil {
			return t.root.Remove(t.temp)
		}
		if errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("%s %w", t.path, ErrExists)
		}
	}
	return t.root.Rename(t.temp, t.path)
}

// abandon closes the file and leaves what is there for the next try, if there can be one.
func (t *partial) abandon() {
	if t.once || t.have == 0 {
		t.discard()
		return
	}
	t.f.Close()
}

func (t *partial) discard() {
	if runtime.GOOS == "windows" {
		t.f.Close()
	}
	t.root.Remove(t.temp) // if it cannot be, the next try finds it
	t.f.Close()
}

// syncFolder makes a new name last, where a folder can be synced.
func syncFolder(root *os.Root, dir string) {
	if f, err := root.Open(dir); err == nil {
		f.Sync()
		f.Close()
	}
}

const pieceSize = 256 << 10 // what is read and sent at a time

// sumUp adds the first n bytes of r to sum, and gives how many there were.
func sumUp(ctx context.Context, sum hash.Hash, r io.Reader, n int64) (int64, error) {
	buf := make([]byte, pieceSize)
	for done := int64(0); done < n; {
		if err := ctx.Err(); err != nil {
			return done, err
		}
		k, err := io.ReadFull(r, buf[:min(n-done, pieceSize)])
		sum.Write(buf[:k])
		done += int64(k)
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return done, nil
		}
		if err != nil {
			return done, err
		}
	}
	return n, nil
}

// modeOf are the permission bits of a file, 0 where the system has none.
func modeOf(st fs.FileInfo) uint32 {
	if runtime.GOOS == "windows" {
		return 0
	}
	return uint32(st.Mode().Perm())
}
