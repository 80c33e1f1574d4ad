package file

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"ultrasockets/mesh"
	"ultrasockets/mesh/meshtest"
)

// These tests ask as a stranger might, who does not check paths, or does not keep to the protocol.

// shared is a server and one who asks it.
type shared struct {
	far
	t       *testing.T
	ctx     context.Context
	server  *Server
	share   string
	outside string // a folder beside it
}

func newShared(t *testing.T, opts ServeOptions) *shared {
	t.Parallel()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	t.Cleanup(cancel)
	dir := t.TempDir()
	s := &shared{t: t, ctx: ctx, share: filepath.Join(dir, "share"), outside: filepath.Join(dir, "outside")}
	for _, d := range []string{s.share, s.outside} {
		if err := os.Mkdir(d, 0o777); err != nil {
			t.Fatal(err)
		}
	}
	m := meshtest.New(t, "nas", "desk")
	var err error
	if s.server, err = Serve(m.Node("nas"), s.share, opts); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.server.Close() })
	s.far = far{m.Node("desk"), "nas"}
	return s
}

// refused wants a request to be refused for that reason; nil: any.
func (s *shared) refused(reason error, verb string, a args, data ...byte) {
	s.t.Helper()
	r, err := s.raw(verb, a, data)
	var told *remoteError
	if !errors.As(err, &told) || reason != nil && !errors.Is(err, reason) {
		s.t.Errorf("%s %+v: %+v, %v; want %v", verb, a, r.Answer, err, reason)
	}
}

// raw asks with data.
func (s *shared) raw(verb string, a args, data []byte) (reply, error) {
	answer, err := s.node.Ask(s.ctx, s.name, mesh.OfKind(kind, append(encode(nil, request{Verb: verb, Args: a}), data...)))
	if err != nil {
		return reply{}, err
	}
	return s.wait(s.ctx, answer)
}

func (s *shared) must(verb string, a args, data ...byte) reply {
	s.t.Helper()
	r, err := s.raw(verb, a, data)
	if err != nil {
		s.t.Fatalf("%s %+v: %v", verb, a, err)
	}
	return r
}

// all is what is in the shared folder and outside.
func (s *shared) all() string {
	s.t.Helper()
	var out []string
	err := filepath.WalkDir(filepath.Dir(s.share), func(p string, d os.DirEntry, err error) error {
		rel, _ := filepath.Rel(filepath.Dir(s.share), p)
		if err == nil && !d.IsDir() {
			out = append(out, filepath.ToSlash(rel))
		}
		return err
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return strings.Join(out, " ")
}

func TestNothingOutside(t *testing.T) {
	s := newShared(t, ServeOptions{})
	secret := filepath.Join(s.outside, "secret")
	if err := os.WriteFile(secret, []byte("secret"), 0o666); err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{"../outside/secret", "..", secret, "a/../../outside/secret", `C:\secret`, "c:/secret", `\\host\secret`, "x/", "./secret", ".x.ultra-part"} {
		for _, verb := range []string{verbGet, verbStat, verbList, verbFolder} {
			s.refused(ErrBadPath, verb, args{Path: p})
		}
		s.refused(ErrBadPath, verbPut, args{Path: p, Size: 1})
	}
	if runtime.GOOS == "windows" {
		for _, p := range []string{"NUL", "con.txt", "COM1", `..\outside\secret`, "a:b"} {
			s.refused(ErrBadPath, verbGet, args{Path: p})
			s.refused(ErrBadPath, verbPut, args{Path: p, Size: 1})
		}
	}
	if got := s.all(); got != "outside/secret" {
		t.Error(got)
	}
}

func TestLinks(t *testing.T) {
	s := newShared(t, ServeOptions{})
	for p, text := range map[string]string{filepath.Join(s.outside, "secret"): "secret", filepath.Join(s.share, "inside"): "inside"} {
		if err := os.WriteFile(p, []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	for name, to := range map[string]string{
		"dir": s.outside, "rel": "../outside", "file": filepath.Join(s.outside, "secret"), "relfile": "../outside/secret", "in": "inside",
		".new.ultra-part": filepath.Join(s.outside, "written"),
	} {
		if err := os.Symlink(to, filepath.Join(s.share, name)); err != nil {
			t.Skip("no symbolic links here: ", err)
		}
	}
	for _, p := range []string{"dir/secret", "rel/secret", "file", "relfile"} {
		s.refused(nil, verbGet, args{Path: p})
		s.refused(nil, verbStat, args{Path: p})
	}
	for _, p := range []string{"dir", "rel"} {
		s.refused(nil, verbList, args{Path: p})
		s.refused(nil, verbPut, args{Path: p + "/new", Size: 1})
		s.refused(nil, verbFolder, args{Path: p + "/new"})
	}
	s.refused(ErrExists, verbPut, args{Path: "file", Size: 6})
	for _, e := range s.must(verbList, args{}).Answer.Entries {
		if want := map[string]Kind{"inside": KindFile}[e.Name]; e.Kind != want && e.Kind != KindLink {
			t.Errorf("%+v", e)
		}
	}
	if got := s.must(verbGet, args{Path: "in"}); got.Answer.Size != 6 {
		t.Errorf("%+v", got.Answer)
	}

	// Over a link, by force, the link is replaced and not what it leads to; nor is a link followed that has a partial file's name.
	for _, name := range []string{"file", "new"} {
		id := s.must(verbPut, args{Path: name, Size: 3, Force: true}).Answer.ID
		s.must(verbWrite, args{ID: id}, 'n', 'e', 'w')
		sum := sha256.Sum256([]byte("new"))
		s.must(verbFinish, args{ID: id, Size: 3, Sum: sum[:]})
		if b, err := os.ReadFile(filepath.Join(s.share, name)); string(b) != "new" || err != nil {
			t.Errorf("%s: %q, %v", name, b, err)
		}
	}
	if b, err := os.ReadFile(filepath.Join(s.outside, "secret")); string(b) != "secret" || err != nil {
		t.Errorf("%q, %v", b, err)
	}
	if got := s.all(); strings.Contains(got, "written") || strings.Contains(got, partSuffix) {
		t.Error(got)
	}
}

func TestForeignRequests(t *testing.T) {
	s := newShared(t, ServeOptions{})
	s.refused(ErrUnsupported, "format", args{})
	s.refused(errGone, verbWrite, args{ID: 7}, 1)
	s.refused(errGone, verbRead, args{ID: 7})
	s.refused(errGone, verbFinish, args{})
	s.refused(ErrFolder, verbPut, args{})
	s.refused(ErrFolder, verbGet, args{})
	s.refused(ErrNotFound, verbGet, args{Path: "nothing"})
	s.refused(ErrNotFound, verbList, args{Path: "nothing"})

	id := s.must(verbPut, args{Path: "x", Size: 3}).Answer.ID
	s.refused(ErrUnsupported, verbWrite, args{ID: id}, make([]byte, maxData+1)...)
	s.refused(errGone, verbRead, args{ID: id, Length: 1}) // it is one of writing
	s.must(verbWrite, args{ID: id}, 1, 2)
	s.must(verbWrite, args{ID: id}, 1, 2) // twice is once
	s.must(verbStay, args{ID: id})
	s.refused(ErrSum, verbFinish, args{ID: id, Size: 2, Sum: []byte("wrong")})
	s.refused(errGone, verbWrite, args{ID: id, Offset: 2}, 3)
	if got := s.all(); got != "" {
		t.Error(got)
	}

	// Another node cannot go on with it.
	id = s.must(verbPut, args{Path: "x", Size: 3}).Answer.ID
	belongsTo := func(name string) {
		s.server.mu.Lock()
		defer s.server.mu.Unlock()
		s.server.sessions[id].from = name
	}
	belongsTo("somebody-else")
	s.refused(errGone, verbDrop, args{ID: id})
	belongsTo(s.node.Name())
	s.must(verbDrop, args{ID: id})

	// A request that is none.
	r, err := s.node.Request(s.ctx, s.name, mesh.OfKind(kind, "nonsense"))
	if rep, perr := parseReply(r); err != nil || perr != nil || !errors.Is(rep.err("nas"), ErrUnsupported) {
		t.Error(rep, err, perr)
	}
}

// Writes that overtake each other are put in order.
func TestWritesInAnyOrder(t *testing.T) {
	s := newShared(t, ServeOptions{})
	id := s.must(verbPut, args{Path: "x", Size: 8}).Answer.ID
	var answers []*mesh.Answer
	for i := 7; i >= 0; i-- {
		b := append(encode(nil, request{Verb: verbWrite, Args: args{ID: id, Offset: int64(i)}}), byte(i))
		a, err := s.node.Ask(s.ctx, s.name, mesh.OfKind(kind, b))
		if err != nil {
			t.Fatal(err)
		}
		answers = append(answers, a)
	}
	for _, a := range answers {
		if _, err := s.wait(s.ctx, a); err != nil {
			t.Fatal(err)
		}
	}
	want := []byte{0, 1, 2, 3, 4, 5, 6, 7}
	sum := sha256.Sum256(want)
	s.must(verbFinish, args{ID: id, Size: 8, Sum: sum[:]})
	if b, err := os.ReadFile(filepath.Join(s.share, "x")); !bytes.Equal(b, want) || err != nil {
		t.Error(b, err)
	}
}

// A rename that was cut short by a crash leaves two names for one file. The next copy writes to neither of them.
func TestCutShortRename(t *testing.T) {
	s := newShared(t, ServeOptions{})
	final := filepath.Join(s.share, "x")
	if err := os.WriteFile(final, []byte("whole"), 0o666); err != nil {
		t.Fatal(err)
	}
	if err := os.Link(final, filepath.Join(s.share, ".x.ultra-part")); err != nil {
		t.Skip("no links here: ", err)
	}
	id := s.must(verbPut, args{Path: "x", Size: 3, Force: true}).Answer.ID
	s.must(verbWrite, args{ID: id}, 'n')
	if b, err := os.ReadFile(final); string(b) != "whole" || err != nil {
		t.Errorf("%q, %v", b, err)
	}
	s.must(verbDrop, args{ID: id})
	if got := s.all(); got != "share/.x.ultra-part share/x" {
		t.Error(got)
	}
}

// TestLarge: files that are longer than an offset of 32 bits can say are read and written like others.
func TestLarge(t *testing.T) {
	s := newShared(t, ServeOptions{})
	for _, name := range []string{"x", ".y.ultra-part"} {
		p := filepath.Join(s.share, name)
		if err := os.WriteFile(p, nil, 0o666); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(p, 3<<30); err != nil { // of zeros, which take no place
			t.Skip("no sparse files here: ", err)
		}
	}
	id := s.must(verbGet, args{Path: "x"}).Answer.ID
	if r := s.must(verbRead, args{ID: id, Length: 1}); string(r.data) != "\x00" {
		t.Errorf("%q", r.data)
	}
	s.must(verbDrop, args{ID: id})
	id = s.must(verbPut, args{Path: "y", Size: 1}).Answer.ID // nothing of a longer one is kept
	s.must(verbWrite, args{ID: id}, 'n')
	s.must(verbDrop, args{ID: id})
}

func TestTooManyCopies(t *testing.T) {
	s := newShared(t, ServeOptions{})
	if err := os.WriteFile(filepath.Join(s.share, "x"), nil, 0o666); err != nil {
		t.Fatal(err)
	}
	var id uint64
	for range maxSessions {
		id = s.must(verbGet, args{Path: "x"}).Answer.ID
	}
	s.refused(ErrBusy, verbGet, args{Path: "x"})
	s.must(verbEnd, args{ID: id})
	s.must(verbGet, args{Path: "x"})
}
