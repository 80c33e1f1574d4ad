package file_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"ultrasockets/mesh"
	"ultrasockets/mesh/file"
	"ultrasockets/mesh/meshtest"
)

func TestMain(m *testing.M) {
	if beChild() {
		return
	}
	// Goroutines that are left fail the tests, but for a probe of memberlist's: it may wait for its answer for up to 8 intervals.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/hashicorp/memberlist.(*Memberlist).probeNode"))
}

func within(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

// office is a mesh in which "desk" copies to and from "nas", through "relay".
type office struct {
	t      *testing.T
	ctx    context.Context
	mesh   *meshtest.Mesh
	desk   *mesh.Node
	nas    *mesh.Node
	server *file.Server
	share  string // nas's folder
	dir    string // desk's
}

func newOffice(t *testing.T, opts file.ServeOptions) *office {
	t.Parallel()
	o := &office{t: t, ctx: within(t, 30*time.Second), share: t.TempDir(), dir: t.TempDir()}
	o.mesh = meshtest.New(t, "relay", "nas", "desk")
	o.desk, o.nas = o.mesh.Node("desk"), o.mesh.Node("nas")
	var err error
	if o.server, err = file.Serve(o.nas, o.share, opts); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { o.server.Close() })
	return o
}

// content is bytes that do not repeat, the same ones for a seed.
func content(seed uint64, n int) []byte {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)}).Read(b)
	return b
}

func write(t *testing.T, b []byte, parts ...string) string {
	t.Helper()
	p := filepath.Join(parts...)
	if err := os.MkdirAll(filepath.Dir(p), 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(p, b, 0o644); err != nil {
		t.Fatal(err)
	}
	return p
}

func holds(t *testing.T, want []byte, parts ...string) {
	t.Helper()
	got, err := os.ReadFile(filepath.Join(parts...))
	if err != nil {
		t.Error(err)
	} else if !bytes.Equal(got, want) {
		t.Errorf("%s: %d bytes that are not the %d expected", filepath.Join(parts...), len(got), len(want))
	}
}

// names are all that is in a folder and below, with slashes; folders end in one.
func names(t *testing.T, dir string) string {
	t.Helper()
	var all []string
	err := fs.WalkDir(os.DirFS(dir), ".", func(p string, d fs.DirEntry, err error) error {
		if d.IsDir() {
			p += "/"
		}
		if p != "./" {
			all = append(all, p)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(all, " ")
}

func (o *office) put(local, path string, opts file.Options) file.Result {
	o.t.Helper()
	r, err := file.Put(o.ctx, o.desk, local, "nas", path, opts)
	if err != nil {
		o.t.Fatal(err)
	}
	return r
}

func (o *office) get(path, local string, opts file.Options) file.Result {
	o.t.Helper()
	r, err := file.Get(o.ctx, o.desk, "nas", path, local, opts)
	if err != nil {
		o.t.Fatal(err)
	}
	return r
}

func TestPutAndGet(t *testing.T) {
	o := newOffice(t, file.ServeOptions{})
	for _, size := range []int{0, 1, 256 << 10, 256<<10 + 1, 3 << 20} {
		b := content(1, size)
		from := write(t, b, o.dir, "from")
		old := time.Date(2001, 2, 3, 4, 5, 6, 0, time.UTC)
		if err := os.Chtimes(from, old, old); err != nil {
			t.Fatal(err)
		}
		r := o.put(from, "a folder/grüße 🌍.bin", file.Options{Force: true})
		if r.Sum != sha256.Sum256(b) || r.Files != 1 || r.Bytes != int64(size) || r.Moved != int64(size) {
			t.Errorf("%+v", r)
		}
		holds(t, b, o.share, "a folder/grüße 🌍.bin")
		to := filepath.Join(o.dir, "new", "to")
		r = o.get("a folder/grüße 🌍.bin", to, file.Options{Force: true})
		if r.Sum != sha256.Sum256(b) || r.Files != 1 || r.Bytes != int64(size) || r.Moved != int64(size) {
			t.Errorf("%+v", r)
		}
		holds(t, b, to)
		for _, p := range []string{filepath.Join(o.share, "a folder/grüße 🌍.bin"), to} {
			if st, err := os.Stat(p); err != nil || !st.ModTime().Equal(old) {
				t.Error(p, st.ModTime(), err)
			}
		}
		if got := names(t, o.share) + names(t, filepath.Join(o.dir, "new")); got != "a folder/ a folder/grüße 🌍.binto" {
			t.Error(got) // no partial file remains
		}
	}
}

func TestPermissions(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("Windows has no permission bits")
	}
	o := newOffice(t, file.ServeOptions{})
	for _, mode := range []fs.FileMode{0o600, 0o755, 0o444, 0o777} {
		name := mode.String()
		from := write(t, []byte(name), o.dir, "from")
		if err := os.Chmod(from, mode); err != nil {
			t.Fatal(err)
		}
		o.put(from, name, file.Options{})
		o.get(name, filepath.Join(o.dir, name), file.Options{})
		for _, p := range []string{filepath.Join(o.share, name), filepath.Join(o.dir, name)} {
			if st, err := os.Stat(p); err != nil || st.Mode() != mode {
				t.Error(p, st.Mode(), mode, err)
			}
		}
		if err := os.Remove(from); err != nil {
			t.Fatal(err)
		}
	}
}

func TestExists(t *testing.T) {
	o := newOffice(t, file.ServeOptions{})
	first, same, longer := content(1, 100_000), content(2, 100_000), content(3, 200_000)
	a, b, c := write(t, first, o.dir, "a"), write(t, same, o.dir, "b"), write(t, longer, o.dir, "c")
	o.put(a, "x", file.Options{})
	for _, other := range []string{b, c} {
		if _, err := file.Put(o.ctx, o.desk, other, "nas", "x", file.Options{}); !errors.Is(err, file.ErrExists) {
			t.Error(err)
		}
		if _, err := file.Get(o.ctx, o.desk, "nas", "x", other, file.Options{}); !errors.Is(err, file.ErrExists) {
			t.Error(err)
		}
	}
	holds(t, first, o.share, "x")
	holds(t, same, b)
	holds(t, longer, c)
	if r := o.put(a, "x", file.Options{}); r.Same != 1 || r.Files != 1 || r.Moved != 0 || r.Sum != sha256.Sum256(first) {
		t.Errorf("%+v", r)
	}
	if r := o.get("x", a, file.Options{}); r.Same != 1 || r.Moved != 0 || r.Sum != sha256.Sum256(first) {
		t.Errorf("%+v", r)
	}
	o.put(b, "x", file.Options{Force: true})
	holds(t, same, o.share, "x")
	o.put(c, "x", file.Options{Force: true})
	holds(t, longer, o.share, "x")
	o.get("x", a, file.Options{Force: true})
	holds(t, longer, a)
	if got := names(t, o.share) + " " + names(t, o.dir); got != "x a b c" {
		t.Error(got)
	}
}

func TestFolders(t *testing.T) {
	o := newOffice(t, file.ServeOptions{})
	tree := filepath.Join(o.dir, "tree")
	files := map[string][]byte{
		"empty": {}, "one": content(1, 1), "with space/ünï/deep": content(2, 300_000), "with space/.hidden": content(3, 10),
	}
	for name, b := range files {
		write(t, b, tree, name)
	}
	if err := os.MkdirAll(filepath.Join(tree, "nothing in it", "nor here"), 0o755); err != nil {
		t.Fatal(err)
	}
	r := o.put(tree, "there/tree", file.Options{})
	if r.Files != len(files) || r.Bytes != 300_011 || r.Moved != 300_011 {
		t.Errorf("%+v", r)
	}
	if got, want := names(t, filepath.Join(o.share, "there", "tree")), names(t, tree); got != want {
		t.Errorf("%s, want %s", got, want)
	}
	back := filepath.Join(o.dir, "back")
	if r = o.get("there/tree", back, file.Options{}); r.Files != len(files) || r.Moved != 300_011 {
		t.Errorf("%+v", r)
	}
	if got, want := names(t, back), names(t, tree); got != want {
		t.Errorf("%s, want %s", got, want)
	}
	for name, b := range files {
		holds(t, b, o.share, "there/tree", name)
		holds(t, b, back, name)
	}

	// Again: nothing is to be done, but for what is new and what differs.
	write(t, content(9, 5), tree, "one")
	write(t, content(8, 5), tree, "two")
	r, err := file.Put(o.ctx, o.desk, tree, "nas", "there/tree", file.Options{})
	if !errors.Is(err, file.ErrExists) || r.Files != len(files) || r.Same != len(files)-1 || r.Moved != 5 {
		t.Errorf("%+v, %v", r, err)
	}
	holds(t, files["one"], o.share, "there/tree/one")
	if r = o.put(tree, "there/tree", file.Options{Force: true}); r.Same != len(files) || r.Moved != 5 {
		t.Errorf("%+v", r)
	}
	holds(t, content(9, 5), o.share, "there/tree/one")

	// The whole share.
	if r = o.get("", filepath.Join(o.dir, "all"), file.Options{}); r.Files != len(files)+1 {
		t.Errorf("%+v", r)
	}
	list, err := file.List(o.ctx, o.desk, "nas", "there/tree")
	if err != nil || len(list) != 5 || list[0].Name != "empty" || list[1].Kind != file.KindFolder {
		t.Error(list, err)
	}
	if info, err := file.Stat(o.ctx, o.desk, "nas", "there/tree/two"); err != nil || info.Size != 5 || info.Name != "two" || info.Kind != file.KindFile {
		t.Error(info, err)
	}
}

func TestStreams(t *testing.T) {
	o := newOffice(t, file.ServeOptions{})
	b := content(1, 1_000_000)
	r, err := file.PutFrom(o.ctx, o.desk, bytes.NewReader(b), "nas", "stream", file.Options{})
	if err != nil || r.Sum != sha256.Sum256(b) || r.Bytes != 1_000_000 {
		t.Fatalf("%+v, %v", r, err)
	}
	holds(t, b, o.share, "stream")
	var got bytes.Buffer
	if r, err = file.GetTo(o.ctx, o.desk, "nas", "stream", &got, file.Options{}); err != nil || !bytes.Equal(got.Bytes(), b) || r.Sum != sha256.Sum256(b) {
		t.Fatalf("%+v, %v", r, err)
	}
	if _, err := file.PutFrom(o.ctx, o.desk, bytes.NewReader(b), "nas", "stream", file.Options{}); !errors.Is(err, file.ErrExists) {
		t.Error(err)
	}
	// What fails to be read or written leaves nothing.
	broken := errors.New("the tape is torn")
	if _, err := file.PutFrom(o.ctx, o.desk, io.MultiReader(bytes.NewReader(b), torn{broken}), "nas", "torn", file.Options{}); !errors.Is(err, broken) {
		t.Error(err)
	}
	if _, err := file.GetTo(o.ctx, o.desk, "nas", "stream", torn{broken}, file.Options{}); !errors.Is(err, broken) {
		t.Error(err)
	}
	if got := names(t, o.share); got != "stream" {
		t.Error(got)
	}
}

// torn can neither be read nor written.
type torn struct{ err error }

func (r torn) Read([]byte) (int, error)  { return 0, r.err }
func (r torn) Write([]byte) (int, error) { return 0, r.err }

// A name that is not UTF-8 cannot travel: it is told, and keeps nothing else from being copied.
func TestNamesThatAreNoText(t *testing.T) {
	o := newOffice(t, file.ServeOptions{})
	for _, dir := range []string{o.share, o.dir} {
		if err := os.WriteFile(filepath.Join(dir, "a\xff"), nil, 0o666); err != nil {
			t.Skip("no such names here: ", err)
		}
		write(t, []byte("b"), dir, "b")
	}
	r, err := file.Put(o.ctx, o.desk, o.dir, "nas", "new", file.Options{})
	if !errors.Is(err, file.ErrBadPath) || r.Files != 1 {
		t.Errorf("%+v, %v", r, err)
	}
	holds(t, []byte("b"), o.share, "new", "b")
	r = o.get("", filepath.Join(o.dir, "back"), file.Options{})
	if r.Files != 2 || len(r.Skipped) != 1 || r.Skipped[0] != "a\uFFFD" {
		t.Errorf("%+v", r)
	}
}
