package file

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"ultrasockets/mesh"
)

const (
	maxSessions = 256              // copies under way at one server
	forgetAfter = 30 * time.Second // a copy of which nothing is heard ends then
	yieldAfter  = 15 * time.Second // … and then already if another wants its name
	sweepEvery  = 5 * time.Second
	listAtOnce  = 500 // entries of one reply
)

// ServeOptions say what others may do with a served folder. The zero value permits all.
type ServeOptions struct {
	// Allow, if set, may refuse: its error's sentence is told to the node. write tells whether it wants to put or to get.
	// Called concurrently.
	Allow func(from, path string, write bool) error
	// Done, if set, is called when a file has been put or got whole. It must not take long. Called concurrently.
	Done func(Transfer)
}

// Transfer is a file that was put or got whole.
type Transfer struct {
	From  string // the node that did it
	Path  string
	Write bool // it was put
	Size  int64
	Sum   [32]byte // SHA-256
}

// Server serves one folder. It is safe for concurrent use.
type Server struct {
	// static
	root *os.Root
	opts ServeOptions

	mu       sync.Mutex
	sessions map[uint64]*session
	writing  map[string]*session // of sessions: by the path that they write, also while they begin
	sweeper  *time.Timer         // runs while there are sessions
	closed   bool
}

// Serve answers file requests to a node with the folder dir, which must exist, in place of an earlier server. The node's own
// handlers are not concerned. Close ends it.
func Serve(node *mesh.Node, dir string, opts ServeOptions) (*Server, error) {
	s, err := NewServer(dir, opts)
	if err != nil {
		return nil, err
	}
	s.Serve(node)
	return s, nil
}

// NewServer makes a Server that no node uses yet.
func NewServer(dir string, opts ServeOptions) (*Server, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("serve files: %w", err)
	}
	return &Server{root: root, opts: opts, sessions: make(map[uint64]*session), writing: make(map[string]*session)}, nil
}

// Serve answers file requests to a node; one server may do so for several.
func (s *Server) Serve(node *mesh.Node) { node.HandleKind(kind, s.handle) }

// Refuse answers file requests to a node by saying that nothing is shared, and what to do about it.
func Refuse(node *mesh.Node) {
	node.HandleKind(kind, func(context.Context, mesh.Message) (any, error) { return encode(nil, refusal(ErrNotShared)), nil })
}

// handle is the handler of the node.
func (s *Server) handle(ctx context.Context, m mesh.Message) (any, error) {
	r, err := parseRequest(m)
	if err != nil {
		return encode(nil, refusal(ErrUnsupported)), nil
	}
	rep, err := s.serve(ctx, m.From, r)
	if err != nil {
		return encode(nil, refusal(err)), nil
	}
	if rep.data != nil {
		return rep.data, nil // of a read: it has its head already
	}
	rep.Code = codeOK
	return encode(nil, rep), nil
}

// Close ends all copies under way, and keeps what is there of them. What is asked afterwards is refused.
func (s *Server) Close() error {
	s.mu.Lock()
	s.closed = true
	if s.sweeper != nil {
		s.sweeper.Stop()
	}
	all := s.sessions
	s.sessions, s.writing = map[uint64]*session{}, map[string]*session{}
	s.mu.Unlock()
	for _, e := range all {
		e.end(errGone)
	}
	return s.root.Close()
}

func (s *Server) serve(ctx context.Context, from string, r request) (reply, error) {
	a := r.Args
	if err := checkPath(a.Path); err != nil {
		return reply{}, err
	}
	switch r.Verb {
	case verbStat, verbList, verbGet, verbFolder, verbPut:
		write := r.Verb == verbFolder || r.Verb == verbPut
		if err := s.allowed(from, a.Path, write); err != nil {
			return reply{}, err
		}
	}
	switch r.Verb {
	case verbStat:
		return s.stat(a)
	case verbList:
		return s.list(a)
	case verbFolder:
		return s.folder(a)
	case verbPut:
		return s.put(ctx, from, a)
	case verbGet:
		return s.get(ctx, from, a)
	case verbWrite, verbFinish, verbRead, verbEnd, verbStay, verbDrop:
		e, err := s.session(from, a.ID)
		if err != nil {
			return reply{}, err
		}
		return s.goOn(ctx, e, r)
	}
	return reply{}, ErrUnsupported
}

func (s *Server) allowed(from, path string, write bool) error {
	if s.opts.Allow == nil {
		return nil
	}
	if err := s.opts.Allow(from, path, write); err != nil {
		return fmt.Errorf("%w: %w", ErrRefused, err)
	}
	return nil
}

// goOn is a request of a copy that has begun.
func (s *Server) goOn(ctx context.Context, e *session, r request) (rep reply, err error) {
	switch r.Verb {
	case verbWrite:
		return reply{}, e.write(ctx, r.Args, r.data)
	case verbRead:
		return e.read(ctx, r.Args)
	case verbFinish:
		if err = e.finish(r.Args); err == nil {
			s.done(e, r.Args.Size, r.Args.Sum)
		}
	case verbEnd:
		if rep, err = e.total(s.root); err == nil {
			s.done(e, rep.Answer.Size, rep.Answer.Sum)
		}
	case verbStay:
		e.touch()
		return reply{}, nil
	}
	s.forget(e, errGone)
	return rep, err
}

func (s *Server) done(e *session, size int64, sum []byte) {
	if s.opts.Done != nil {
		s.opts.Done(Transfer{From: e.from, Path: e.path, Write: e.in != nil, Size: size, Sum: [32]byte(sum)})
	}
}

// local is a path as the system's calls want it.
func local(p string) string {
	if p == "" {
		return "."
	}
	return p
}

func (s *Server) stat(a args) (reply, error) {
	st, err := s.root.Stat(local(a.Path))
	if err != nil {
		return reply{}, err
	}
	e := entryOf(st)
	return reply{Answer: answer{Kind: e.Kind, Size: e.Size, Time: e.Time, Mode: e.Mode}}, nil
}

func (s *Server) list(a args) (reply, error) {
	entries, err := fs.ReadDir(s.root.FS(), local(a.Path))
	if err != nil {
		return reply{}, err
	}
	var out answer
	for _, d := range entries { // by name
		if d.Name() <= a.After || isPartial(d.Name()) {
			continue
		}
		if len(out.Entries) == listAtOnce {
			out.More = true
			break
		}
		st, err := d.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return reply{}, err
		}
		e := entryOf(st)
		if !utf8.ValidString(e.Name) {
			e = entry{Name: strings.ToValidUTF8(e.Name, "\uFFFD"), Kind: KindOther} // it cannot be asked for
		}
		out.Entries = append(out.Entries, e)
	}
	return reply{Answer: out}, nil
}

func (s *Server) folder(a args) (reply, error) {
	mode := fs.FileMode(0o777)
	if a.Mode != 0 {
		mode = fs.FileMode(a.Mode).Perm() | 0o700 // or nothing could be put into it
	}
	if dir := path.Dir(a.Path); dir != "." {
		if err := s.root.MkdirAll(dir, 0o777); err != nil {
			return reply{}, err
		}
	}
	err := s.root.Mkdir(local(a.Path), mode)
	if errors.Is(err, fs.ErrExist) {
		st, err := s.root.Stat(local(a.Path))
		if err == nil && !st.IsDir() {
			err = fmt.Errorf("%w: %s", ErrFolder, a.Path)
		}
		return reply{}, err
	}
	if err == nil && a.Mode != 0 && runtime.GOOS != "windows" {
		err = s.root.Chmod(a.Path, mode) // what the umask took away
	}
	return reply{}, err
}

// session is the copy with that number, if it is that node's.
func (s *Server) session(from string, id uint64) (*session, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.sessions[id]; e != nil && e.from == from {
		return e, nil
	}
	return nil, errGone
}

// begin makes room for a copy; of one that writes, it takes the path. A former one to that path gives way if it is the
// same copy, come back, or nothing was heard of it for a while.
func (s *Server) begin(e *session) error {
	for {
		s.mu.Lock()
		if s.closed {
			s.mu.Unlock()
			return ErrNotShared
		}
		old := s.writing[e.path]
		if old == nil || e.reads {
			break
		}
		s.mu.Unlock()
		same := old.from == e.from && len(e.token) > 0 && slices.Equal(old.token, e.token)
		if !same && !old.idle(yieldAfter) {
			return fmt.Errorf("%w: %s is being written by %s", ErrBusy, e.path, old.from)
		}
		s.forget(old, errGone)
	}
	defer s.mu.Unlock()
	if len(s.sessions) >= maxSessions {
		return fmt.Errorf("%w: %d copies", ErrBusy, maxSessions)
	}
	var id [8]byte
	rand.Read(id[:]) // never fails (crypto/rand)
	e.id = binary.BigEndian.Uint64(id[:])
	s.sessions[e.id] = e
	if !e.reads {
		s.writing[e.path] = e
	}
	if len(s.sessions) == 1 {
		s.sweeper = time.AfterFunc(sweepEvery, s.sweep)
	}
	return nil
}

// forget ends a copy, and keeps what is there of it.
func (s *Server) forget(e *session, reason error) {
	s.mu.Lock()
	delete(s.sessions, e.id)
	if s.writing[e.path] == e {
		delete(s.writing, e.path)
	}
	s.mu.Unlock()
	e.end(reason)
}

// sweep ends copies of which nothing is heard.
func (s *Server) sweep() {
	s.mu.Lock()
	var idle []*session
	for _, e := range s.sessions {
		if e.idle(forgetAfter) {
			idle = append(idle, e)
		}
	}
	if !s.closed && len(s.sessions) > 0 {
		s.sweeper.Reset(sweepEvery)
	}
	s.mu.Unlock()
	for _, e := range idle {
		s.forget(e, errGone)
	}
}

// put begins to write a file.
func (s *Server) put(ctx context.Context, from string, a args) (reply, error) {
	if a.Path == "" {
		return reply{}, fmt.Errorf("%w: the shared folder itself", ErrFolder)
	}
	e := newSession(from, a)
	if err := s.begin(e); err != nil {
		return reply{}, err
	}
	rep, err := s.open(ctx, e, a)
	if err != nil || rep.Answer.Exists {
		s.forget(e, errGone)
	}
	return rep, err
}

// open looks what is there under the final name, and opens the partial file.
func (s *Server) open(ctx context.Context, e *session, a args) (reply, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.err != nil {
		return reply{}, e.err // it gave way already
	}
	st, err := s.root.Lstat(a.Path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return reply{}, err
	case st.IsDir():
		return reply{}, fmt.Errorf("%w: %s", ErrFolder, a.Path)
	case st.Mode().IsRegular() && st.Size() == a.Size && !a.Compared && !a.Once:
		sum, err := sumOf(ctx, s.root, a.Path, a.Size)
		return reply{Answer: answer{Exists: true, Have: a.Size, Sum: sum}}, err
	case !a.Force:
		return reply{}, fmt.Errorf("%s %w", a.Path, ErrExists)
	}
	size := a.Size
	if a.Fresh || a.Once {
		size = -1
	}
	if e.in, err = openPartial(ctx, s.root, a.Path, size, a.Mode != 0); err != nil {
		return reply{}, err
	}
	e.in.once = a.Once
	e.at = e.in.have
	return reply{Answer: answer{ID: e.id, Have: e.at, Sum: e.in.sum.Sum(nil), Window: window}}, nil
}

// get begins to read a file.
func (s *Server) get(ctx context.Context, from string, a args) (reply, error) {
	if isPartial(path.Base(a.Path)) || strings.TrimSpace(a.Path) == "" {
		return reply{}, fmt.Errorf("%w: %q", ErrFolder, a.Path)
	}
	e := newSession(from, a)
	e.reads = true
	if err := s.begin(e); err != nil {
		return reply{}, err
	}
	rep, err := e.openSource(ctx, s.root, a)
	if err != nil {
		s.forget(e, errGone)
	}
	return rep, err
}
