package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// The tests run the real program: this test binary is it when the environment says so. They stay on loopback, use no
// multicast, and never sleep to wait.

const (
	beUltra  = "BE_ULTRA"
	patience = 20 * time.Second // no wait is longer, on the slowest machine
)

func TestMain(m *testing.M) {
	if os.Getenv(beUltra) != "" {
		main()
	}
	os.Exit(m.Run())
}

// stream collects what a process prints.
type stream struct {
	mu      sync.Mutex
	text    bytes.Buffer
	changed chan struct{}
}

func newStream() *stream { return &stream{changed: make(chan struct{})} }

func (s *stream) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.changed)
	s.changed = make(chan struct{})
	return s.text.Write(b)
}

func (s *stream) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

// await waits until ok holds of all that was printed.
func (s *stream) await(t *testing.T, what string, ok func(text string) bool) string {
	t.Helper()
	deadline := time.After(patience)
	for {
		s.mu.Lock()
		text, changed := s.text.String(), s.changed
		s.mu.Unlock()
		if ok(text) {
			return text
		}
		select {
		case <-changed:
		case <-deadline:
			t.Fatalf("waited in vain for %s; there is:\n%s", what, shorten(text, 2000))
		}
	}
}

func (s *stream) has(t *testing.T, part string) string {
	t.Helper()
	return s.await(t, part, func(text string) bool { return strings.Contains(text, part) })
}

// process is a running ultra.
type process struct {
	t      *testing.T
	cmd    *exec.Cmd
	stdin  io.WriteCloser
	stdout *stream
	stderr *stream
	ended  chan struct{}
}

// bench is a mesh name of its own, for one test.
type bench struct {
	t   *testing.T
	env []string
}

func newBench(t *testing.T) *bench {
	t.Parallel()
	env := slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, envPrefix) })
	return &bench{t, append(env, beUltra+"=1", "ULTRA_BIND=127.0.0.1", "GORACE=atexit_sleep_ms=0", "ULTRA_NO_MDNS=1", "ULTRA_MESH=test-"+rand.Text()[:10])}
}

func (b *bench) start(args ...string) *process {
	b.t.Helper()
	p := b.prepare(args...)
	var err error
	if p.stdin, err = p.cmd.StdinPipe(); err != nil {
		b.t.Fatal(err)
	}
	p.begin()
	return p
}

func (b *bench) prepare(args ...string) *process {
	b.t.Helper()
	exe, err := os.Executable()
	if err != nil {
		b.t.Fatal(err)
	}
	p := &process{t: b.t, cmd: exec.Command(exe, args...), stdout: newStream(), stderr: newStream(), ended: make(chan struct{})}
	p.cmd.Env, p.cmd.Stdout, p.cmd.Stderr = b.env, p.stdout, p.stderr
	return p
}

func (p *process) begin() {
	p.t.Helper()
	if err := p.cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	go func() {
		_ = p.cmd.Wait() // its exit code is asked for
		close(p.ended)
	}()
	p.t.Cleanup(func() {
		_ = p.cmd.Process.Kill() // most have ended
		<-p.ended
	})
}

func (p *process) write(text string) {
	p.t.Helper()
	if _, err := io.WriteString(p.stdin, text); err != nil {
		p.t.Fatal(err)
	}
}

// exit waits for the end and gives the exit code.
func (p *process) exit() int {
	p.t.Helper()
	select {
	case <-p.ended:
	case <-time.After(patience):
		p.t.Fatalf("%q does not end; it printed:\n%s\n%s", p.cmd.Args[1:], shorten(p.stdout.String(), 1000), shorten(p.stderr.String(), 2000))
	}
	return p.cmd.ProcessState.ExitCode()
}

// leaves ends the input, and wants the process to leave in good order.
func (p *process) leaves() {
	p.t.Helper()
	if err := p.stdin.Close(); err != nil {
		p.t.Fatal(err)
	}
	if code := p.exit(); code != exitDone {
		p.t.Fatalf("%q: exit code %d: %s", p.cmd.Args[1:], code, p.stderr)
	}
}

// run runs ultra to its end, with that input.
func (b *bench) run(input string, args ...string) (stdout, stderr string, code int) {
	b.t.Helper()
	p := b.prepare(args...)
	p.cmd.Stdin = strings.NewReader(input)
	p.begin()
	code = p.exit()
	return p.stdout.String(), p.stderr.String(), code
}

// must runs ultra and wants exit code 0.
func (b *bench) must(input string, args ...string) string {
	b.t.Helper()
	stdout, stderr, code := b.run(input, args...)
	if code != exitDone {
		b.t.Fatalf("%q: exit code %d: %s", args, code, stderr)
	}
	return stdout
}

// fails runs ultra and wants that exit code, and one sentence with these parts.
func (b *bench) fails(code int, input string, args []string, parts ...string) {
	b.t.Helper()
	_, stderr, got := b.run(input, args...)
	if got != code {
		b.t.Errorf("%q: exit code %d, want %d: %s", args, got, code, stderr)
	}
	if strings.Count(stderr, "\n") != 1 || !strings.HasPrefix(stderr, "ultra: ") {
		b.t.Errorf("%q: not one sentence: %q", args, stderr)
	}
	for _, part := range parts {
		if !strings.Contains(stderr, part) {
			b.t.Errorf("%q: %q is not in: %s", args, part, stderr)
		}
	}
}

// first starts a node whose events are JSON, and gives its address too.
func (b *bench) first(args ...string) (*process, string) {
	b.t.Helper()
	p := b.start(append(args, "--events", "--json")...)
	text := p.stderr.has(b.t, `"event":"here"`)
	var here tale
	for line := range strings.Lines(text) {
		var t tale
		if err := json.Unmarshal([]byte(line), &t); err == nil && t.Event == taleHere {
			here = t
		}
	}
	if here.Addr == "" {
		b.t.Fatalf("no address in %s", text)
	}
	return p, here.Addr
}

// joins starts a node and waits until it is in the mesh.
func (b *bench) joins(name, seed string, args ...string) *process {
	b.t.Helper()
	p := b.start(append([]string{"join", "--name", name, "--seed", seed, "--events"}, args...)...)
	p.stderr.has(b.t, name+" is in mesh")
	return p
}

func TestRunInProcess(t *testing.T) {
	var stderr bytes.Buffer
	if code := run([]string{"nonsense"}, &stderr); code != exitUsage || !strings.Contains(stderr.String(), `no verb "nonsense"`) {
		t.Fatal(code, stderr.String())
	}
}

func TestOneLine(t *testing.T) {
	err := errors.Join(errors.New("Config.Name: bad"), context.DeadlineExceeded, errors.New("more"))
	if got := oneLine(err); got != "--name: bad; more" {
		t.Fatal(got)
	}
}
