package mesh

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"ultrasockets/discovery"
)

// deadMessage is memberlist's packet that says that a node is dead: the label of its mesh, the kind, and a map in MessagePack.
func deadMessage(label, node string, incarnation uint32) []byte {
	text := func(b []byte, s string) []byte { return append(append(b, 0xa0|byte(len(s))), s...) }
	b := append([]byte{discovery.StreamByte, byte(len(label))}, label...)
	b = append(b, 5, 0x83) // dead; three pairs
	b = append(text(b, "Incarnation"), 0xce)
	b = binary.BigEndian.AppendUint32(b, incarnation)
	b = text(text(b, "Node"), node)
	return text(text(b, "From"), "0123456789abcdef")
}

// TestForgedGossip: a stranger says by gossip a thousand times of every node that it is dead. In an open mesh the others
// believe it, as far as gossip goes, and nobody loses a link, a name or a message by it. In a mesh with a secret nothing of it
// is read.
func TestForgedGossip(t *testing.T) {
	for _, secret := range [][]byte{nil, NewSecret()} {
		name := "open"
		if secret != nil {
			name = "secret"
		}
		t.Run(name, func(t *testing.T) {
			if !full() {
				t.Parallel()
			}
			forgeGossip(t, secret)
		})
	}
}

func forgeGossip(t *testing.T, secret []byte) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	var (
		nodes []*Node
		names = []string{"a", "b", "c"}
		watch sync.WaitGroup
		bad   = make(chan Event, 1000)
	)
	defer watch.Wait() // ends with the nodes
	for _, name := range names {
		cfg := Config{Name: name, Mesh: forgedMesh, Bind: "127.0.0.1", NoMDNS: true, Secret: secret}
		if len(nodes) > 0 {
			cfg.Seeds = []string{nodes[0].Addr().String()}
		}
		n, err := Join(ctx, cfg)
		if err != nil {
			t.Fatal(err)
		}
		defer n.Close()
		nodes = append(nodes, n)
	}
	members := func() (alive, gone int) {
		for _, n := range nodes {
			for _, o := range n.disc.Nodes() {
				switch o.State {
				case discovery.Alive:
					alive++
				case discovery.Gone:
					gone++
				}
			}
		}
		return alive, gone
	}
	until := func(what string, ok func() bool) {
		t.Helper()
		for !ok() {
			select {
			case <-ctx.Done():
				t.Fatal("waited in vain for ", what)
			case <-time.After(5 * time.Millisecond):
			}
		}
	}
	for _, n := range nodes {
		if err := n.WaitFor(ctx, names...); err != nil {
			t.Fatal(err)
		}
	}
	until("gossip to know all", func() bool { alive, _ := members(); return alive == 6 })
	quiet, hush := context.WithCancel(ctx)
	defer hush()
	for _, n := range nodes {
		watch.Go(func() {
			for e := range n.Events(quiet) {
				bad <- e
			}
		})
	}
	socket, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	forge := func(incarnation uint32) {
		for _, victim := range nodes {
			packet := deadMessage(forgedMeshHash, fmt.Sprintf("%016x", victim.instance), incarnation)
			for _, n := range nodes {
				if n == victim {
					continue
				}
				if _, err := socket.WriteTo(packet, net.UDPAddrFromAddrPort(n.disc.Addrs()[0])); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	worst := 0
	const repeats = 1000
	for i := range repeats {
		incarnation := uint32(i + 1)
		if secret != nil {
			incarnation = math.MaxUint32 // if it were believed, then for good
		}
		forge(incarnation)
		_, gone := members()
		worst = max(worst, gone)
		if err := nodes[1].Deliver(ctx, "c", i); err != nil {
			t.Fatal(err)
		}
	}
	if secret == nil {
		until("gossip to believe it", func() bool {
			forge(math.MaxUint32) // nobody can object with a higher number
			_, gone := members()
			worst = max(worst, gone)
			return gone == 6
		})
	} else { // a machine that stands still may make gossip doubt some for a while
		until("gossip to have all", func() bool { alive, _ := members(); return alive == 6 })
	}
	for i := range repeats {
		m, err := nodes[2].Receive(ctx)
		var got int
		if err != nil || m.Decode(&got) != nil || got != i {
			t.Fatalf("%v %v instead of %d", m.Value(), err, i)
		}
	}
	hush()
	watch.Wait()
	close(bad)
	for e := range bad {
		t.Errorf("%s %q %s", e.Kind, e.Name, e.Reason)
	}
	for _, n := range nodes {
		if len(n.Peers()) != 3 || n.Relay() != "a" || !slices.ContainsFunc(n.Peers(), func(p Peer) bool { return p.Name == "c" }) {
			t.Errorf("%s sees %v, and the relay %s", n.Name(), n.Peers(), n.Relay())
		}
	}
	alive, gone := members()
	t.Logf("%d forged packets; gossip gave up at most %d of 6 and has %d alive, %d gone; %d messages delivered meanwhile, nobody unlinked",
		repeats*6, worst, alive, gone, repeats)
}
