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

	"ultrasockets/mesh"
)

const maxDepth = 100 // folders within each other: a server that tells of more tells stories

// Get copies a file or folder of another node's shared folder to the local path, under exactly that name; folders above it are
// made. path "" is the whole shared folder. All else is as with Put.
func Get(ctx context.Context, node *mesh.Node, name, path, local string, opts Options) (Result, error) {
	c := newCopying(node, name, opts)
	err := c.getAny(ctx, path, local)
	return c.result, wrap("get", name, path, err)
}

// GetTo copies a file of another node's shared folder to w, and verifies at the end that what was written is the file.
// It goes on where it was if the other node was lost meanwhile; ErrChanged, if the file is another one then.
// Other errors: w's, and those of Put.
func GetTo(ctx context.Context, node *mesh.Node, name, path string, w io.Writer, opts Options) (Result, error) {
	c := newCopying(node, name, opts)
	c.state.Of = 1
	to := &writerTarget{w: w, sum: sha256.New()}
	err := c.getFile(ctx, path, to)
	return c.result, wrap("get", name, path, err)
}

// target is where the content of one file goes.
type target interface {
	there() (have int64, sum []byte) // what it has of the file
	write(b []byte) error
	restart() error // what it has is of another file
}

type writerTarget struct {
	w    io.Writer
	sum  hash.Hash
	have int64
}

func (t *writerTarget) there() (int64, []byte) { return t.have, t.sum.Sum(nil) }

func (t *writerTarget) write(b []byte) error {
	if _, err := t.w.Write(b); err != nil {
		return err
	}
	t.sum.Write(b)
	t.have += int64(len(b))
	return nil
}

func (t *writerTarget) restart() error {
	return fmt.Errorf("%w (a part of it is written already)", ErrChanged)
}

func (t *partial) there() (int64, []byte) { return t.have, t.sum.Sum(nil) }

// getAny finds out whether it is a file or a folder.
func (c *copying) getAny(ctx context.Context, path, local string) error {
	var r reply
	err := c.persist(ctx, func() (err error) {
		r, err = c.call(ctx, verbStat, args{Path: path})
		return err
	})
	if err != nil {
		return err
	}
	e := entry{Name: base(path), Kind: r.Answer.Kind, Size: r.Answer.Size, Time: r.Answer.Time, Mode: r.Answer.Mode}
	switch e.Kind {
	case KindFolder:
		return c.getFolder(ctx, path, local)
	case KindFile:
		c.state.Size, c.state.Of = e.Size, 1
		root, name, err := openParent(local)
		if err != nil {
			return err
		}
		defer root.Close()
		return c.getInto(ctx, path, root, name, e)
	}
	return fmt.Errorf("%s: %w", c.name, ErrNotFound)
}

// found is a file or folder to be got.
type found struct {
	path string // relative to the folder that was asked for
	entry
}

// getFolder lists a folder and all below it, so that progress can be told, and then copies it.
func (c *copying) getFolder(ctx context.Context, from, local string) error {
	if err := os.MkdirAll(local, 0o777); err != nil {
		return err
	}
	root, err := os.OpenRoot(local)
	if err != nil {
		return err
	}
	defer root.Close()
	all, err := c.walk(ctx, from, "", nil, 0)
	var errs []error
	if err != nil {
		return err
	}
	for _, f := range all {
		err := checkPath(f.path) // also what this system would take for something else
		switch {
		case err != nil:
		case f.Kind == KindFolder:
			err = makeFolder(root, f)
		default:
			err = c.getInto(ctx, path.Join(from, f.path), root, f.path, f.entry)
		}
		if err != nil && c.final(ctx, err) {
			return errors.Join(append(errs, err)...)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", f.path, err))
		}
	}
	return errors.Join(errs...)
}

// walk lists what is in a folder, each folder before what is in it.
func (c *copying) walk(ctx context.Context, from, rel string, all []found, depth int) ([]found, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("%w: more than %d folders within each other", ErrBadPath, maxDepth)
	}
	var entries []entry
	err := c.persist(ctx, func() (err error) {
		entries, err = c.list(ctx, path.Join(from, rel))
		return err
	})
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		f := found{path.Join(rel, e.Name), e}
		if e.Name == "" || path.Base(f.path) != e.Name || isPartial(e.Name) {
			return nil, fmt.Errorf("%w: %s lists %q", ErrBadPath, c.name, e.Name)
		}
		switch e.Kind {
		case KindFolder:
			if all, err = c.walk(ctx, from, f.path, append(all, f), depth+1); err != nil {
				return nil, err
			}
		case KindFile:
			c.state.Size += e.Size
			c.state.Of++
			all = append(all, f)
		default:
			c.result.Skipped = append(c.result.Skipped, f.path)
		}
	}
	return all, nil
}

func makeFolder(root *os.Root, f found) error {
	mode := fs.FileMode(0o777)
	if f.Mode != 0 {
		mode = fs.FileMode(f.Mode).Perm() | 0o700 // or nothing could be put into it
	}
	err := root.Mkdir(f.path, mode)
	if errors.Is(err, fs.ErrExist) {
		if st, err := root.Stat(f.path); err != nil || !st.IsDir() {
			return errors.Join(ErrFolder, err)
		}
		return nil
	}
	return err
}

// getInto copies one file to its local place, unless it is there already.
func (c *copying) getInto(ctx context.Context, from string, root *os.Root, to string, e entry) error {
	c.state.Path = from
	compared := false
	return c.persist(ctx, func() error {
		st, err := root.Lstat(to)
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			return err
		case st.IsDir():
			return fmt.Errorf("%s: %w", to, ErrFolder)
		case st.Mode().IsRegular() && st.Size() == e.Size && !compared:
			same, err := c.isSame(ctx, from, root, to, e)
			if compared = err == nil; err != nil || same {
				return err
			}
			fallthrough
		default:
			if !c.opts.Force {
				return fmt.Errorf("%s %w", to, ErrExists)
			}
		}
		t, err := openPartial(ctx, root, to, e.Size, e.Mode != 0)
		if err != nil {
			return err
		}
		m, err := c.tryGet(ctx, from, t)
		if err != nil {
			t.abandon()
			return err
		}
		if err := t.finish(m, c.opts.Force); err != nil {
			return err
		}
		c.whole(m.size, m.sum, false)
		return nil
	})
}

// isSame tells whether the local file has the content of the other's, which is as long.
func (c *copying) isSame(ctx context.Context, from string, root *os.Root, to string, e entry) (bool, error) {
	sum, err := sumOf(ctx, root, to, e.Size)
	if err != nil {
		return false, err
	}
	r, err := c.call(ctx, verbGet, args{Path: from, Token: c.token, Offset: e.Size, Sum: sum})
	if err != nil {
		return false, err
	}
	c.drop(ctx, r.Answer.ID, &flight{})
	if r.Answer.Have != e.Size || r.Answer.Size != e.Size {
		return false, nil
	}
	c.whole(e.Size, sum, true)
	return true, nil
}

// getFile copies one file to where nothing has to be renamed.
func (c *copying) getFile(ctx context.Context, from string, t target) error {
	c.state.Path = from
	return c.persist(ctx, func() error {
		m, err := c.tryGet(ctx, from, t)
		if err == nil {
			c.whole(m.size, m.sum, false)
		}
		return err
	})
}

// tryGet copies what t does not have of a file, and verifies it.
func (c *copying) tryGet(ctx context.Context, from string, t target) (meta, error) {
	have, sum := t.there()
	r, err := c.call(ctx, verbGet, args{Path: from, Token: c.token, Offset: have, Sum: sum})
	if err != nil {
		return meta{}, err
	}
	id := r.Answer.ID
	stop := c.keep(ctx, id)
	defer stop()
	if c.state.Of == 1 {
		c.state.Size = r.Answer.Size
	}
	under := newFlight(r.Answer.Window)
	if r.Answer.Have != have {
		if err := t.restart(); err != nil {
			c.drop(ctx, id, under)
			return meta{}, err
		}
		have = 0
	}
	c.at(have, 0)
	if err := c.fetch(ctx, r.Answer, t, have, under); err != nil {
		c.drop(ctx, id, under)
		return meta{}, err
	}
	end, err := c.call(ctx, verbEnd, args{ID: id})
	if err != nil {
		return meta{}, err
	}
	have, sum = t.there()
	if end.Answer.Size != have || !bytes.Equal(end.Answer.Sum, sum) {
		return meta{}, errors.Join(ErrSum, t.restart())
	}
	return meta{size: have, sum: sum, time: r.Answer.Time, mode: r.Answer.Mode}, nil
}

// fetch reads what is behind offset.
func (c *copying) fetch(ctx context.Context, begun answer, t target, offset int64, under *flight) error {
	next := offset
	for {
		for next < begun.Size && !under.full() {
			n := min(pieceSize, begun.Size-next)
			a, err := c.ask(ctx, verbRead, args{ID: begun.ID, Offset: next, Length: n})
			if err != nil {
				return err
			}
			under.add(a, next, int(n))
			next += n
		}
		if len(under.pieces) == 0 {
			return nil
		}
		p := under.pieces[0]
		r, err := c.landing(ctx, begun.ID, p)
		if err != nil {
			return err
		}
		if len(r.data) != p.length {
			return fmt.Errorf("%s: %w", c.name, ErrChanged)
		}
		if err := t.write(r.data); err != nil {
			return err
		}
		under.landed()
		c.result.Moved += int64(p.length)
		c.at(p.offset+int64(p.length), p.length)
	}
}

// landing waits for a piece. A reply is lost if too many wait at once on the way here; then it is asked for again.
func (c *copying) landing(ctx context.Context, id uint64, p piece) (reply, error) {
	for answer := p.answer; ; {
		within, cancel := context.WithTimeout(ctx, readLate)
		r, err := c.wait(within, answer)
		late := err != nil && within.Err() != nil && ctx.Err() == nil
		cancel()
		if !late {
			return r, err
		}
		if answer, err = c.ask(ctx, verbRead, args{ID: id, Offset: p.offset, Length: int64(p.length)}); err != nil {
			return r, err
		}
	}
}
