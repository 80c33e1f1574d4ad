package mesh_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"ultrasockets/mesh"
	"ultrasockets/mesh/meshtest"
)

// A newcomer, or a node that has lost its relay, looks for one among others that are slow, mute, or of another mesh.

// joinStranger starts a relay of another mesh in the network of m, and gives its address.
func joinStranger(t *testing.T, m *meshtest.Mesh, name string) string {
	cfg := m.Config(name)
	cfg.Mesh, cfg.Seeds = name, nil
	n, err := mesh.Join(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.Close() })
	return n.Addr().String()
}

// mute starts a listener, which takes connections, says nothing, and ends each after some time; 0: never.
func mute(t *testing.T, m *meshtest.Mesh, name string, end time.Duration) (addr string) {
	cfg := m.Config(name)
	l, err := cfg.Network.Listen(t.Context(), "tcp", cfg.Bind+":0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() { // ends with the listener
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { // ends with the connection
				if end > 0 {
					time.Sleep(end)
				} else {
					io.Copy(io.Discard, c)
				}
				c.Close()
			}()
		}
	}()
	return l.Addr().String()
}

// TestSlowSeed: of two seeds that of another mesh refuses at once, and that of this mesh answers late.
func TestSlowSeed(t *testing.T) {
	t.Parallel()
	relay := func(name string) string {
		n, err := mesh.Join(within(t, 10*time.Second), mesh.Config{Name: "relay", Mesh: name, Role: mesh.RoleServer, Bind: "127.0.0.1", NoMDNS: true})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { n.Close() })
		return n.Addr().String()
	}
	slow := newProxy(t, relay("ours"))
	slow.delay = 300 * time.Millisecond
	n, err := mesh.Join(within(t, 20*time.Second), mesh.Config{
		Name: "a", Mesh: "ours", Bind: "127.0.0.1", NoMDNS: true, Seeds: []string{relay("theirs"), slow.addr()},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	if err := n.Deliver(within(t, 10*time.Second), "relay", "late"); err != nil {
		t.Error(err)
	}
}

// TestSlowOnlySeed: a newcomer begins no mesh of its own while its seed, which took the connection, has not answered yet.
func TestSlowOnlySeed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := meshtest.NewInMemory(t, nil, "relay")
		cfg := m.Config("a")
		m.Cable(meshtest.Cable{Latency: 400 * time.Millisecond}, "a")
		n, err := mesh.Join(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		defer n.Close()
		if n.Relay() != "relay" {
			t.Errorf("%q is the relay of the newcomer", n.Relay())
		}
	})
}

// TestSlowRelay: a relay takes longer to answer than one Hello may keep others waiting. The newcomer gets into its mesh, and
// begins none, whoever is among the seeds too.
func TestSlowRelay(t *testing.T) {
	const ms = time.Millisecond
	for _, c := range []struct {
		late      time.Duration // each way …
		connects  bool          // … but connections are there at once
		strangers int           // relays of other meshes …
		asLate    bool          // … which are late too
		mutes     int           // who take connections and say nothing …
		end       time.Duration // … and end them after this
		limit     time.Duration
	}{
		{late: 200 * ms, strangers: 1, asLate: true, limit: 2 * time.Second},
		{late: 400 * ms, connects: true, strangers: 1, asLate: true, limit: 4 * time.Second},
		{late: 900 * ms, connects: true, strangers: 1, asLate: true, limit: 10 * time.Second},
		{late: 900 * ms, connects: true, strangers: 4, asLate: true, limit: 20 * time.Second},
		{late: 900 * ms, connects: true, strangers: 1, limit: 4 * time.Second},
		{late: 700 * ms, strangers: 1, limit: 8 * time.Second},
		{late: 200 * ms, mutes: 1, end: 200 * ms, limit: 3 * time.Second},
		{late: 300 * ms, mutes: 1, end: 240 * ms, limit: 3 * time.Second},
		{late: 400 * ms, connects: true, mutes: 2, limit: 8 * time.Second},
		{late: 50 * ms, mutes: 8, limit: 3 * time.Second},
	} {
		for range 5 { // the order is not always the same
			synctest.Test(t, func(t *testing.T) {
				m := meshtest.NewInMemory(t, nil, "relay")
				cfg := m.Config("a")
				late := []string{"relay"}
				for i := range c.strangers {
					name := fmt.Sprint("theirs", i)
					cfg.Seeds = append(cfg.Seeds, joinStranger(t, m, name))
					if c.asLate {
						late = append(late, name)
					}
				}
				for i := range c.mutes {
					cfg.Seeds = append(cfg.Seeds, mute(t, m, fmt.Sprint("mute", i), c.end))
				}
				cable := meshtest.Cable{Latency: c.late}
				if c.connects {
					cable.Only = meshtest.Links
				}
				m.Cable(cable, late...)
				began := time.Now()
				n, err := mesh.Join(within(t, time.Minute), cfg)
				if err != nil {
					t.Fatalf("%+v: %v", c, err)
				}
				defer n.Close()
				if took := time.Since(began); n.Relay() != "relay" || took > c.limit {
					t.Errorf("%+v: %q is the relay of the newcomer, after %v", c, n.Relay(), took)
				}
			})
		}
	}
}

// TestStrangerBesideMember: of two seeds one belongs to another mesh and says so; the other names the relay, which cannot be
// reached for a while. The word of the stranger counts no more.
func TestStrangerBesideMember(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := meshtest.NewInMemory(t, nil, "b", "c")
		relay := m.Relay()
		member := map[string]string{"b": "c", "c": "b"}[relay]
		cfg, began := m.Config("a"), time.Now()
		cfg.Seeds = []string{m.Node(member).Addr().String(), joinStranger(t, m, "theirs")}
		m.Cable(meshtest.Cable{Only: meshtest.Links, Cut: meshtest.Both}, relay)
		go func() {
			time.Sleep(8 * time.Second)
			m.Heal()
		}()
		n, err := mesh.Join(within(t, time.Minute), cfg)
		if err != nil {
			t.Fatal(err)
		}
		defer n.Close()
		if n.Relay() != relay {
			t.Errorf("%q is the relay of the newcomer, %q that of the others", n.Relay(), relay)
		}
		t.Logf("in the mesh after %v", time.Since(began))
	})
}

// TestStrangerBesideMutes: that a node has the name of the mesh wrong is said although some of its seeds are mute, and although
// others have it wrong too, or it is among its own seeds by a name it does not know.
func TestStrangerBesideMutes(t *testing.T) {
	for k := range 4 {
		synctest.Test(t, func(t *testing.T) {
			m := meshtest.NewInMemory(t, nil, "relay")
			cfg := m.Config("a")
			cfg.Mesh = "typo"
			for i := range k {
				cfg.Seeds = append(cfg.Seeds, mute(t, m, fmt.Sprint("mute", i), 0))
			}
			began := time.Now()
			_, err := mesh.Join(within(t, time.Minute), cfg)
			if took := time.Since(began); !errors.Is(err, mesh.ErrWrongMesh) || took > time.Duration(min(k, 1)*9+1)*time.Second {
				t.Errorf("beside %d mutes: %v after %v", k, err, took)
			}
		})
	}
	for range 10 {
		synctest.Test(t, func(t *testing.T) {
			m := meshtest.NewInMemory(t, nil, "relay")
			var joins sync.WaitGroup
			for name, other := range map[string]string{"a": "b", "b": "a"} {
				cfg, fellow := m.Config(name), m.Config(other)
				cfg.Mesh, cfg.Listen = "typo", cfg.Bind+":7000"
				cfg.Network = renaming{cfg.Network, "10.99.0.1:7000", cfg.Listen}
				cfg.Seeds = append(cfg.Seeds, "10.99.0.1:7000", fellow.Bind+":7000")
				joins.Go(func() {
					if n, err := mesh.Join(within(t, time.Minute), cfg); !errors.Is(err, mesh.ErrWrongMesh) {
						t.Errorf("a newcomer with a fellow, both wrong: %v", err)
						if err == nil {
							n.Close()
						}
					}
				})
			}
			joins.Wait()
		})
	}
}

// TestAloneBesideMutes: who is alone begins a mesh of its own, however many of its seeds say nothing, or hang up after a while.
func TestAloneBesideMutes(t *testing.T) {
	for _, end := range []time.Duration{0, 240 * time.Millisecond, 900 * time.Millisecond, 3 * time.Second} {
		for k := range 4 {
			synctest.Test(t, func(t *testing.T) {
				m := meshtest.NewInMemory(t, nil)
				cfg := m.Config("a")
				for i := range k {
					cfg.Seeds = append(cfg.Seeds, mute(t, m, fmt.Sprint("mute", i), end))
				}
				began := time.Now()
				n, err := mesh.Join(within(t, time.Minute), cfg)
				if err != nil {
					t.Fatal(err)
				}
				defer n.Close()
				if took := time.Since(began); took > 9*time.Second {
					t.Errorf("beside %d seeds that hang up after %v: %v", k, end, took)
				}
			})
		}
	}
}

// renaming is a network in which an address has a second one.
type renaming struct {
	mesh.Network
	from, to string
}

func (r renaming) DialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	if addr == r.from {
		addr = r.to
	}
	return r.Network.DialContext(ctx, network, addr)
}

// TestMuteRelay: nodes that lose a relay which takes connections still and says nothing, one after the other, agree on another
// soon after the last has lost it.
func TestMuteRelay(t *testing.T) {
	var longest time.Duration
	for i := range pick(20, 200) {
		synctest.Test(t, func(t *testing.T) {
			names := []string{"a", "b", "c", "d", "e", "f", "g"}
			m := meshtest.NewInMemory(t, func(c *mesh.Config) {
				c.Heartbeat = time.Duration(300+(i*977+slices.Index(names, c.Name)*1361)%2700) * time.Millisecond
			}, names...)
			relay := m.Relay()
			time.Sleep(2 * time.Second)
			m.Suspend(relay)
			others := slices.DeleteFunc(names, func(n string) bool { return n == relay })
			knows := func(n string) bool { return m.Node(n).Relay() == relay }
			for slices.ContainsFunc(others, knows) {
				time.Sleep(5 * time.Millisecond)
			}
			lost := time.Now()
			agreed := func() bool {
				now := m.Node(others[0]).Relay()
				return now != "" && !slices.ContainsFunc(others, func(n string) bool { return m.Node(n).Relay() != now })
			}
			for !agreed() && time.Since(lost) < time.Minute {
				time.Sleep(5 * time.Millisecond)
			}
			if longest = max(longest, time.Since(lost)); longest > 2*time.Second {
				t.Errorf("mesh %d: %v after the last had lost its relay", i, longest)
			}
			m.Continue(relay)
		})
	}
	t.Logf("at most %v after the last had lost its relay", longest)
}

// TestSlowOrphan: a node that lost its relay by its own cable, and asks it and the next candidate over one that is slow, is linked
// again soon.
func TestSlowOrphan(t *testing.T) {
	for range 20 { // the order is not always the same
		synctest.Test(t, func(t *testing.T) {
			m := meshtest.NewInMemory(t, nil, "a", "b", "c")
			relay := m.Relay()
			orphan := m.Node(map[string]string{"a": "b", "b": "c", "c": "a"}[relay])
			m.Cable(meshtest.Cable{Only: meshtest.Links, Cut: meshtest.Both}, orphan.Name())
			for orphan.Relay() != "" {
				time.Sleep(5 * time.Millisecond)
			}
			m.Cable(meshtest.Cable{Only: meshtest.Links, Latency: 400 * time.Millisecond}, orphan.Name())
			began := time.Now()
			for orphan.Relay() == "" && time.Since(began) < time.Minute {
				time.Sleep(5 * time.Millisecond)
			}
			if took := time.Since(began); orphan.Relay() != relay || took > 5*time.Second {
				t.Errorf("%q is the relay of the orphan, after %v", orphan.Relay(), took)
			}
		})
	}
}
