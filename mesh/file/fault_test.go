package file_test

import (
	"crypto/sha256"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"ultrasockets/mesh"
	"ultrasockets/mesh/file"
	"ultrasockets/mesh/internal/ports"
)

var long = flag.Bool("long", false, "copy at full size; .ci/long sets it")

const (
	inFlight = 8 * 256 << 10 // bytes of one copy that are under way at most
	patience = 60 * time.Second
)

// farm is three processes: this one, a relay, and a node that shares a folder; a second node can be the relay too.
type farm struct {
	t       *testing.T
	name    string
	relay   *process
	nas     *process
	nasAddr string
	share   string
	desk    *mesh.Node
	from    string // a local file …
	size    int64
	sum     [32]byte
}

func newFarm(t *testing.T) *farm {
	f := &farm{t: t, name: fmt.Sprintf("farm-%08x", rand.Uint32()), nasAddr: ports.Free(t), share: t.TempDir(), size: 24<<20 + 12345}
	limit := patience
	if *long {
		f.size, limit = 1<<30, 10*time.Minute
	}
	ctx := within(t, limit)
	f.relay = start(t, childConfig{Name: "relay", Mesh: f.name, Listen: ports.Free(t)})
	f.startNas()
	var err error
	f.desk, err = mesh.Join(ctx, mesh.Config{Name: "desk", Mesh: f.name, Bind: "127.0.0.1", NoMDNS: true, Seeds: []string{f.relay.addr, f.nas.addr}, Role: mesh.RolePeer})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.desk.Close() })
	if err := f.desk.WaitFor(ctx, "relay", "nas"); err != nil {
		t.Fatal(err)
	}
	f.from = filepath.Join(t.TempDir(), "from")
	f.makeFile()
	return f
}

func (f *farm) startNas() {
	f.nas = start(f.t, childConfig{Name: "nas", Mesh: f.name, Listen: f.nasAddr, Seed: f.relay.addr, Share: f.share})
}

// makeFile fills the local file with what does not repeat, and sums it up.
func (f *farm) makeFile() {
	out, err := os.Create(f.from)
	if err != nil {
		f.t.Fatal(err)
	}
	defer out.Close()
	sum := sha256.New()
	if _, err := io.CopyN(io.MultiWriter(out, sum), rand.NewChaCha8([32]byte{7}), f.size); err != nil {
		f.t.Fatal(err)
	}
	f.sum = [32]byte(sum.Sum(nil))
}

func (f *farm) check(path string) {
	f.t.Helper()
	in, err := os.Open(path)
	if err != nil {
		f.t.Fatal(err)
	}
	defer in.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, in); err != nil || [32]byte(sum.Sum(nil)) != f.sum {
		f.t.Error(path, "has not the content of the original", err)
	}
	if got, want := names(f.t, filepath.Dir(path)), filepath.Base(path); got != want {
		f.t.Errorf("there is %q, want %q alone", got, want)
	}
}

// halfway does something once, when half of the file is there.
func (f *farm) halfway(do func()) func(file.Progress) {
	done := false
	return func(p file.Progress) {
		if !done && p.Done >= f.size/2 {
			done = true
			do()
		}
	}
}

// resumed wants a copy that sent nothing again but what was under way when it was interrupted.
func (f *farm) resumed(what string, r file.Result, err error, began time.Time) {
	f.t.Helper()
	if err != nil {
		f.t.Fatalf("%s: %v", what, err)
	}
	if again := r.Moved - f.size; again > inFlight || r.Files != 1 || r.Sum != f.sum {
		f.t.Errorf("%s: %d bytes of %d were sent again: %+v", what, again, f.size, r)
	} else {
		f.t.Logf("%s: %d bytes, %d of them sent again, in %v", what, f.size, max(0, again), time.Since(began).Round(time.Millisecond))
	}
}

// TestInterrupted kills the receiver, the source and the relay in the midst of a copy.
func TestInterrupted(t *testing.T) {
	t.Parallel()
	f := newFarm(t)
	ctx := within(t, 2*patience)

	began := time.Now()
	r, err := file.Put(ctx, f.desk, f.from, "nas", "whole", file.Options{})
	rate := float64(f.size) / time.Since(began).Seconds() / 1e6
	f.resumed("put", r, err, began)
	f.check(filepath.Join(f.share, "whole"))
	plain := plainRate(t, f.from, f.size)
	t.Logf("%.0f MB/s through the relay, verified and synced; %.0f MB/s by plain TCP through one hop (%.2f of it); most memory: relay %s, receiver %s",
		rate, plain, rate/plain, f.relay.memory(), f.nas.memory())
	os.Remove(filepath.Join(f.share, "whole"))

	began = time.Now()
	r, err = file.Put(ctx, f.desk, f.from, "nas", "new", file.Options{Progress: f.halfway(func() {
		f.nas.kill()
		if got := names(t, f.share); got != ".new.ultra-part" {
			t.Errorf("after the kill there is %q", got)
		}
		f.startNas()
	})})
	f.resumed("put, receiver killed", r, err, began)
	f.check(filepath.Join(f.share, "new"))

	to := filepath.Join(t.TempDir(), "to")
	began = time.Now()
	r, err = file.Get(ctx, f.desk, "nas", "new", to, file.Options{Progress: f.halfway(func() {
		f.nas.kill()
		f.startNas()
	})})
	f.resumed("get, source killed", r, err, began)
	f.check(to)

	to = filepath.Join(t.TempDir(), "to")
	began = time.Now()
	r, err = file.Get(ctx, f.desk, "nas", "new", to, file.Options{Progress: f.halfway(func() {
		f.relay.kill()
		f.relay = start(t, childConfig{Name: "relay", Mesh: f.name, Listen: f.relay.addr, Seed: f.nas.addr})
	})})
	f.resumed("get, relay killed and started", r, err, began)
	f.check(to)

	os.Remove(filepath.Join(f.share, "new"))
	began = time.Now()
	r, err = file.Put(ctx, f.desk, f.from, "nas", "new", file.Options{Progress: f.halfway(f.relay.kill)})
	f.resumed("put, relay killed", r, err, began)
	f.check(filepath.Join(f.share, "new"))
	t.Logf("the relay is %s now", f.desk.Relay())
}

// plainRate is how fast the file comes to a third process by plain TCP through a second one, in MB/s.
func plainRate(t *testing.T, from string, size int64) float64 {
	t.Helper()
	sink := start(t, childConfig{Sink: filepath.Join(t.TempDir(), "sink")})
	hop := start(t, childConfig{Forward: sink.addr})
	in, err := os.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	began := time.Now()
	conn, err := net.Dial("tcp", hop.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.CopyBuffer(struct{ io.Writer }{conn}, struct{ io.Reader }{in}, make([]byte, 256<<10)); err != nil {
		t.Fatal(err)
	}
	conn.(*net.TCPConn).CloseWrite()
	if _, err := io.Copy(io.Discard, conn); err != nil { // the hop closes when all is written
		t.Fatal(err)
	}
	return float64(size) / time.Since(began).Seconds() / 1e6
}

// An interrupted program is started again: what its predecessor brought is there, and is believed only as far as it is the
// beginning of the file.
func TestCopyAgain(t *testing.T) {
	o := newOffice(t, file.ServeOptions{})
	b := content(1, 3<<20)
	from := write(t, b, o.dir, "from")
	write(t, b[:2<<20], o.share, ".x.ultra-part")
	if r := o.put(from, "x", file.Options{}); r.Moved != 1<<20 {
		t.Errorf("%+v", r)
	}
	holds(t, b, o.share, "x")
	write(t, content(2, 2<<20), o.share, ".y.ultra-part") // of another file
	if r := o.put(from, "y", file.Options{}); r.Moved != 3<<20 {
		t.Errorf("%+v", r)
	}
	holds(t, b, o.share, "y")
	write(t, append(b[:len(b):len(b)], 1, 2, 3), o.share, ".z.ultra-part") // longer
	if r := o.put(from, "z", file.Options{}); r.Moved != 3<<20 {
		t.Errorf("%+v", r)
	}
	holds(t, b, o.share, "z")
	write(t, b, o.share, ".all.ultra-part") // only the new name was missing
	if r := o.put(from, "all", file.Options{}); r.Moved != 0 || r.Files != 1 {
		t.Errorf("%+v", r)
	}
	holds(t, b, o.share, "all")

	write(t, b[:2<<20], o.dir, "to", ".x.ultra-part")
	if r := o.get("x", filepath.Join(o.dir, "to", "x"), file.Options{}); r.Moved != 1<<20 {
		t.Errorf("%+v", r)
	}
	holds(t, b, o.dir, "to", "x")
	write(t, content(2, 2<<20), o.dir, "to", ".y.ultra-part")
	if r := o.get("y", filepath.Join(o.dir, "to", "y"), file.Options{}); r.Moved != 3<<20 {
		t.Errorf("%+v", r)
	}
	holds(t, b, o.dir, "to", "y")
	if got := names(t, o.share) + " " + names(t, filepath.Join(o.dir, "to")); got != "all x y z x y" {
		t.Error(got)
	}
}
