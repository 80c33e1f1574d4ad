//go:build unix

package main

import (
	"os"
	"strings"
	"syscall"
	"testing"
)

func (p *process) signal(s os.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatal(err)
	}
}

func TestInterruptLeaves(t *testing.T) {
	b := newBench(t)
	_, addr := b.first("join", "--name", "a")
	watcher := b.joins("watcher", addr)
	for _, s := range []os.Signal{syscall.SIGINT, syscall.SIGTERM} {
		name := "leaver" + map[os.Signal]string{syscall.SIGINT: "1", syscall.SIGTERM: "2"}[s]
		p := b.joins(name, addr, "--stay")
		watcher.stderr.has(t, name+" joined")
		p.signal(s)
		if code := p.exit(); code != exitDone {
			t.Errorf("%v: exit code %d: %s", s, code, p.stderr)
		}
		watcher.stderr.has(t, name+" left (bye)")
	}
}

// A signal that comes twice at once, as timeout(1) sends it, is one.
func TestInterruptToldTwice(t *testing.T) {
	b := newBench(t)
	p := b.start("join", "--name", "a", "--timeout", "300ms")
	p.write("nobody hello\na marker\n")
	p.stdout.has(t, "marker")
	p.signal(syscall.SIGTERM)
	p.signal(syscall.SIGTERM)
	if code := p.exit(); code != exitFailed {
		t.Error(code, p.stderr)
	}
}

// An interrupt does not wait for somebody who is not here, but for as long as --timeout says; a second one not at all.
func TestInterruptGivesUp(t *testing.T) {
	b := newBench(t)
	p := b.start("join", "--name", "a", "--timeout", "300ms")
	p.write("nobody hello\na marker\n")
	p.stdout.has(t, "marker")
	p.signal(syscall.SIGINT)
	if code := p.exit(); code != exitFailed || !strings.Contains(p.stderr.String(), `1 message to "nobody" not delivered`) {
		t.Error(code, p.stderr)
	}
	p = b.start("join", "--name", "a", "--timeout", "1m")
	p.write("nobody hello\na marker\n")
	p.stdout.has(t, "marker")
	p.signal(syscall.SIGINT)
	p.signal(syscall.SIGTERM)
	if code := p.exit(); code != exitInterrupted {
		t.Error(code, p.stderr)
	}
}

func TestInterruptWhileLooking(t *testing.T) {
	b := newBench(t)
	for _, args := range [][]string{{"nodes", "--seed", "127.0.0.1:1", "--timeout", "0"}, {"dial", "127.0.0.1:1", "--timeout", "0"}} {
		p := b.start(append(args, "--verbose")...)
		p.stderr.has(t, "dial failed")
		p.signal(syscall.SIGINT)
		if code := p.exit(); code != exitFailed || !strings.HasSuffix(p.stderr.String(), "ultra: interrupted\n") {
			t.Error(code, p.stderr)
		}
	}
}

// A demo that is interrupted leaves no process behind.
func TestInterruptDemo(t *testing.T) {
	b := newBench(t)
	p := b.start("demo", "--no-mdns")
	p.stdout.has(t, "PID")
	p.signal(syscall.SIGINT)
	if code := p.exit(); code != exitFailed || !strings.Contains(p.stderr.String(), "interrupted") {
		t.Error(code, p.stderr)
	}
	for line := range strings.Lines(p.stdout.String()) {
		if f := strings.Fields(line); len(f) == 3 && f[1] == "PID" {
			if _, err := os.Stat("/proc/" + f[2]); err == nil {
				t.Errorf("process %s of the demo remains", f[2])
			}
		}
	}
}
