package meshtest

import (
	"context"
	"sync"
	"time"

	"ultrasockets/mesh"
)

// impostorPause is between two attempts of an impostor to join.
const impostorPause = 200 * time.Millisecond

// Impostor starts a second node under a name that is taken, on the same machine. Refused, it tries again, until stop is
// called, which returns when it has gone, or the test ends. Should the name become free it gets it, and drops
// what it is sent.
func (m *Mesh) Impostor(name string) (stop func()) {
	m.t.Helper()
	m.known("Impostor", name)
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		for ctx.Err() == nil {
			cfg := m.Config(name)
			cfg.Listen = "" // the other has that port
			n, err := mesh.Join(ctx, cfg)
			if err == nil {
				for range n.Messages(ctx) {
				}
				n.Close()
			}
			select {
			case <-time.After(impostorPause):
			case <-ctx.Done():
			}
		}
	})
	stop = sync.OnceFunc(func() {
		cancel()
		running.Wait()
	})
	m.mu.Lock()
	m.impostors = append(m.impostors, stop)
	m.mu.Unlock()
	return stop
}
