package main

import (
	"os"
	"strings"
	"testing"
)

func TestDemo(t *testing.T) {
	b := newBench(t)
	out := b.must("", "demo", "--no-mdns")
	for _, want := range []string{"PID ", "is the relay now", "arrived exactly once and in order, over two relays", "Now you: in two terminals", "join --name a"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is not in\n%s", want, out)
		}
	}
}

func TestDemoBreak(t *testing.T) {
	b := newBench(t)
	b.fails(exitFailed, "", []string{"demo", "--no-mdns", "--break"}, "pc2 -> pc4", "1 missing", "good morning, pc4")
}

// With multicast only where that is allowed: it is not in a test on somebody's network.
func TestDemoMDNS(t *testing.T) {
	if os.Getenv("TEST_MDNS") == "" {
		t.Skip("set TEST_MDNS=1 to use multicast on loopback")
	}
	b := newBench(t)
	out := b.must("", "demo")
	if !strings.Contains(out, "by mDNS") && !strings.Contains(out, "given the address of pc1") {
		t.Error(out)
	}
}
