package mesh_test

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"ultrasockets/mesh"
)

// childEnv makes this test binary be one node in a process of its own, which tests may kill or suspend.
const childEnv = "ULTRA_TEST_CHILD"

// childConfig is what such a process does: it prints "FROM<tab>VALUE" for each arrival, "linked<tab>RELAY" at each new
// relay, and sends numbers from 0 on, Rate a second to each name in Send, until a line comes on its standard input; then it
// waits until all is acknowledged and prints "flushed<tab>SENT<tab>ERROR".
type childConfig struct {
	Name, Mesh, Listen, Hostname string
	Bind                         string // default 127.0.0.1; "any": all interfaces
	MDNS                         bool
	Seeds                        []string
	Role                         mesh.Role
	Retention                    time.Duration
	Send                         []string
	Rate                         int
}

func TestMain(m *testing.M) {
	if text := os.Getenv(childEnv); text != "" {
		child(text)
		return
	}
	// Most tests that run beside others wait: so more of them than there are processors, unless -parallel says how many.
	flag.Parse()
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "test.parallel" })
	if !given {
		if err := flag.Set("test.parallel", strconv.Itoa(max(4, runtime.GOMAXPROCS(0)))); err != nil {
			panic(err)
		}
	}
	// Goroutines that are left fail the tests, but for a probe of memberlist's: it may wait for its answer for up to 8 intervals.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/hashicorp/memberlist.(*Memberlist).probeNode"))
}

func child(text string) {
	var c childConfig
	if err := json.Unmarshal([]byte(text), &c); err != nil {
		panic(err)
	}
	cfg := mesh.Config{
		Name: c.Name, Mesh: c.Mesh, Bind: c.Bind, Listen: c.Listen, Seeds: c.Seeds, NoMDNS: !c.MDNS,
		Role: c.Role, Retention: c.Retention,
	}
	switch c.Bind {
	case "":
		cfg.Bind = "127.0.0.1"
	case "any":
		cfg.Bind = ""
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
	stop := make(chan struct{})
	flushed := make(chan struct{})
	go func() {
		defer close(flushed)
		childSend(ctx, n, c, stop, say)
	}()
	// The end of standard input is the end of the process that started this one.
	in := bufio.NewScanner(os.Stdin)
	if in.Scan() {
		close(stop)
		<-flushed
		in.Scan()
	}
	n.Close()
}

// childSend sends until stop.
func childSend(ctx context.Context, n *mesh.Node, c childConfig, stop chan struct{}, say func(string, ...any)) {
	sent := 0
	start := time.Now()
	for open := true; open; {
		select {
		case <-stop:
			open = false
		case <-time.After(5 * time.Millisecond):
		}
		for due := int(time.Since(start).Seconds() * float64(c.Rate)); open && sent < due; sent++ {
			for _, to := range c.Send {
				if err := n.Send(ctx, to, sent); err != nil {
					say("failed\t%v\n", err)
				}
			}
		}
	}
	err := n.Flush(ctx)
	say("flushed\t%d\t%v\n", sent, err)
}

// process is a node in a process of its own.
type process struct {
	t    *testing.T
	name string
	cmd  *exec.Cmd
	in   io.WriteCloser

	mu       sync.Mutex
	relay    string              // as it last said
	arrivals map[string][]string // by sender
	news     chan struct{}       // closed at the next line
	done     chan struct{}       // closed when it has ended
}

func startProcess(t *testing.T, c childConfig) *process {
	t.Helper()
	return startProcessBy(t, c, os.Args[0])
}

// startProcessBy starts it by a command whose last word is this binary.
func startProcessBy(t *testing.T, c childConfig, command ...string) *process {
	t.Helper()
	text, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	p := &process{
		t: t, name: c.Name, cmd: exec.Command(command[0], command[1:]...), arrivals: make(map[string][]string),
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

// relayNow is the relay that the process last spoke of.
func (p *process) relayNow() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.relay
}

// got is what has arrived from a sender so far.
func (p *process) got(from string) []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.arrivals[from])
}
