// Package alone runs tests in a network of their own, for those that flood, forge, or change interfaces and addresses.
// It is for tests only.
package alone

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
)

// env names the test that this process is to run in its own network namespace.
const env = "ULTRA_TEST_NAMESPACE"

// Furnishings of a namespace.
const (
	// Loopback is loopback alone, with a route for multicast.
	Loopback = "ip link set lo up && ip route add 224.0.0.0/4 dev lo"
	// OneLink is one link that is not loopback, us0 with the address 10.77.1.1/24: all other addresses on it are silent.
	OneLink = "echo 0 > /proc/sys/net/ipv6/conf/default/accept_dad; ip link set lo up && ip link add us0 type veth peer name us1 && " +
		"ip addr add 10.77.1.1/24 dev us0 && ip link set us0 up && ip link set us1 up"
)

// Child tells whether this process was started by Run.
func Child() bool { return os.Getenv(env) != "" }

// Run runs the calling test once more, with these further arguments, in a network namespace of its own that setup (shell)
// has furnished, and returns false; in there it returns true. It skips the test, with the reason, where there are no namespaces.
func Run(t *testing.T, setup string, args ...string) bool {
	t.Helper()
	if os.Getenv(env) == t.Name() {
		return true
	}
	if runtime.GOOS != "linux" {
		t.Skip("network namespaces are a thing of Linux")
	}
	flags := "-n"
	if os.Getuid() != 0 {
		flags = "-rn"
	}
	if out, err := exec.Command("unshare", flags, "true").CombinedOutput(); err != nil {
		t.Skipf("no network namespaces here: %v %s", err, out)
	}
	const cannot = 77
	script := fmt.Sprintf("{ %s; } || exit %d\nexec \"$@\"", setup, cannot)
	command := append([]string{flags, "sh", "-c", script, "sh", os.Args[0], "-test.run=^" + t.Name() + "$", "-test.v"}, args...)
	cmd := exec.Command("unshare", command...)
	cmd.Env = append(os.Environ(), env+"="+t.Name())
	out, err := cmd.CombinedOutput()
	switch {
	case cmd.ProcessState != nil && cmd.ProcessState.ExitCode() == cannot:
		t.Skipf("the namespace cannot be furnished: %s", out)
	case err != nil:
		t.Errorf("in a namespace: %v\n%s", err, out)
	case strings.Contains(string(out), "--- SKIP"):
		t.Skipf("in a namespace: %s", out)
	default:
		t.Logf("in a namespace:\n%s", out)
	}
	return false
}
