package meshtest_test

import (
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"

	"ultrasockets/mesh/meshtest"
)

// failing is a test within a test: what it says when it fails, and what it does when it ends.
type failing struct {
	testing.TB
	said []string
	ends []func()
}

func (f *failing) Helper()                      {}
func (f *failing) Failed() bool                 { return len(f.said) > 0 }
func (f *failing) Cleanup(end func())           { f.ends = append(f.ends, end) }
func (f *failing) Errorf(form string, a ...any) { f.said = append(f.said, fmt.Sprintf(form, a...)) }
func (f *failing) Fatalf(form string, a ...any) { f.Errorf(form, a...); runtime.Goexit() }
func (f *failing) run(test func(m *meshtest.Mesh)) string {
	var running sync.WaitGroup
	running.Go(func() { test(meshtest.NewInMemory(f, nil, "pc1", "pc2")) })
	running.Wait()
	for _, end := range f.ends {
		end()
	}
	return strings.Join(f.said, "; ")
}

// A fault for a name that nobody has is a slip of the pen: a test that goes on without it shows nothing.
func TestFaultsOfUnknownNames(t *testing.T) {
	t.Parallel()
	for fault, inject := range map[string]func(m *meshtest.Mesh){
		"Suspend":   func(m *meshtest.Mesh) { m.Suspend("pc9") },
		"Continue":  func(m *meshtest.Mesh) { m.Continue("pc9") },
		"Reset":     func(m *meshtest.Mesh) { m.Reset("pc9") },
		"Impostor":  func(m *meshtest.Mesh) { m.Impostor("pc9") },
		"Cable":     func(m *meshtest.Mesh) { m.Cable(meshtest.Cable{Cut: meshtest.Both}, "pc1", "pc9"); m.Heal() },
		"Partition": func(m *meshtest.Mesh) { m.Partition([]string{"pc1"}, []string{"pc9"}) },
	} {
		t.Run(fault, func(t *testing.T) {
			t.Parallel()
			want := "meshtest: " + fault + ` of "pc9": no node of that name came into this mesh; there are ["pc1" "pc2"]`
			if said := (&failing{TB: t}).run(inject); said != want {
				t.Errorf("%q, want %q", said, want)
			}
		})
	}
	t.Run("later", func(t *testing.T) {
		t.Parallel()
		said := (&failing{TB: t}).run(func(m *meshtest.Mesh) {
			m.Cable(meshtest.Cable{Loss: 0.01}, "pc3")
			m.Partition([]string{"pc1", "pc2", "pc3"})
			m.Start("pc3")
			m.Suspend("pc3")
			m.Continue("pc3")
		})
		if said != "" {
			t.Error(said)
		}
	})
}
