package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"ultrasockets/codec"
	"ultrasockets/mesh"
	"ultrasockets/mesh/file"
)

const cpHelp = `Copy files and folders to the node NAME, or from it. NAME has to share a folder ("ultra join --share DIR"); PATH is
relative to that, and nothing outside it can be read or written.

To NAME: with no PATH, or one that ends in /, the copy keeps its name and goes into that folder, which is made if
it is missing; else PATH is the new name. A file for which there is a folder of that name goes into it. From NAME
likewise, with a local path for PATH, and . and .. are folders. A folder is copied with all that is in it, into
the one of that name if there is one. Links within folders, pipes and devices are skipped and named.

A copy that was interrupted goes on where it was: by itself when the other node is back within --wait, or when the
same command is given again. At the end the content is verified (SHA-256). Until then it is a hidden file
".FILE.ultra-part" beside its place; to remove that is to begin anew. A file that is there with the same content
counts as copied; one with other content is never overwritten without --force. Permissions and times are kept.

- is standard input or standard output. What came from standard input cannot be read again: if NAME is lost the copy
fails, and leaves nothing. FILE is what has a slash before its first colon, or no colon: write ./a:b for a file a:b.

On a terminal the progress, the rate and the time that is left are shown on standard error. With --json one object at
the end: {"files","same","bytes","moved","seconds","sha256"}; "same" were there already, "moved" is what passed
through the mesh, "sha256" is there if it was one file. The exit code is 1 if anything was not copied.`

const cpExamples = `  ultra cp video.mp4 nas:                      to nas, as video.mp4
  ultra cp video.mp4 nas:films/holiday.mp4     … as films/holiday.mp4
  ultra cp *.jpg photos nas:2026/              files and a folder into 2026
  ultra cp nas:films .                         the folder films, from nas
  ultra cp nas:report.pdf nas:notes.txt /tmp/
  pg_dump db | ultra cp - nas:db.sql           standard input
  ultra cp nas:db.sql - | psql db              standard output
  ultra join --name nas --share ~/shared --stay </dev/null    the other side`

type cpFlags struct {
	meshFlags
	force bool
	wait  time.Duration
}

func newCp() *cobra.Command {
	f := &cpFlags{}
	cmd := &cobra.Command{
		Use:     "cp FILE… NAME:[PATH] | NAME:PATH… DEST",
		Short:   "Copy files and folders to a node, or from it",
		Long:    cpHelp,
		Example: cpExamples,
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.BoolVarP(&f.force, "force", "f", false, "overwrite existing files")
	flags.DurationVar(&f.wait, "wait", file.DefaultPatience, "how long to wait for a node that is lost on the way; 0: not at all")
	f.addTo(cmd)
	cmd.Args = func(_ *cobra.Command, args []string) error {
		_, err := parseCopy(args, runtime.GOOS == "windows")
		return err
	}
	cmd.ValidArgsFunction = f.completePlace
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if f.wait < 0 {
			return usageError{fmt.Errorf("--wait is %v; it must not be negative", f.wait)}
		}
		job, err := parseCopy(args, runtime.GOOS == "windows")
		if err != nil {
			return err
		}
		return f.run(cmd.Context(), job, cmd.InOrStdin(), cmd.OutOrStdout(), cmd.ErrOrStderr())
	}
	return cmd
}

// completePlace completes the name of a node with its colon, or a file.
func (f *cpFlags) completePlace(cmd *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
	if strings.ContainsAny(begun, `:/\`) {
		return nil, cobra.ShellCompDirectiveDefault
	}
	names, _ := f.peersOf(cmd, func(p mesh.Peer) []string { return []string{p.Name + ":"} })
	return names, cobra.ShellCompDirectiveNoSpace
}

// place is where a file is or goes to.
type place struct {
	node string // "": it is here
	path string // of a node's shared folder, with slashes; or of this machine; "-": standard input or output
	into bool   // it is a folder, into which the copy goes under its own name
}

// copyJob is what the arguments say.
type copyJob struct {
	from []place
	to   place
}

func parseCopy(args []string, windows bool) (job copyJob, err error) {
	if len(args) < 2 {
		return job, usageError{errors.New("what is to be copied, and where to? Write ultra cp FILE NAME: or ultra cp NAME:FILE DEST")}
	}
	last := len(args) - 1
	job.to = parsePlace(args[last], windows)
	for _, arg := range args[:last] {
		from := parsePlace(arg, windows)
		switch {
		case arg == "":
			return job, usageError{errors.New("a FILE is empty")}
		case from.node == "" && job.to.node == "":
			return job, usageError{fmt.Errorf("neither %q nor %q is at a node; write NAME: before the one that is", arg, args[last])}
		case from.node != "" && job.to.node != "":
			return job, usageError{fmt.Errorf("%q and %q are both at nodes; one side has to be here", arg, args[last])}
		case (from.isStd() || job.to.isStd()) && last > 1:
			return job, usageError{errors.New("with - only one file can be copied")}
		}
		job.from = append(job.from, from)
	}
	switch {
	case job.to.isStd():
	case last > 1:
		job.to.into = true
	case job.from[0].isStd() && job.to.into:
		return job, usageError{fmt.Errorf("standard input has no name; give it one: %s:PATH", job.to.node)}
	}
	return job, nil
}

func (p place) isStd() bool { return p.node == "" && p.path == "-" }

// parsePlace takes what stands before the first colon for a node if it may be one's name; a letter and a colon is a drive
// on Windows.
func parsePlace(arg string, windows bool) place {
	slashes := "/"
	if windows {
		slashes = `/\`
	}
	name, rest, colon := strings.Cut(arg, ":")
	if colon && codec.CheckName(name) == nil && !(windows && len(name) == 1) {
		p := place{node: name, path: rest, into: rest == "" || rest == "." || strings.HasSuffix(rest, "/")}
		if !strings.HasPrefix(rest, "/") { // else the server says what is wrong with it
			if p.path = path.Clean(rest); p.path == "." {
				p.path = ""
			}
		}
		return p
	}
	last := arg[strings.LastIndexAny(arg, slashes)+1:]
	return place{path: arg, into: last == "" || last == "." || last == ".."}
}

func (f *cpFlags) run(ctx context.Context, job copyJob, in io.Reader, out, errs io.Writer) error {
	first := job.to.node
	if first == "" {
		first = job.from[0].node
	}
	for _, p := range job.from {
		if p.node == "" && !p.isStd() {
			if _, err := os.Stat(p.path); err != nil { // before anybody is looked for
				return err
			}
		}
	}
	node, err := f.visitName(ctx, first)
	if err != nil {
		return err
	}
	defer leaveSoon(node)
	show := newMeter(errs, term.IsTerminal(int(os.Stderr.Fd())) && !f.json)
	c := &copier{ctx: ctx, node: node, job: job, in: in, out: out, opts: file.Options{Force: f.force, Patience: f.wait, Progress: show.progress}}
	if f.wait == 0 {
		c.opts.Patience = -1
	}
	began := time.Now()
	err = c.all()
	took := time.Since(began)
	show.end()
	for _, skipped := range c.sum.Skipped {
		fmt.Fprintf(errs, "note: %s is neither a file nor a folder, skipped\n", skipped)
	}
	if f.json {
		if _, err := fmt.Fprintf(out, "%s\n", jsonLine(c.report(took))); err != nil {
			return err
		}
	}
	switch {
	case err == nil:
		show.report(c.sum, took)
		return nil
	case ctx.Err() != nil:
		if c.sum.Moved > 0 && !job.from[0].isStd() && !job.to.isStd() {
			return fmt.Errorf("%w; the same command goes on from there", errInterrupted)
		}
		return errInterrupted
	}
	return tellEach(errs, err)
}

// leaveSoon leaves with what was received acknowledged, lest the other side thinks that its last replies are lost.
func leaveSoon(node *mesh.Node) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = node.Shutdown(ctx) // whatever was to be sent has been
}

// copier does a job.
type copier struct {
	ctx  context.Context
	node *mesh.Node
	job  copyJob
	opts file.Options
	in   io.Reader
	out  io.Writer
	sum  file.Result
}

func (c *copier) all() error {
	var errs []error
	for _, from := range c.job.from {
		r, err := c.one(from)
		c.sum.Files += r.Files
		c.sum.Same += r.Same
		c.sum.Bytes += r.Bytes
		c.sum.Moved += r.Moved
		c.sum.Skipped = append(c.sum.Skipped, r.Skipped...)
		c.sum.Sum = r.Sum
		if err != nil {
			errs = append(errs, err)
		}
		if c.ctx.Err() != nil {
			break
		}
	}
	return errors.Join(errs...)
}

func (c *copier) one(from place) (file.Result, error) {
	to := c.job.to
	switch {
	case from.isStd():
		return file.PutFrom(c.ctx, c.node, interruptibleReader(c.ctx, c.in), to.node, to.path, c.opts)
	case to.isStd():
		return file.GetTo(c.ctx, c.node, from.node, from.path, c.out, c.opts)
	case to.node != "":
		name, err := c.nameAt(from.path, to)
		if err != nil {
			return file.Result{}, err
		}
		return file.Put(c.ctx, c.node, from.path, to.node, name, c.opts)
	}
	return file.Get(c.ctx, c.node, from.node, from.path, c.nameHere(from, to), c.opts)
}

// nameAt is the path that a local file gets at a node.
func (c *copier) nameAt(local string, to place) (string, error) {
	whole, err := filepath.Abs(local) // "." has a name too
	if err != nil {
		return "", err
	}
	name := path.Join(to.path, filepath.Base(whole))
	if to.into {
		return name, nil
	}
	if st, err := os.Stat(local); err != nil || st.IsDir() {
		return to.path, err
	}
	if info, err := file.Stat(c.ctx, c.node, to.node, to.path); err == nil && info.Kind == file.KindFolder {
		return name, nil
	}
	return to.path, nil // what else is wrong shows when it is copied
}

// nameHere is the local path that a node's file gets.
func (c *copier) nameHere(from, to place) string {
	name := filepath.Join(to.path, filepath.FromSlash(path.Base(from.path)))
	if from.path == "" {
		return to.path // the shared folder itself has no name
	}
	if to.into {
		return name
	}
	if st, err := os.Stat(to.path); err == nil && st.IsDir() {
		if info, err := file.Stat(c.ctx, c.node, from.node, from.path); err == nil && info.Kind == file.KindFile {
			return name
		}
	}
	return to.path
}

type copyReport struct {
	Files   int     `json:"files"`
	Same    int     `json:"same"`
	Bytes   int64   `json:"bytes"`
	Moved   int64   `json:"moved"`
	Seconds float64 `json:"seconds"`
	SHA256  string  `json:"sha256,omitempty"`
}

func (c *copier) report(took time.Duration) copyReport {
	r := copyReport{Files: c.sum.Files, Same: c.sum.Same, Bytes: c.sum.Bytes, Moved: c.sum.Moved, Seconds: took.Seconds()}
	if r.Files == 1 {
		r.SHA256 = fmt.Sprintf("%x", c.sum.Sum)
	}
	return r
}

const toldAtMost = 10 // errors of one copy, each in a line

// tellEach tells several errors in a line each, and gives one back as it is.
func tellEach(w io.Writer, err error) error {
	all := split(err)
	if len(all) == 1 {
		return classify(err)
	}
	for i, err := range all {
		if i == toldAtMost {
			fmt.Fprintf(w, "ultra: … and %d more\n", len(all)-i)
			break
		}
		fmt.Fprintf(w, "ultra: %s\n", oneLine(err))
	}
	return errTold
}

// split takes joined errors apart, also if a sentence stands before them.
func split(err error) []error {
	for inner := err; inner != nil; inner = errors.Unwrap(inner) {
		if joined, ok := inner.(interface{ Unwrap() []error }); ok && strings.Contains(inner.Error(), "\n") {
			var all []error
			for _, e := range joined.Unwrap() {
				all = append(all, split(e)...)
			}
			return all
		}
	}
	return []error{err}
}

// interruptibleReader ends with ctx although a read may not. Its goroutine ends with r, or the process: nothing can wake it
// from a terminal.
func interruptibleReader(ctx context.Context, r io.Reader) io.Reader {
	out, in := io.Pipe()
	go func() {
		_, err := io.CopyBuffer(struct{ io.Writer }{in}, struct{ io.Reader }{r}, make([]byte, 256<<10))
		in.CloseWithError(err)
	}()
	context.AfterFunc(ctx, func() { out.CloseWithError(ctx.Err()) })
	return out
}
