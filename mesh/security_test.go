package mesh_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"ultrasockets/codec"
	"ultrasockets/mesh"
	"ultrasockets/mesh/meshtest"
)

// TestKeysChange: a mesh changes its secret node by node, in the three steps that Config.OldSecrets tells, under traffic that
// never stops. Nothing is lost, and the old secret opens nothing any more.
func TestKeysChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		old, next := mesh.NewSecret(), mesh.NewSecret()
		var mu sync.Mutex
		secret, others := old, [][]byte(nil)
		adapt := func(c *mesh.Config) {
			mu.Lock()
			defer mu.Unlock()
			c.Secret, c.OldSecrets = secret, others
			if c.Name == "from" || c.Name == "to" {
				c.Secret, c.OldSecrets = old, [][]byte{next} // these two do not restart: they take part in the first two steps
			}
		}
		names := []string{"a", "b", "c"}
		m := meshtest.NewInMemory(t, adapt, append(names, "from", "to")...)
		stop := flow(t, m.Node("from"), m.Node("to"))
		step := func(s []byte, o ...[]byte) {
			mu.Lock()
			secret, others = s, o
			mu.Unlock()
			for _, name := range names {
				m.Restart(name)
				m.WaitAll()
				time.Sleep(time.Second)
			}
		}
		step(old, next)
		step(next, old)
		t.Logf("%d messages while 3 of 5 nodes changed keys twice", stop())
		m.Stop("from")
		m.Stop("to")
		step(next)
		cfg := m.Config("stranger")
		cfg.Secret, cfg.OldSecrets, cfg.Role = old, nil, mesh.RolePeer
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if n, err := mesh.Join(ctx, cfg); !errors.Is(err, mesh.ErrWrongSecret) {
			t.Errorf("with the old secret: %v %v", n, err)
		}
	})
}

// TestAdmit: the application's own rule decides who joins, and who is refused hears why.
func TestAdmit(t *testing.T) {
	adapt := func(c *mesh.Config) {
		c.Admit = func(h codec.Hello) error {
			if h.Name == "mallory" {
				return errors.New("only the lab's own boards")
			}
			return nil
		}
	}
	m := meshtest.NewWith(t, adapt, "a", "b")
	cfg := m.Config("mallory")
	cfg.Role = mesh.RolePeer
	if n, err := mesh.Join(within(t, 10*time.Second), cfg); !errors.Is(err, mesh.ErrNotAdmitted) {
		t.Errorf("%v %v", n, err)
	} else {
		t.Log(err)
	}
	m.Start("c")
}

// TestRate: a node that floods is slowed down, and nothing is lost.
func TestRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := meshtest.NewInMemory(t, func(c *mesh.Config) { c.Rate = mesh.Rate{Bytes: 1 << 20} }, "relay", "a", "b")
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		random := rand.NewChaCha8([32]byte{})
		start := time.Now()
		for i := range 600 {
			message := make([]byte, 8<<10)
			random.Read(message)
			if err := m.Node("a").Send(ctx, "b", message); err != nil {
				t.Fatalf("message %d: %v", i, err)
			}
		}
		if err := m.Node("a").Flush(ctx); err != nil {
			t.Fatal(err)
		}
		took := time.Since(start)
		t.Logf("600 messages of 8 KiB took %v at 1 MiB a second", took)
		if n := len(m.Node("b").Get(mesh.All)); n != 600 {
			t.Errorf("%d arrived", n)
		}
		if took < 3*time.Second {
			t.Error("nobody was slowed down") // a second's worth may be sent at once
		}
	})
}
