package mesh_test

import (
	"testing"

	"go.uber.org/goleak"
)

// memberlist's own goroutines outlive its Shutdown by up to about half a second.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}
