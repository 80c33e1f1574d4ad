package mesh_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"ultrasockets/mesh"
)

// childEnv makes this test binary be one node in a process of its own, which tests may kill or suspend.
const childEnv = "ULTRA_TEST_CHILD"

// childConfig is what such a process does: it prints "FROM<tab>VALUE" for each arrival, and on standard error the events
// that concern its relay.
type childConfig struct {
	Name, Mesh, Listen, Hostname string
	Seeds                        []string
	Role                         mesh.Role
	Retention                    time.Duration
}

func TestMain(m *testing.M) {
	if text := os.Getenv(childEnv); text != "" {
		child(text)
		return
	}
	goleak.VerifyTestMain(m)
}

func child(text string) {
	var c childConfig
	if err := json.Unmarshal([]byte(text), &c); err != nil {
		panic(err)
	}
	cfg := mesh.Config{
		Name: c.Name, Mesh: c.Mesh, Bind: "127.0.0.1", Listen: c.Listen, Seeds: c.Seeds, NoMDNS: true,
		Role: c.Role, Retention: c.Retention,
	}
	if os.Getenv("ULTRA_TEST_LOG") != "" {
		cfg.Logger = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	ctx := context.Background()
	var n *mesh.Node
	var err error
	if c.Hostname != "" {
		n, err = mesh.Dial(ctx, c.Hostname, cfg)
	} else {
		n, err = mesh.Join(ctx, cfg)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
	out := bufio.NewWriter(os.Stdout)
	var mu sync.Mutex
	say := func(format string, args ...any) {
		mu.Lock()
		defer mu.Unlock()
		fmt.Fprintf(out, format, args...)
		out.Flush()
	}
	say("ready\t%s\n", n.Relay())
	go func() {
		for e := range n.Events(ctx) {
			if e.Kind == mesh.EventLinked {
				say("linked\t%s\n", e.Name)
			}
		}
	}()
	go func() {
		for m := range n.Messages(ctx) {
			say("%s\t%s\n", m.From, m.Text())
		}
	}()
	// The end of standard input is the end of the process that started this one.
	bufio.NewScanner(os.Stdin).Scan()
	n.Close()
}

// process is a node in a process of its own.
type process struct {
	t    *testing.T
	name string
	cmd  *exec.Cmd
	in   interface{ Close() error }

	mu       sync.Mutex
	relay    string              // as it last said
	arrivals map[string][]string // by sender
	news     chan struct{}       // closed at the next line
	done     chan struct{}       // closed when it has ended
}

func startProcess(t *testing.T, c childConfig) *process {
	t.Helper()
	text, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	p := &process{
		t: t, name: c.Name, cmd: exec.Command(os.Args[0]), arrivals: make(map[string][]string),
		news: make(chan struct{}), done: make(chan struct{}),
	}
	p.cmd.Env = append(os.Environ(), childEnv+"="+string(text))
	p.cmd.Stderr = os.Stderr
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { // kill waits for it
		defer close(p.done)
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			key, value, _ := strings.Cut(lines.Text(), "\t")
			p.mu.Lock()
			if key == "ready" || key == "linked" {
				p.relay = value
			} else {
				p.arrivals[key] = append(p.arrivals[key], value)
			}
			close(p.news)
			p.news = make(chan struct{})
			p.mu.Unlock()
		}
		p.cmd.Wait()
	}()
	t.Cleanup(p.kill)
	p.until(20*time.Second, "it is linked", func() bool { return p.relay != "" })
	return p
}

// until waits until ok, which is called with p.mu held, holds.
func (p *process) until(d time.Duration, what string, ok func() bool) {
	p.t.Helper()
	limit := time.NewTimer(d)
	defer limit.Stop()
	for {
		p.mu.Lock()
		good, news := ok(), p.news
		p.mu.Unlock()
		if good {
			return
		}
		select {
		case <-news:
		case <-p.done:
			p.t.Fatalf("process %s ended before %s", p.name, what)
		case <-limit.C:
			p.t.Fatalf("process %s: %v passed before %s", p.name, d, what)
		}
	}
}

// kill ends the process as a crash would, and waits for it.
func (p *process) kill() {
	p.cmd.Process.Kill()
	<-p.done
}
