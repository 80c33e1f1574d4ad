package file_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"ultrasockets/mesh"
	"ultrasockets/mesh/file"
	"ultrasockets/mesh/meshtest"
)

// What happens beside a copy, and to it.

// once does something at the first piece of a copy.
func once(do func()) func(file.Progress) {
	var first sync.Once
	return func(p file.Progress) {
		if p.Moved > 0 {
			first.Do(do)
		}
	}
}

func TestSourceChanges(t *testing.T) {
	o := newOffice(t, file.ServeOptions{})
	b := content(1, 4<<20)
	for what, change := range map[string]func(path string) error{
		"longer": func(p string) error {
			f, err := os.OpenFile(p, os.O_WRONLY|os.O_APPEND, 0)
			if err == nil {
				_, err = f.Write([]byte("more"))
				f.Close()
			}
			return err
		},
		"shorter":  func(p string) error { return os.Truncate(p, 3<<20) },
		"touched":  func(p string) error { return os.Chtimes(p, time.Unix(1, 0), time.Unix(1, 0)) },
		"gone":     os.Remove,
		"replaced": func(p string) error { os.Remove(p); return os.WriteFile(p, b, 0o666) },
	} {
		for _, put := range []bool{true, false} {
			var err error
			from := write(t, b, o.share, what)
			if put {
				from = write(t, b, o.dir, what)
				_, err = file.Put(o.ctx, o.desk, from, "nas", "new/"+what, file.Options{Progress: once(func() {
					if err := change(from); err != nil {
						t.Error(err)
					}
				})})
			} else {
				_, err = file.Get(o.ctx, o.desk, "nas", what, filepath.Join(o.dir, "new", what), file.Options{Progress: once(func() {
					if err := change(from); err != nil {
						t.Error(err)
					}
				})})
			}
			if !errors.Is(err, file.ErrChanged) {
				t.Errorf("%s, put %v: %v", what, put, err)
			}
		}
	}
	for _, d := range []string{o.share, o.dir} {
		for _, name := range strings.Fields(names(t, filepath.Join(d, "new"))) {
			if !strings.HasSuffix(name, ".ultra-part") {
				t.Errorf("%s has its final name", name)
			}
		}
	}
}

func TestTwoAtOnce(t *testing.T) {
	o := newOffice(t, file.ServeOptions{})
	b := content(1, 2<<20)
	same, other := write(t, b, o.dir, "same"), write(t, content(2, 2<<20), o.dir, "other")
	relay := o.mesh.Node("relay")

	var first, second file.Result
	var firstErr, secondErr error
	both := func(one, two func()) {
		var all sync.WaitGroup
		all.Go(one)
		all.Go(two)
		all.Wait()
	}
	both(
		func() { first, firstErr = file.Put(o.ctx, o.desk, same, "nas", "x", file.Options{}) },
		func() { second, secondErr = file.Put(o.ctx, relay, same, "nas", "x", file.Options{}) },
	)
	if firstErr != nil || secondErr != nil || first.Same+second.Same != 1 || first.Moved+second.Moved != 2<<20 {
		t.Errorf("%+v %v, %+v %v", first, firstErr, second, secondErr)
	}
	holds(t, b, o.share, "x")

	both(
		func() { first, firstErr = file.Put(o.ctx, o.desk, same, "nas", "y", file.Options{}) },
		func() { second, secondErr = file.Put(o.ctx, relay, other, "nas", "y", file.Options{}) },
	)
	if !(firstErr == nil && errors.Is(secondErr, file.ErrExists) || secondErr == nil && errors.Is(firstErr, file.ErrExists)) {
		t.Errorf("%+v %v, %+v %v", first, firstErr, second, secondErr)
	}

	to := filepath.Join(o.dir, "to", "x")
	both(
		func() { first, firstErr = file.Get(o.ctx, o.desk, "nas", "x", to, file.Options{}) },
		func() { second, secondErr = file.Get(o.ctx, relay, "nas", "x", to, file.Options{}) },
	)
	if firstErr != nil || secondErr != nil || first.Same+second.Same != 1 {
		t.Errorf("%+v %v, %+v %v", first, firstErr, second, secondErr)
	}
	holds(t, b, to)
	if got := names(t, o.share) + " " + names(t, filepath.Dir(to)); got != "x y x" {
		t.Error(got)
	}
}

func TestNotShared(t *testing.T) {
	o := newOffice(t, file.ServeOptions{Allow: func(from, path string, write bool) error {
		if write || path == "hidden" {
			return fmt.Errorf("%s may only read", from)
		}
		return nil
	}})
	from := write(t, []byte("x"), o.dir, "x")
	_, err := file.Put(o.ctx, o.desk, from, "nas", "x", file.Options{})
	if !errors.Is(err, file.ErrRefused) || !strings.Contains(err.Error(), "desk may only read") {
		t.Error(err)
	}
	if _, err := file.List(o.ctx, o.desk, "nas", ""); err != nil {
		t.Error(err)
	}
	file.Refuse(o.mesh.Node("relay"))
	if _, err = file.Put(o.ctx, o.desk, from, "relay", "x", file.Options{}); !errors.Is(err, file.ErrNotShared) || !strings.Contains(err.Error(), "--share DIR") {
		t.Error(err)
	}
	if err := os.Symlink("x", from+".link"); err == nil { // that is named when the folder is looked through
		r, err := file.Put(o.ctx, o.desk, o.dir, "relay", "x", file.Options{})
		if !errors.Is(err, file.ErrNotShared) || len(r.Skipped) > 0 {
			t.Error(r.Skipped, err)
		}
	}
	if _, err = file.Put(o.ctx, o.nas, from, "desk", "x", file.Options{Patience: -1}); !errors.Is(err, file.ErrNotShared) {
		t.Error(err) // it never heard of files
	}
	if _, err = file.Put(o.ctx, o.desk, from, "nobody", "x", file.Options{Patience: -1}); !errors.Is(err, mesh.ErrNoPeer) || strings.Contains(err.Error(), "is kept") {
		t.Error(err)
	}
	o.server.Close()
	if _, err = file.Get(o.ctx, o.desk, "nas", "x", from, file.Options{}); !errors.Is(err, file.ErrNotShared) {
		t.Error(err)
	}
}

// The node's own requests and messages pass beside a copy, and are answered by the node's own handler.
func TestSmallMessagesBeside(t *testing.T) {
	o := newOffice(t, file.ServeOptions{})
	o.nas.Handle(func(_ context.Context, m mesh.Message) (any, error) { return m.Value(), nil })
	from := write(t, content(1, 16<<20), o.dir, "from")
	copied := make(chan error, 1)
	began := make(chan struct{})
	go func() {
		_, err := file.Put(o.ctx, o.desk, from, "nas", "to", file.Options{Progress: once(func() { close(began) })})
		copied <- err
	}()
	<-began
	var trips []time.Duration
	sent := 0
	for going := true; going; sent++ {
		select {
		case err := <-copied:
			if err != nil {
				t.Fatal(err)
			}
			going = false
		default:
		}
		if err := o.desk.Send(o.ctx, "nas", sent); err != nil {
			t.Fatal(err)
		}
		at := time.Now()
		if r, err := o.desk.Request(o.ctx, "nas", sent); err != nil || r.Value() != int64(sent) {
			t.Fatal(r.Value(), err)
		}
		trips = append(trips, time.Since(at))
	}
	for i := range sent {
		if m, err := o.nas.Receive(o.ctx); err != nil || m.Value() != int64(i) {
			t.Fatal(i, m.Value(), err)
		}
	}
	slices.Sort(trips)
	t.Logf("%d messages and %d requests beside a copy of 16 MiB on the same stream; round trip median %v, worst %v", sent, sent, trips[len(trips)/2], trips[len(trips)-1])
}

// A sender that vanishes without a word keeps a name for a while; one that says nothing and has something under way keeps it.
func TestSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		share, dir := t.TempDir(), t.TempDir()
		m := meshtest.NewInMemory(t, nil, "nas", "desk", "lost")
		server, err := file.Serve(m.Node("nas"), share, file.ServeOptions{})
		if err != nil {
			t.Fatal(err)
		}
		defer server.Close()
		b := content(1, 2<<20)
		from := write(t, b, dir, "from")
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()

		// It is killed in the midst, and its half file is gone on with by another, after a while.
		_, err = file.Put(ctx, m.Node("lost"), from, "nas", "x", file.Options{Progress: once(func() { m.Kill("lost") })})
		if err == nil {
			t.Fatal("a killed node copied")
		}
		at := time.Now()
		r, err := file.Put(ctx, m.Node("desk"), from, "nas", "x", file.Options{})
		if err != nil || r.Moved >= 2<<20 || r.Files != 1 {
			t.Errorf("%+v, %v", r, err)
		}
		if waited := time.Since(at); waited < 5*time.Second || waited > 30*time.Second {
			t.Errorf("the name was free after %v", waited)
		}
		holds(t, b, share, "x")

		// A stream that says nothing for minutes goes on.
		_, err = file.PutFrom(ctx, m.Node("desk"), io.MultiReader(strings.NewReader("early "), later{2 * time.Minute}, strings.NewReader("late")), "nas", "y", file.Options{})
		if err != nil {
			t.Error(err)
		}
		holds(t, []byte("early late"), share, "y")
		slow := &slowWriter{pause: time.Minute}
		if _, err = file.GetTo(ctx, m.Node("desk"), "nas", "x", slow, file.Options{}); err != nil || slow.n != 2<<20 {
			t.Error(err, slow.n)
		}
	})
}

// later has nothing, and takes its time to say so.
type later struct{ after time.Duration }

func (l later) Read([]byte) (int, error) { time.Sleep(l.after); return 0, io.EOF }

type slowWriter struct {
	pause time.Duration
	n     int
}

func (w *slowWriter) Write(b []byte) (int, error) {
	time.Sleep(w.pause)
	w.n += len(b)
	return len(b), nil
}
