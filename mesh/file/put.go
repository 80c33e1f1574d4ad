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
	"path/filepath"

	"ultrasockets/mesh"
)

// Put copies a local file or folder to path in another node's shared folder, under exactly that name; folders above it are
// made. A folder goes with all that is in it, into the one that is there if there is one; links in it are skipped (and
// named in Result.Skipped), the local path itself may be one. Permissions and times of modification are kept.
//
// A file that is there with the same content counts as done, so a copy that was interrupted may simply be made again; one
// with other content is ErrExists. Of a folder all is copied that can be; the error joins what cannot. ctx ends the copy; what
// has arrived of a file is then where the next one goes on.
//
// Errors, among others: mesh.ErrNoPeer, ErrNotShared, ErrExists, ErrFolder, ErrBadPath, ErrRefused, ErrChanged, ErrSum.
func Put(ctx context.Context, node *mesh.Node, local, name, path string, opts Options) (Result, error) {
	c := newCopying(node, name, opts)
	err := c.putAny(ctx, local, path)
	return c.result, wrap("put", name, path, err)
}

// PutFrom copies what r gives, until it ends, to a file of another node's shared folder. It outlasts the loss of the relay; if
// the other node is lost it fails with ErrStream, and nothing remains there. r is read by the calling goroutine.
// Other errors: as those of Put.
func PutFrom(ctx context.Context, node *mesh.Node, r io.Reader, name, path string, opts Options) (Result, error) {
	c := newCopying(node, name, opts)
	err := c.putStream(ctx, r, path)
	return c.result, wrap("put", name, path, err)
}

func (c *copying) putAny(ctx context.Context, local, path string) error {
	st, err := os.Stat(local)
	if err != nil {
		return err
	}
	if st.IsDir() {
		if err := checkPathOn(path, false); err != nil {
			return err
		}
		return c.putFolder(ctx, local, path)
	}
	c.state.Size, c.state.Of = st.Size(), 1
	return c.putFile(ctx, local, path)
}

// putFolder looks what is in a folder, so that progress can be told, and then copies it.
func (c *copying) putFolder(ctx context.Context, local, path string) error {
	// Who takes nothing says so before the folder is looked through.
	err := c.persist(ctx, func() error { _, err := c.call(ctx, verbStat, args{Path: path}); return err })
	if err != nil && c.final(ctx, err) {
		return err
	}
	var todo []string // relative, folders too
	var dirs = make(map[string]fs.FileMode)
	var errs []error
	err = filepath.WalkDir(local, func(p string, d fs.DirEntry, err error) error {
		rel, _ := filepath.Rel(local, p)
		if err != nil {
			errs = append(errs, err)
			return nil
		}
		st, err := os.Lstat(p)
		if p == local {
			st, err = os.Stat(p) // the folder itself may be a link
		}
		switch {
		case err != nil:
			errs = append(errs, err)
		case st.IsDir():
			dirs[rel] = fs.FileMode(modeOf(st))
			todo = append(todo, rel)
		case !st.Mode().IsRegular():
			c.result.Skipped = append(c.result.Skipped, rel)
		case isPartial(st.Name()):
		default:
			c.state.Size += st.Size()
			c.state.Of++
			todo = append(todo, rel)
		}
		return ctx.Err()
	})
	if err != nil {
		return err
	}
	for _, rel := range todo {
		there := joined(path, filepath.ToSlash(rel))
		mode, isDir := dirs[rel]
		if isDir {
			if there == "" {
				continue // the shared folder itself
			}
			err = c.persist(ctx, func() error {
				_, err := c.call(ctx, verbFolder, args{Path: there, Mode: uint32(mode)})
				return err
			})
		} else {
			err = c.putFile(ctx, filepath.Join(local, rel), there)
		}
		if err != nil && c.final(ctx, err) {
			return errors.Join(append(errs, err)...)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", rel, err))
		}
	}
	return errors.Join(errs...)
}

// final tells whether after that error the other files would fail too.
func (c *copying) final(ctx context.Context, err error) bool {
	return ctx.Err() != nil || errors.Is(err, ErrNotShared) || errors.Is(err, ErrUnsupported) || errors.Is(err, mesh.ErrClosed) || c.passing(err, 0)
}

func joined(dir, rel string) string {
	if rel == "." {
		return dir
	}
	return path.Join(dir, rel)
}

func (c *copying) putFile(ctx context.Context, local, path string) error {
	c.state.Path = path
	if err := checkPathOn(path, false); err != nil {
		return err
	}
	return c.persist(ctx, func() error { return c.tryPut(ctx, local, path) })
}

// tryPut opens the local file and copies what the other side does not have of it.
func (c *copying) tryPut(ctx context.Context, local, path string) error {
	f, err := os.Open(local)
	if err != nil {
		return err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return err
	}
	a := args{Path: path, Size: st.Size(), Token: c.token, Force: c.opts.Force, Mode: modeOf(st)}
	sum := sha256.New()
	r, err := c.agree(ctx, f, sum, a)
	if err != nil {
		return err
	}
	have := r.Answer.Have
	if r.Answer.Exists {
		c.whole(have, r.Answer.Sum, true)
		return nil
	}
	id := r.Answer.ID
	stop := c.keep(ctx, id)
	defer stop()
	c.at(have, 0)
	under := newFlight(r.Answer.Window)
	size, err := c.stream(ctx, id, f, sum, have, under)
	if err == nil {
		src := source{first: st}
		if err = src.unchanged(os.Stat(local)); err == nil && size != st.Size() {
			err = fmt.Errorf("%s: %w", local, ErrChanged)
		}
	}
	if err != nil {
		c.drop(ctx, id, under)
		return err
	}
	end := args{ID: id, Size: size, Sum: sum.Sum(nil), Time: st.ModTime().UnixNano(), Mode: a.Mode}
	if _, err := c.call(ctx, verbFinish, end); err != nil {
		return err
	}
	c.whole(size, end.Sum, false)
	return nil
}

// agree finds out with the other side how much of f it has already. sum is that of so much then.
func (c *copying) agree(ctx context.Context, f *os.File, sum hash.Hash, a args) (reply, error) {
	for {
		r, err := c.call(ctx, verbPut, a)
		if err != nil {
			return r, err
		}
		have := r.Answer.Have
		stop := func() {}
		if r.Answer.ID != 0 {
			stop = c.keep(ctx, r.Answer.ID)
		}
		sum.Reset()
		if _, err = f.Seek(0, io.SeekStart); err == nil {
			_, err = sumUp(ctx, sum, f, have)
		}
		stop()
		if err != nil {
			return r, err
		}
		switch {
		case bytes.Equal(sum.Sum(nil), r.Answer.Sum):
			return r, nil
		case a.Fresh:
			return r, fmt.Errorf("%s: %w", c.name, ErrSum) // it has what nobody sent
		case !r.Answer.Exists:
			a.Fresh = true // what there is is not of this file
		case c.opts.Force:
			a.Compared = true
		default:
			return r, &remoteError{name: c.name, text: fmt.Sprintf("%s %v", a.Path, ErrExists), reason: ErrExists}
		}
	}
}

// stream sends what r gives, from offset on, and gives the size of it all.
func (c *copying) stream(ctx context.Context, id uint64, r io.Reader, sum hash.Hash, offset int64, under *flight) (int64, error) {
	buf := make([]byte, headRoom+pieceSize) // the data of every piece is in the same place, its head right before it
	data := buf[headRoom:]
	for end := false; ; {
		for !end && !under.full() {
			n, err := io.ReadFull(r, data)
			if end = errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF); err != nil && !end {
				return 0, err
			}
			if n == 0 {
				break
			}
			head := encode(nil, request{Verb: verbWrite, Args: args{ID: id, Offset: offset}})
			copy(buf[headRoom-len(head):], head)
			a, err := c.node.Ask(ctx, c.name, mesh.OfKind(kind, buf[headRoom-len(head):headRoom+n]))
			if err != nil {
				return 0, err
			}
			sum.Write(data[:n])
			under.add(a, offset, n)
			c.result.Moved += int64(n)
			offset += int64(n)
		}
		if len(under.pieces) == 0 {
			return offset, nil
		}
		p := under.pieces[0]
		if _, err := c.wait(ctx, p.answer); err != nil {
			return 0, err
		}
		under.landed()
		c.at(p.offset+int64(p.length), p.length)
	}
}

// putStream sends a stream. Nobody could go on with what is there of it.
func (c *copying) putStream(ctx context.Context, r io.Reader, path string) error {
	if err := checkPathOn(path, false); err != nil {
		return err
	}
	c.state.Path, c.state.Size, c.state.Of = path, -1, 1
	var begun reply
	err := c.persist(ctx, func() (err error) {
		begun, err = c.call(ctx, verbPut, args{Path: path, Token: c.token, Force: c.opts.Force, Once: true})
		return err
	})
	if err != nil {
		return err
	}
	id := begun.Answer.ID
	stop := c.keep(ctx, id)
	defer stop()
	sum := sha256.New()
	under := newFlight(begun.Answer.Window)
	size, err := c.stream(ctx, id, r, sum, 0, under)
	if err == nil {
		_, err = c.call(ctx, verbFinish, args{ID: id, Size: size, Sum: sum.Sum(nil)})
	} else {
		c.drop(ctx, id, under)
	}
	if err != nil && c.passing(err, 0) {
		return fmt.Errorf("%w: %w", ErrStream, err)
	}
	if err == nil {
		c.whole(size, sum.Sum(nil), false)
	}
	return err
}
