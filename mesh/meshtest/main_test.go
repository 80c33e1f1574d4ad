package meshtest_test

import (
	"flag"
	"testing"

	"go.uber.org/goleak"
)

// TestMain fails on goroutines that are left. goleak waits for a moment, which memberlist's own need to end, but for a
// probe: that waits for its answer for up to 8 probe intervals.
func TestMain(m *testing.M) {
	flag.Parse()
	if f := flag.Lookup("test.parallel"); f.Value.String() == f.DefValue {
		_ = f.Value.Set("8") // those that run side by side mostly wait
	}
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/hashicorp/memberlist.(*Memberlist).probeNode"))
}
