package doctor

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"ultrasockets/mesh"
)

// childEnv makes this test binary be one of the programs below, for tests that need them on other hosts.
const childEnv = "ULTRA_TEST_CHILD"

// child is what such a program does.
type child struct {
	Do     string // node: join, say "ready", and stay; examine: print the report; hog: keep port 5353, say "ready", and stay
	Node   settings
	Config Config
	Listen time.Duration // Config.listen
}

// settings are what the tests tell their nodes.
type settings struct {
	Name, Mesh, Bind string
	Secret           []byte
	Server           bool
}

const patience = 20 * time.Second // no wait is longer, on the slowest machine

var long = flag.Bool("long", false, "also break what is left; .ci/long sets it")

func TestMain(m *testing.M) {
	if text := os.Getenv(childEnv); text != "" {
		if err := beChild(text); err != nil {
			fmt.Fprintln(os.Stderr, "error:", err)
			os.Exit(1)
		}
		return
	}
	flag.Parse()
	if err := flag.Set("test.parallel", "16"); err != nil { // these tests mostly wait
		panic(err)
	}
	// Goroutines that are left fail the tests, but for a probe of memberlist's: it may wait for its answer for up to 8 intervals.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/hashicorp/memberlist.(*Memberlist).probeNode"))
}

func beChild(text string) error {
	var c child
	if err := json.Unmarshal([]byte(text), &c); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	switch c.Do {
	case "node":
		cfg := mesh.Config{Name: c.Node.Name, Mesh: c.Node.Mesh, Bind: c.Node.Bind, Secret: c.Node.Secret}
		if c.Node.Server {
			cfg.Role = mesh.RoleServer
		}
		n, err := mesh.Join(ctx, cfg)
		if err != nil {
			return err
		}
		defer n.Close()
		fmt.Println("ready", n.Addr())
	case "hog":
		l, err := net.ListenUDP("udp4", &net.UDPAddr{Port: 5353})
		if err != nil {
			return err
		}
		defer l.Close()
		fmt.Println("ready")
	case "examine":
		c.Config.listen = c.Listen
		r, err := Examine(ctx, c.Config)
		if err != nil {
			return err
		}
		return json.NewEncoder(os.Stdout).Encode(r)
	}
	_, err := io.Copy(io.Discard, os.Stdin) // until the test lets it go
	return err
}

// program is a running child.
type program struct {
	cmd   *exec.Cmd
	stdin io.WriteCloser
	addr  string // of a node
}

// start starts a child by a command (such as "ip netns exec h0"), and waits until it is ready.
func start(t *testing.T, c child, by ...string) *program {
	t.Helper()
	cmd := command(t, c, by...)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var stderr strings.Builder
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p := &program{cmd: cmd, stdin: stdin}
	t.Cleanup(p.stop)
	line, err := bufio.NewReader(stdout).ReadString('\n') // a child gives up by itself after patience
	fields := strings.Fields(line)
	if err != nil || len(fields) == 0 || fields[0] != "ready" {
		p.stop()
		t.Fatalf("a %s did not start: %q %v: %s", c.Do, line, err, stderr.String())
	}
	if len(fields) > 1 {
		p.addr = fields[1]
	}
	return p
}

func command(t *testing.T, c child, by ...string) *exec.Cmd {
	t.Helper()
	text, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	by = append(by, exe)
	cmd := exec.Command(by[0], by[1:]...)
	cmd.Env = append(os.Environ(), childEnv+"="+string(text))
	return cmd
}

// stop ends the program and waits for it. It may be called again.
func (p *program) stop() {
	if p.cmd.ProcessState != nil {
		return
	}
	_ = p.stdin.Close()
	_ = p.cmd.Process.Kill() // it may be stopped, or cut off from those it wants to take leave of
	_ = p.cmd.Wait()         // killed, as it says
}

// leave lets the program end in good order.
func (p *program) leave(t *testing.T) {
	t.Helper()
	_ = p.stdin.Close()
	if err := p.cmd.Wait(); err != nil {
		t.Fatal(err)
	}
}

// wants checks that exactly these are the codes of the findings, and returns them.
func wants(t *testing.T, r *Report, codes ...string) []Finding {
	t.Helper()
	var got []string
	for _, f := range r.Findings {
		got = append(got, f.Code)
		if !strings.HasSuffix(f.Sentence, ".") || !strings.HasSuffix(f.Mend, ".") || strings.ContainsAny(f.Sentence+f.Mend, "\n\t") {
			t.Errorf("no sentence with a mend: %+v", f)
		}
		t.Logf("%s: %s → %s", f.Code, f.Sentence, f.Mend)
	}
	if strings.Join(got, " ") != strings.Join(codes, " ") {
		facts, _ := json.Marshal(r.Facts) // it holds nothing that cannot be
		t.Fatalf("findings %q, want %q; %s", got, codes, facts)
	}
	return r.Findings
}
