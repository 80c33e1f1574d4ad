package file_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"ultrasockets/mesh"
	"ultrasockets/mesh/file"
)

// childEnv makes this test binary be a process of its own, which tests may kill.
const childEnv = "ULTRA_TEST_FILE_CHILD"

// childConfig is what such a process does, until its standard input ends: it is a node, that shares a folder if there is
// one; or one of the two processes of a plain TCP way, with which the mesh is compared.
type childConfig struct {
	Name, Mesh, Listen, Seed, Share string
	Forward                         string // pass on what comes to this address
	Sink                            string // write what comes to this file
}

func beChild() bool {
	text := os.Getenv(childEnv)
	if text == "" {
		return false
	}
	var c childConfig
	if err := json.Unmarshal([]byte(text), &c); err != nil {
		panic(err)
	}
	if err := c.run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	return true
}

func (c childConfig) run() error {
	if c.Name == "" {
		return c.runPlain()
	}
	cfg := mesh.Config{Name: c.Name, Mesh: c.Mesh, Bind: "127.0.0.1", Listen: c.Listen, NoMDNS: true}
	if c.Seed != "" {
		cfg.Seeds = []string{c.Seed}
	}
	n, err := mesh.Join(context.Background(), cfg)
	if err != nil {
		return err
	}
	defer n.Close()
	if c.Share != "" {
		s, err := file.Serve(n, c.Share, file.ServeOptions{})
		if err != nil {
			return err
		}
		defer s.Close()
	}
	fmt.Println(n.Addr())
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

// runPlain passes one connection on, or writes what comes by it.
func (c childConfig) runPlain() error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println(l.Addr())
	in, err := l.Accept()
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := io.WriteCloser(nil), error(nil)
	if c.Sink != "" {
		out, err = os.Create(c.Sink)
	} else {
		out, err = net.Dial("tcp", c.Forward)
	}
	if err != nil {
		return err
	}
	// Not by splice(2): a relay has to look at what it passes on.
	if _, err := io.CopyBuffer(struct{ io.Writer }{out}, struct{ io.Reader }{in}, make([]byte, 256<<10)); err != nil {
		return err
	}
	if back, ok := out.(*net.TCPConn); ok {
		back.CloseWrite()
		io.Copy(io.Discard, back) // until it is written there
	}
	return out.Close()
}

// process is such a process.
type process struct {
	t    testing.TB
	cmd  *exec.Cmd
	addr string // where it listens
}

func start(t testing.TB, c childConfig) *process {
	t.Helper()
	text, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	p := &process{t: t, cmd: exec.Command(os.Args[0])}
	p.cmd.Env = append(os.Environ(), childEnv+"="+string(text))
	p.cmd.Stderr = os.Stderr
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	in, err := p.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		p.kill()
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("%+v did not start: %v", c, err)
	}
	p.addr = strings.TrimSpace(line)
	return p
}

// kill ends it as a crash would, and waits for it. Again does nothing.
func (p *process) kill() {
	p.cmd.Process.Kill()
	p.cmd.Wait()
}

var highWater = regexp.MustCompile(`VmHWM:\s*(\d+ kB)`)

// memory is the most that it ever had in memory, where the system tells.
func (p *process) memory() string {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if m := highWater.FindSubmatch(text); m != nil {
		return string(m[1])
	}
	return "not known"
}
