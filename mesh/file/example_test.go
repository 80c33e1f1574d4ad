package file_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"time"

	"ultrasockets/mesh"
	"ultrasockets/mesh/file"
)

// A node shares a folder; another puts a file into it, and gets it back under another name.
func Example() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	nas, err := mesh.Join(ctx, mesh.Config{Name: "nas", Bind: "127.0.0.1", NoMDNS: true}) // on a LAN: mesh.Config{Name: "nas"}
	if err != nil {
		log.Fatal(err)
	}
	defer nas.Close()
	desk, err := mesh.Dial(ctx, nas.Addr().String(), mesh.Config{Name: "desk"})
	if err != nil {
		log.Fatal(err)
	}
	defer desk.Close()

	os.Mkdir(filepath.Join(dir, "share"), 0o777)
	server, err := file.Serve(nas, filepath.Join(dir, "share"), file.ServeOptions{})
	if err != nil {
		log.Fatal(err)
	}
	defer server.Close()

	note := filepath.Join(dir, "note.txt")
	os.WriteFile(note, []byte("milk, bread"), 0o666)
	r, err := file.Put(ctx, desk, note, "nas", "notes/today.txt", file.Options{})
	fmt.Println(r.Files, r.Bytes, err)
	r, err = file.Put(ctx, desk, note, "nas", "notes/today.txt", file.Options{}) // it is there already
	fmt.Println(r.Same, r.Moved, err)
	_, err = file.Get(ctx, desk, "nas", "notes", filepath.Join(dir, "copy"), file.Options{})
	text, _ := os.ReadFile(filepath.Join(dir, "copy", "today.txt"))
	fmt.Println(string(text), err)
	_, err = file.Get(ctx, desk, "nas", "../note.txt", filepath.Join(dir, "stolen"), file.Options{})
	fmt.Println(err)
	// Output:
	// 1 11 <nil>
	// 1 0 <nil>
	// milk, bread <nil>
	// get nas:../note.txt: nas: not a path within the shared folder: "../note.txt" has an empty part, "." or ".."
}
