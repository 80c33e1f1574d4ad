package file

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"sync"
	"time"

	"ultrasockets/mesh"
)

const (
	// DefaultPatience is how long a copy waits for a node that is lost.
	DefaultPatience = time.Minute

	stayEvery   = 5 * time.Second        // a copy that moves nothing says so often that it is still there
	handlerLate = 2 * time.Second        // a node that has just come may serve no files for so long
	retryFirst  = 50 * time.Millisecond  // pause before the first try again; it doubles …
	retryMost   = time.Second            // … up to this
	readLate    = 30 * time.Second       // a read without a reply for so long is asked again
	dropWithin  = 500 * time.Millisecond // how long a copy that is given up tries to say so
	quickTrip   = 50 * time.Millisecond  // pieces that are answered but this much later than the quickest may be more at a time …
	slowTrip    = 200 * time.Millisecond // … and those that take this much longer, less: small messages wait behind them
	fewest      = 2                      // pieces under way at a time, at least
	maxEntries  = 1 << 20                // of one folder: a server that tells of more does not come to an end
)

// Options say how to copy. The zero value overwrites nothing and waits a minute for a node that is lost.
type Options struct {
	// Force overwrites existing files.
	Force bool
	// Patience is how long a copy waits for a node that is lost, or busy, without getting on. 0: DefaultPatience;
	// negative: not at all.
	Patience time.Duration
	// Progress, if set, is told how the copy gets on: at its beginning, after every piece of at most 256 KiB, and when it begins to
	// wait. It is never called twice at a time, and must not take long.
	Progress func(Progress)
}

// Progress is how far a copy is. Sizes are in bytes.
type Progress struct {
	Path    string // of the file under way, at the other node
	Done    int64  // of all files; what was there before included
	Size    int64  // of all files; -1: not known
	Moved   int64  // what has passed through the mesh and has arrived
	Files   int    // that are complete
	Of      int    // files in all
	Waiting error  // why nothing moves just now; nil: it does
}

// Result is what a copy did.
type Result struct {
	Files   int      // files that are there now, Same included
	Same    int      // of them: were there already, with the same content
	Bytes   int64    // size of all these files
	Moved   int64    // bytes that were sent: less than Bytes where an earlier try had brought some, more where some were lost
	Skipped []string // what was neither a file nor a folder, such as links
	Sum     [32]byte // SHA-256 of the file, if it was one
}

// Stat asks what stands under a path of another node's shared folder; "" is the folder itself. Errors: as those of Put.
func Stat(ctx context.Context, node *mesh.Node, name, path string) (Info, error) {
	r, err := far{node, name}.call(ctx, verbStat, args{Path: path})
	if err != nil {
		return Info{}, wrap("look at", name, path, err)
	}
	e := entry{Name: base(path), Kind: r.Answer.Kind, Size: r.Answer.Size, Time: r.Answer.Time, Mode: r.Answer.Mode}
	return e.info(), nil
}

// List lists a folder of another node's shared folder, by name; "" is the shared folder itself. Errors: as those of Put.
func List(ctx context.Context, node *mesh.Node, name, path string) ([]Info, error) {
	entries, err := far{node, name}.list(ctx, path)
	if err != nil {
		return nil, wrap("list", name, path, err)
	}
	out := make([]Info, len(entries))
	for i, e := range entries {
		out[i] = e.info()
	}
	return out, nil
}

func base(p string) string {
	if p == "" {
		return ""
	}
	return path.Base(p)
}

func wrap(what, name, path string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s %s:%s: %w", what, name, path, err)
}

// far is a node that serves files.
type far struct {
	node *mesh.Node
	name string
}

// call asks and waits for the reply; a refusal is an error.
func (f far) call(ctx context.Context, verb string, a args) (reply, error) {
	answer, err := f.ask(ctx, verb, a)
	if err != nil {
		return reply{}, err
	}
	return f.wait(ctx, answer)
}

func (f far) ask(ctx context.Context, verb string, a args) (*mesh.Answer, error) {
	return f.node.Ask(ctx, f.name, mesh.OfKind(kind, encode(nil, request{Verb: verb, Args: a})))
}

func (f far) wait(ctx context.Context, answer *mesh.Answer) (reply, error) {
	var r reply
	m, err := answer.Wait(ctx)
	if errors.Is(err, mesh.ErrNoHandler) {
		return r, fmt.Errorf("%s: %w: %w", f.name, ErrNotShared, err)
	}
	if err != nil {
		return r, err
	}
	if r, err = parseReply(m); err != nil {
		return r, fmt.Errorf("%w (its reply is %.100s)", ErrUnsupported, m.Text())
	}
	return r, r.err(f.name)
}

func (f far) list(ctx context.Context, path string) ([]entry, error) {
	var all []entry
	for a := (args{Path: path}); ; {
		r, err := f.call(ctx, verbList, a)
		if err != nil {
			return nil, err
		}
		all = append(all, r.Answer.Entries...)
		if len(all) > maxEntries {
			return nil, fmt.Errorf("%s:%s has more than %d entries", f.name, path, maxEntries)
		}
		if !r.Answer.More || len(r.Answer.Entries) == 0 {
			return all, nil
		}
		a.After = all[len(all)-1].Name
	}
}

// drop tells that a copy is given up, and lets what is under way of it land, lest the other side thinks that its replies are
// lost; ctx may have ended.
func (f far) drop(ctx context.Context, id uint64, under *flight) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), dropWithin)
	defer cancel()
	f.call(ctx, verbDrop, args{ID: id}) // else it is forgotten there after a while
	for _, p := range under.pieces {
		p.answer.Wait(ctx) // nobody wants it any more
	}
}

// keep says every now and then that a copy is still there, until the function is called that it returns.
func (f far) keep(ctx context.Context, id uint64) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var done sync.WaitGroup
	done.Go(func() {
		tick := time.NewTicker(stayEvery)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				f.call(ctx, verbStay, args{ID: id}) // whoever moves data hears of a failure
			case <-ctx.Done():
				return
			}
		}
	})
	return func() {
		cancel()
		done.Wait()
	}
}

// copying is one call of Put or Get. Not safe for concurrent use.
type copying struct {
	far
	opts   Options
	token  []byte
	result Result
	state  Progress
	base   int64 // of state.Done: files before the one under way
}

func newCopying(node *mesh.Node, name string, opts Options) *copying {
	if opts.Patience == 0 {
		opts.Patience = DefaultPatience
	}
	c := &copying{far: far{node, name}, opts: opts, token: make([]byte, 8)}
	rand.Read(c.token) // never fails (crypto/rand)
	return c
}

func (c *copying) tell() {
	if c.opts.Progress != nil {
		c.opts.Progress(c.state)
	}
}

// at tells that a file is there up to offset, and how much of that was just moved.
func (c *copying) at(offset int64, moved int) {
	c.state.Done = c.base + offset
	c.state.Moved += int64(moved)
	c.state.Waiting = nil
	c.tell()
}

// whole tells that a file is complete.
func (c *copying) whole(size int64, sum []byte, same bool) {
	c.base += size
	c.result.Files++
	c.result.Bytes += size
	c.result.Sum = [32]byte(sum)
	if same {
		c.result.Same++
	}
	c.state.Files++
	c.at(0, 0)
}

// persist tries until it is done, fails for good, or nothing has moved for Patience.
func (c *copying) persist(ctx context.Context, try func() error) error {
	pause := retryFirst
	moved, since := c.state.Moved, time.Now()
	began := since
	for {
		err := try()
		if err == nil || ctx.Err() != nil || !c.passing(err, time.Since(began)) {
			return err
		}
		if c.state.Moved > moved {
			moved, since, pause = c.state.Moved, time.Now(), retryFirst
		}
		left := c.opts.Patience - time.Since(since)
		if left <= 0 && c.state.Moved == 0 {
			return err
		}
		if left <= 0 {
			return fmt.Errorf("%w; what has arrived is kept: the same copy again goes on from there", err)
		}
		c.state.Waiting = err
		c.tell()
		if err := c.await(ctx, min(left, pause), left); err != nil {
			return err
		}
		pause = min(2*pause, retryMost)
	}
}

// await waits a moment, and then until the node is here or patience ends.
func (c *copying) await(ctx context.Context, pause, patience time.Duration) error {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		return ctx.Err()
	case <-c.node.Done():
		return c.node.Err()
	}
	within, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	_ = c.node.WaitFor(within, c.name) // who is still not here shows at the next try
	return ctx.Err()
}

// passing tells whether an error may pass with time.
func (c *copying) passing(err error, after time.Duration) bool {
	switch {
	case errors.Is(err, mesh.ErrOutcomeUnknown), errors.Is(err, mesh.ErrNoPeer), errors.Is(err, mesh.ErrExpired), errors.Is(err, errGone), errors.Is(err, ErrBusy):
		return true
	case errors.Is(err, mesh.ErrNoHandler):
		return c.state.Moved > 0 || after < handlerLate
	}
	return false
}

// flight is the pieces of one file that are under way, in their order. As many as are answered quickly, so that small messages
// beside them do not wait long.
type flight struct {
	most   int
	size   int
	best   time.Duration // of all round trips
	pieces []piece
}

type piece struct {
	answer *mesh.Answer
	offset int64
	length int
	at     time.Time
}

// newFlight is one of as many pieces as the server wants at most.
func newFlight(most int) *flight {
	most = max(fewest, min(most, window))
	return &flight{most: most, size: most, best: time.Hour}
}

func (f *flight) full() bool { return len(f.pieces) >= f.size }

func (f *flight) add(a *mesh.Answer, offset int64, length int) {
	f.pieces = append(f.pieces, piece{a, offset, length, time.Now()})
}

// landed takes the first piece off: it is answered.
func (f *flight) landed() {
	took := time.Since(f.pieces[0].at)
	f.best = min(f.best, took)
	switch late := took - f.best; {
	case late < quickTrip:
		f.size = min(f.size+1, f.most)
	case late > slowTrip:
		f.size = max(f.size-1, fewest)
	}
	f.pieces = f.pieces[1:]
}

// openParent opens the folder that a local file is in, making it where it is missing.
func openParent(path string) (root *os.Root, name string, err error) {
	dir, name := filepath.Split(filepath.Clean(path))
	if dir == "" {
		dir = "."
	}
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return nil, "", err
	}
	root, err = os.OpenRoot(dir)
	return root, name, err
}
