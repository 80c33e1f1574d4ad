package mesh_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"ultrasockets/mesh"
)

// TestLoadSecret reads what keygen writes, and refuses what is no secret, with a sentence that says what to do and never what
// the file holds.
func TestLoadSecret(t *testing.T) {
	want := mesh.NewSecret()
	digits := fmt.Sprintf("%x", want)
	file := filepath.Join(t.TempDir(), "lab.secret")
	write := func(text string, mode os.FileMode) {
		t.Helper()
		if err := os.RemoveAll(file); err != nil { // who may only read it cannot write it again
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(file, mode); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := mesh.LoadSecret(file); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "ultra keygen") {
		t.Error("no file:", err)
	}
	for _, text := range []string{digits, digits + "\n", "  " + strings.ToUpper(digits) + "\r\n\n"} {
		write(text, 0o600)
		if got, err := mesh.LoadSecret(file); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%q: %x %v", text, got, err)
		}
	}
	write(digits, 0o400)
	if _, err := mesh.LoadSecret(file); err != nil {
		t.Error("a file that its owner may only read:", err)
	}
	long := digits + strings.Repeat("\n", 1<<10) + "more" // also beyond what is looked at
	for _, text := range []string{"", "\n", digits[2:], digits[1:], digits + "00", digits + digits, digits[:62] + "zz", string(want), long, strings.Repeat("a", 1<<20)} {
		write(text, 0o600)
		got, err := mesh.LoadSecret(file)
		if !errors.Is(err, mesh.ErrBadConfig) || !strings.Contains(err.Error(), "64 hex digits") || got != nil {
			t.Errorf("%.80q: %x %v", text, got, err)
		} else if strings.Contains(err.Error(), digits[2:30]) {
			t.Errorf("the error tells the secret: %v", err)
		}
	}
	if _, err := mesh.LoadSecret(filepath.Dir(file)); err == nil {
		t.Error("a folder is a secret")
	}
	if runtime.GOOS == "windows" {
		t.Skip("Windows keeps no bits that say who may read a file")
	}
	for _, mode := range []os.FileMode{0o640, 0o604, 0o620, 0o602, 0o644, 0o777, 0o601} {
		write(digits, mode)
		got, err := mesh.LoadSecret(file)
		if !errors.Is(err, mesh.ErrBadConfig) || !strings.Contains(err.Error(), "chmod 600 "+file) || got != nil {
			t.Errorf("%04o: %x %v", mode, got, err)
		}
	}
}

// TestPassphrase: the same text and mesh give the same secret, also in a year's time; another text or mesh another one, which does
// not let in.
func TestPassphrase(t *testing.T) {
	secret := mesh.Passphrase("correct horse", "lab")
	if got := fmt.Sprintf("%x", secret); got != "3295457d9f40c0b942cf3375f5edced7659ab94342d4e7bed176ded742c22f11" {
		t.Errorf("it is %s now: who has joined with it before would not get in", got)
	}
	cfg := mesh.Config{Name: "relay", Mesh: "lab", Secret: secret}
	relay, err := mesh.Listen(t.Context(), "127.0.0.1:0", cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer relay.Close()
	for _, c := range []struct {
		text, mesh string
		want       error
	}{
		{"correct horse", "lab", nil},
		{"correct horses", "lab", mesh.ErrWrongSecret},
		{"correct horse", "default", mesh.ErrWrongSecret},
		{"", "lab", mesh.ErrWrongSecret},
	} {
		cfg.Name, cfg.Secret = "a", mesh.Passphrase(c.text, c.mesh)
		n, err := mesh.Dial(within(t, 10*time.Second), relay.Addr().String(), cfg)
		if !errors.Is(err, c.want) || (c.want == nil) != (err == nil) {
			t.Errorf("%q in %q: %v, want %v", c.text, c.mesh, err, c.want)
		}
		if n != nil {
			n.Close()
		}
	}
}
