//go:build unix

package main

import (
	"strings"
	"syscall"
	"testing"
)

// A node that stands still answers no ping, and answers again when it goes on; an interrupt prints the summary.
func TestPingInterrupted(t *testing.T) {
	b := newBench(t)
	_, addr := b.first("join", "--name", "a")
	pc2 := b.joins("pc2", addr)
	p := b.start("ping", "pc2", "-i", "10ms", "--seed", addr)
	p.stdout.has(t, "\n2  ")
	pc2.signal(syscall.SIGSTOP)
	p.stdout.has(t, "lost: no answer within 1s")
	pc2.signal(syscall.SIGCONT)
	p.stdout.await(t, "answers again", func(text string) bool {
		return strings.LastIndex(text, " ms  relay a") > strings.LastIndex(text, "lost: ")
	})
	p.signal(syscall.SIGINT)
	if code := p.exit(); code != exitDone || !strings.Contains(p.stdout.String(), " answered, ") || strings.Contains(p.stdout.String(), ", 0 lost") {
		t.Error(code, p.stdout, p.stderr)
	}
	p = b.start("watch", "--seed", addr)
	p.stdout.has(t, "is in mesh")
	p.signal(syscall.SIGINT)
	if code := p.exit(); code != exitDone {
		t.Error(code, p.stderr)
	}
}
