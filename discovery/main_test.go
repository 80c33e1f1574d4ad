package discovery

import (
	"context"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"ultrasockets/testdata/alone"
)

// beaconEnv makes the test binary a node, for tests that need one in another namespace.
const beaconEnv = "ULTRA_TEST_BEACON"

// TestMain fails on goroutines that are left. goleak waits for a moment, which memberlist's own need to end, but for a
// probe: that waits for its answer for up to 8 probe intervals. TestCloseWaits checks that ours are gone when Close
// returns.
func TestMain(m *testing.M) {
	if os.Getenv(beaconEnv) != "" {
		if err := runBeacon(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	flag.Parse()
	if f := flag.Lookup("test.parallel"); f.Value.String() == f.DefValue {
		_ = f.Value.Set("16") // these tests wait for the network, not for a processor
	}
	if alone.Child() {
		os.Exit(m.Run()) // its parent checks for leaks
	}
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/hashicorp/memberlist.(*Memberlist).probeNode"))
}

// runBeacon is a node on every interface until it is told to end.
func runBeacon() error {
	tcp, udp, err := ListenPair(context.Background(), new(net.ListenConfig), ":0")
	if err != nil {
		return err
	}
	defer tcp.Close()
	d, err := Start(Config{
		Mesh: "default", Instance: 0x0123456789abcdef, Meta: Meta{Name: "beacon", Relay: true, Term: 3},
		Port: tcp.Addr().(*net.TCPAddr).Port, Packets: udp, Beacon: true,
	})
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	<-ctx.Done()
	return d.Close(time.Second)
}

// Close waits for every goroutine of ours, whatever it was doing.
func TestCloseWaits(t *testing.T) {
	// Takes connections and says nothing, so that joining it hangs.
	l, udp, err := ListenPair(t.Context(), new(net.ListenConfig), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer udp.Close()
	defer l.Close()
	if err := l.(*net.TCPListener).SetDeadline(time.Now().Add(within)); err != nil {
		t.Fatal(err)
	}
	a := startPeer(t, 1, Config{Beacon: true, Seeds: []string{l.Addr().String()}}, nil)
	conn, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	began := time.Now()
	a.stop(t, time.Second)
	if took := time.Since(began); took > within {
		t.Errorf("took %v", took)
	}
	stacks := make([]byte, 1<<20)
	stacks = stacks[:runtime.Stack(stacks, true)]
	for stack := range strings.SplitSeq(string(stacks), "\n\n") {
		if strings.Contains(stack, "ultrasockets/discovery.(") && !strings.Contains(stack, "testing.tRunner") {
			t.Errorf("left behind:\n%s", stack)
		}
	}
	if err := a.Close(time.Second); err != nil {
		t.Errorf("closed again: %v", err)
	}
}

// A program that is not ours lists the service, and sees it go.
func TestAvahi(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		t.Skip("Avahi is a thing of Linux")
	}
	cmd := exec.Command("testdata/avahi.sh", "env", beaconEnv+"=1", os.Args[0])
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState != nil && cmd.ProcessState.ExitCode() == 77 {
		t.Skipf("%s", out)
	}
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Logf("%s", out)
}
