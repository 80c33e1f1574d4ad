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
	"sync"
	"time"
)

// session is a copy that a server has under way. Its requests are handled beside each other, and take turns: by their
// offsets, which the client counts up. Safe for concurrent use.
type session struct {
	// static once it has begun
	id    uint64
	from  string
	path  string
	token []byte
	force bool
	reads bool

	mu    sync.Mutex
	moved *sync.Cond // at or err changed
	at    int64      // whose turn it is
	err   error      // it has ended
	in    *partial   // what is written, or …
	out   *source    // … read

	heardMu sync.Mutex
	heard   time.Time
}

func newSession(from string, a args) *session {
	e := &session{from: from, path: a.Path, token: a.Token, force: a.Force, heard: time.Now()}
	e.moved = sync.NewCond(&e.mu)
	return e
}

func (e *session) touch() {
	e.heardMu.Lock()
	defer e.heardMu.Unlock()
	e.heard = time.Now()
}

// idle tells whether nothing was heard of it for so long; not while something is being done.
func (e *session) idle(d time.Duration) bool {
	if !e.mu.TryLock() {
		return false
	}
	defer e.mu.Unlock()
	e.heardMu.Lock()
	defer e.heardMu.Unlock()
	return time.Since(e.heard) >= d
}

// turn waits until all before offset is done. The caller holds mu.
func (e *session) turn(ctx context.Context, offset int64) error {
	e.touch()
	if e.at < offset && e.err == nil {
		stop := context.AfterFunc(ctx, func() {
			e.mu.Lock()
			defer e.mu.Unlock()
			e.moved.Broadcast()
		})
		defer stop()
	}
	for e.at < offset && e.err == nil && ctx.Err() == nil {
		e.moved.Wait()
	}
	if e.err != nil {
		return e.err
	}
	return ctx.Err()
}

// advance gives the turn to the next. The caller holds mu.
func (e *session) advance(n int) {
	e.at += int64(n)
	e.touch()
	e.moved.Broadcast()
}

// end ends the copy; what is there of a file stays for the next try.
func (e *session) end(reason error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.err != nil {
		return
	}
	e.err = reason
	e.moved.Broadcast()
	if e.in != nil {
		e.in.abandon()
	}
	if e.out != nil {
		e.out.f.Close()
	}
}

func (e *session) write(ctx context.Context, a args, data []byte) error {
	if len(data) > maxData {
		return fmt.Errorf("%w: more than %d bytes at a time", ErrUnsupported, maxData)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.in == nil {
		return errGone
	}
	if err := e.turn(ctx, a.Offset); err != nil {
		return err
	}
	if a.Offset < e.at {
		return nil // it came twice
	}
	if err := e.in.write(data); err != nil {
		return err
	}
	e.advance(len(data))
	return nil
}

func (e *session) finish(a args) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.err != nil || e.in == nil {
		return errGone
	}
	e.err = errGone // also if it fails: the file is closed
	e.moved.Broadcast()
	return e.in.finish(meta{size: a.Size, sum: a.Sum, time: a.Time, mode: a.Mode}, e.force)
}

// source is a file that is being read.
type source struct {
	f     *os.File
	first fs.FileInfo
	sum   hash.Hash // of what was read
}

// unchanged tells whether the file is still the one that was opened, as far as size and time tell.
func (s *source) unchanged(now fs.FileInfo, err error) error {
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err != nil || !os.SameFile(now, s.first) || now.Size() != s.first.Size() || !now.ModTime().Equal(s.first.ModTime()) {
		return fmt.Errorf("%s: %w", s.first.Name(), ErrChanged)
	}
	return nil
}

// openSource opens a file to be read: behind its first offset bytes if those have that sum.
func (e *session) openSource(ctx context.Context, root *os.Root, a args) (reply, error) {
	st, err := root.Stat(a.Path) // before it is opened: to open a pipe would wait
	if err != nil {
		return reply{}, err
	}
	if !st.Mode().IsRegular() {
		return reply{}, fmt.Errorf("%w: %s", ErrFolder, a.Path)
	}
	f, err := root.OpenFile(a.Path, os.O_RDONLY|largeFile, 0)
	if err != nil {
		return reply{}, err
	}
	src := &source{f: f, sum: sha256.New()}
	have := int64(0)
	if src.first, err = f.Stat(); err == nil && a.Offset > 0 && a.Offset <= src.first.Size() {
		have, err = sumUp(ctx, src.sum, f, a.Offset)
		if err == nil && (have != a.Offset || !bytes.Equal(src.sum.Sum(nil), a.Sum)) {
			have = 0
			src.sum.Reset()
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if err == nil && e.err != nil {
		err = e.err
	}
	if err != nil {
		f.Close()
		return reply{}, err
	}
	e.out, e.at = src, have
	now := entryOf(src.first)
	return reply{Answer: answer{ID: e.id, Have: have, Size: now.Size, Time: now.Time, Mode: now.Mode, Window: window}}, nil
}

// read gives a reply that is encoded already, so that what is read is copied no more than it must.
func (e *session) read(ctx context.Context, a args) (reply, error) {
	if a.Length < 0 || a.Length > maxData {
		return reply{}, fmt.Errorf("%w: more than %d bytes at a time", ErrUnsupported, maxData)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.out == nil {
		return reply{}, errGone
	}
	if err := e.turn(ctx, a.Offset); err != nil {
		return reply{}, err
	}
	out := encode(make([]byte, 0, a.Length+headRoom), reply{Code: codeOK})
	head := len(out)
	data := out[head : head+int(a.Length)]
	n, err := e.out.f.ReadAt(data, a.Offset)
	if err != nil && !errors.Is(err, io.EOF) {
		return reply{}, err
	}
	if a.Offset == e.at { // else it was asked for twice
		e.out.sum.Write(data[:n])
		e.advance(n)
	}
	return reply{data: out[:head+n]}, nil
}

// total is the sum of all that was read, if the file is still the same.
func (e *session) total(root *os.Root) (reply, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.out == nil || e.err != nil {
		return reply{}, errGone
	}
	if err := e.out.unchanged(root.Stat(e.path)); err != nil {
		return reply{}, err
	}
	return reply{Answer: answer{Size: e.at, Sum: e.out.sum.Sum(nil)}}, nil
}

// sumOf is the SHA-256 of a file's first n bytes.
func sumOf(ctx context.Context, root *os.Root, path string, n int64) ([]byte, error) {
	f, err := root.OpenFile(path, os.O_RDONLY|largeFile, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	sum := sha256.New()
	if _, err := sumUp(ctx, sum, f, n); err != nil {
		return nil, err
	}
	return sum.Sum(nil), nil
}
