package main

import (
	"fmt"
	"io"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// openTerminal gives both ends of a new pseudo terminal.
func openTerminal(t *testing.T) (outer, inner *os.File) {
	t.Helper()
	outer, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Skip("no pseudo terminals here: ", err)
	}
	t.Cleanup(func() { outer.Close() })
	if err := unix.IoctlSetPointerInt(int(outer.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Skip("no pseudo terminals here: ", err)
	}
	number, err := unix.IoctlGetInt(int(outer.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Skip("no pseudo terminals here: ", err)
	}
	inner, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skip("no pseudo terminals here: ", err)
	}
	t.Cleanup(func() { inner.Close() })
	return outer, inner
}

func TestTerminal(t *testing.T) {
	b := newBench(t)
	_, addr := b.first("join", "--name", "b")
	outer, inner := openTerminal(t)
	p := b.prepare("join", "--name", "a", "--seed", addr)
	p.cmd.Stdin, p.cmd.Stdout, p.cmd.Stderr = inner, inner, inner
	p.begin()
	screen := newStream()
	go io.Copy(screen, outer) // ends when the terminal is closed
	screen.has(t, `(relay b, 2 nodes). Type: NAME message`)
	if _, err := outer.WriteString("a to myself\n"); err != nil {
		t.Fatal(err)
	}
	screen.has(t, "a\t1\tto myself")
	if _, err := outer.WriteString("\x04"); err != nil { // Ctrl-D
		t.Fatal(err)
	}
	if code := p.exit(); code != exitDone {
		t.Error(code, screen)
	}
}

func TestCopyOnTerminal(t *testing.T) {
	b := newBench(t)
	share := t.TempDir()
	_, addr := b.first("join", "--name", "nas", "--share", share)
	outer, inner := openTerminal(t)
	p := b.prepare("cp", putText(t, "hello", t.TempDir(), "a file"), "nas:", "--seed", addr)
	p.cmd.Stderr = inner
	p.begin()
	screen := newStream()
	go io.Copy(screen, outer) // ends when the terminal is closed
	if code := p.exit(); code != exitDone {
		t.Error(code, screen)
	}
	screen.has(t, "1 file, 5 B in ")
	wantText(t, "hello", share, "a file")
}
