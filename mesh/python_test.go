package mesh_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os/exec"
	"strings"
	"testing"
	"time"

	"ultrasockets/codec"
	"ultrasockets/mesh"
	"ultrasockets/relay"
)

// pythonNode runs testdata/python/light_node.py, which was written from codec/WIRE.md alone, and gives what it printed
// and its closing counters.
type pythonNode struct {
	cmd      *exec.Cmd
	out, err bytes.Buffer
}

func startPython(t *testing.T, ctx context.Context, stdin string, args ...string) *pythonNode {
	t.Helper()
	path, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("no python3 on this machine")
	}
	p := &pythonNode{cmd: exec.CommandContext(ctx, path, append([]string{"../testdata/python/light_node.py"}, args...)...)}
	p.cmd.Stdout, p.cmd.Stderr, p.cmd.Stdin = &p.out, &p.err, strings.NewReader(stdin)
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return p
}

type pythonCounters struct {
	Sent, Acked, Received, Repeats, Resent int
	ResetsSent                             int `json:"resets_sent"`
	ResetsReceived                         int `json:"resets_received"`
}

func (p *pythonNode) wait(t *testing.T) (c pythonCounters) {
	t.Helper()
	if err := p.cmd.Wait(); err != nil {
		t.Fatalf("light_node.py: %v\n%s", err, p.err.String())
	}
	lines := strings.Split(strings.TrimSpace(p.err.String()), "\n")
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &c); err != nil {
		t.Fatalf("light_node.py said %q: %v", p.err.String(), err)
	}
	return c
}

// TestPythonWaitsForItsName: while a new relay keeps its name for who had it before, the node in another language asks again.
func TestPythonWaitsForItsName(t *testing.T) {
	hub := relay.NewHub(relay.HubConfig{Mesh: "lab", Own: codec.Hello{Name: "relay", Instance: 1}})
	hub.Reign(relay.Reign{Expected: []codec.Entry{{Name: "py", Instance: 7}}, ExpectFor: time.Second})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error)
	go func() { served <- hub.Serve(l) }()
	defer func() {
		hub.Close()
		<-served
	}()
	startPython(t, within(t, 20*time.Second), "", l.Addr().String(), "--name", "py").wait(t)
	if n := hub.Stats().Refused[codec.RefuseNameKept]; n == 0 {
		t.Error("its name was never kept from it")
	}
}

// TestPythonLightNode is the proof that WIRE.md is complete: a node in another language says hello, sends, receives,
// acknowledges, and answers and sends Resets.
func TestPythonLightNode(t *testing.T) {
	ctx := within(t, 60*time.Second)
	s, c := star(t, mesh.Config{Name: "server"}, "go")
	addr, g := s.Addr().String(), c[0]

	receive := func(n *mesh.Node, count int, prefix string) {
		t.Helper()
		for i := range count {
			m, err := n.Receive(ctx)
			if err != nil {
				t.Fatalf("message %d: %v", i, err)
			}
			if prefix != "" && m.Text() != fmt.Sprint(prefix, i) {
				t.Fatalf("message %d is %q", i, m.Text())
			}
		}
	}

	t.Run("sends", func(t *testing.T) {
		var lines strings.Builder
		for i := range 1000 {
			fmt.Fprintf(&lines, "go line %d\n", i)
		}
		p := startPython(t, ctx, lines.String(), addr, "--name", "py", "--roster")
		receive(g, 1000, "line ")
		if c := p.wait(t); c.Sent != 1000 || c.Acked != 1000 {
			t.Fatalf("%+v", c)
		}
	})
	t.Run("receives", func(t *testing.T) {
		p := startPython(t, ctx, "", addr, "--name", "py", "--expect", "1003", "--timeout", "30")
		for i := range 1000 {
			if err := g.Send(ctx, "py", fmt.Sprint("line ", i)); err != nil {
				t.Fatal(err)
			}
		}
		for _, v := range []any{strings.Repeat("x", 300_000), map[string]any{"a": []int{1, 2}}, nil} {
			if err := s.Send(ctx, "py", v); err != nil {
				t.Fatal(err)
			}
		}
		p.wait(t)
		next := 0
		others := map[string]bool{}
		for _, line := range strings.Split(strings.TrimSpace(p.out.String()), "\n") {
			f := strings.SplitN(line, "\t", 3)
			if f[0] == "go" {
				if f[2] != fmt.Sprint("line ", next) {
					t.Fatalf("line %q at place %d", line, next)
				}
				next++
			} else if len(f) == 3 {
				others[f[2][:min(len(f[2]), 20)]] = true
			}
		}
		if next != 1000 || !others[strings.Repeat("x", 20)] || !others[`{"a": [1, 2]}`] || !others["null"] {
			t.Fatal(next, others)
		}
	})
	t.Run("answers Reset", func(t *testing.T) {
		p := startPython(t, ctx, "", addr, "--name", "py", "--send-to", "go", "--count", "500", "--size", "50", "--skip-frame", "200")
		receive(g, 500, "")
		if c := p.wait(t); c.ResetsReceived == 0 || c.Resent == 0 || c.Acked != 500 {
			t.Fatalf("%+v", c)
		}
	})
	t.Run("sends Reset", func(t *testing.T) {
		p := startPython(t, ctx, "", addr, "--name", "py", "--expect", "3000", "--forget-after", "500", "--timeout", "40")
		for range 3000 {
			if err := g.Send(ctx, "py", strings.Repeat("y", 100)); err != nil {
				t.Fatal(err)
			}
		}
		if c := p.wait(t); c.ResetsSent == 0 || c.Received < 3000 {
			t.Fatalf("%+v", c)
		}
	})
	t.Run("repeats", func(t *testing.T) {
		p := startPython(t, ctx, "", addr, "--name", "py", "--send-to", "go", "--count", "300", "--size", "50", "--rewind-after", "150")
		receive(g, 300, "")
		if c := p.wait(t); c.Resent == 0 || c.Acked != 300 {
			t.Fatalf("%+v", c)
		}
		if extra := g.Get(mesh.All); extra != nil {
			t.Fatalf("%d messages arrived twice", len(extra))
		}
	})
	t.Run("answers requests and pings", func(t *testing.T) {
		p := startPython(t, ctx, "", addr, "--name", "py", "--echo-requests", "--expect", "2", "--timeout", "30")
		if err := g.WaitFor(ctx, "py"); err != nil {
			t.Fatal(err)
		}
		if m, err := g.Request(ctx, "py", []any{"echo", 1}); err != nil || m.Text() != `["echo", 1]` {
			t.Fatal(m.Text(), err)
		}
		if rtt, err := g.Ping(ctx, "py"); err != nil || rtt <= 0 {
			t.Fatal(rtt, err)
		}
		if err := g.Deliver(ctx, "py", "done"); err != nil {
			t.Fatal(err)
		}
		p.wait(t)
	})
	t.Run("is refused with a sentence", func(t *testing.T) {
		p := startPython(t, ctx, "", addr, "--name", "py", "--mesh", "other")
		if err := p.cmd.Wait(); err == nil || !strings.Contains(p.err.String(), "mesh") {
			t.Fatal(err, p.err.String())
		}
	})
}
