package mesh_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"ultrasockets/mesh"
	"ultrasockets/mesh/meshtest"
)

// What somebody on the network reads of a mesh, with a secret and without.

// words are what may not be read: each is random, so that it is found nowhere by chance.
type words struct{ text, long, value, request, relay, node, group, tag, mesh string }

func newWords() words {
	word := func() string { b := make([]byte, 8); rand.Read(b); return "w" + hex.EncodeToString(b) }
	return words{word(), word(), word(), word(), word(), word(), word(), word(), word()}
}

func (w words) all() map[string]string {
	return map[string]string{
		"a text": w.text, "a long message": w.long, "a value": w.value, "a request": w.request, "the relay's name": w.relay, "a node's name": w.node,
		"a group": w.group, "a tag": w.tag, "the name of the mesh": w.mesh,
	}
}

// config is that of a node of which the words may be read.
func (w words) config(cfg mesh.Config, name string, secret []byte) mesh.Config {
	cfg.Name, cfg.Mesh, cfg.Secret = name, w.mesh, secret
	cfg.Groups, cfg.Tags = []string{w.group}, map[string]string{"kind": w.tag}
	return cfg
}

// speak lets two nodes say all the words to each other.
func (w words) speak(t *testing.T, ctx context.Context, relay, node *mesh.Node) {
	t.Helper()
	relay.Handle(func(_ context.Context, m mesh.Message) (any, error) { return "re " + m.Text(), nil })
	if err := node.WaitFor(ctx, w.relay, w.node); err != nil {
		t.Fatal(err)
	}
	for range 20 {
		if err := node.Deliver(ctx, w.relay, w.text); err != nil {
			t.Fatal(err)
		}
		if err := relay.Deliver(ctx, w.node, map[string]any{"key": w.value, "list": []int{1, 2, 3}}); err != nil {
			t.Fatal(err)
		}
		if err := node.Send(ctx, mesh.ToGroup(w.group), w.text, mesh.BestEffort()); err != nil {
			t.Fatal(err)
		}
	}
	noise := make([]byte, 40_000) // so that it stays long when it is packed
	rand.Read(noise)
	long := append(append(noise, w.long...), noise...)
	if err := errors.Join(node.Deliver(ctx, w.relay, long), relay.Deliver(ctx, w.node, long)); err != nil {
		t.Fatal(err)
	}
	if m, err := node.Request(ctx, w.relay, w.request); err != nil || m.Text() != "re "+w.request {
		t.Fatal(m.Text(), err)
	}
	if err := node.Flush(ctx); err != nil {
		t.Fatal(err)
	}
}

// judge checks which words stand in what was captured.
func (w words) judge(t *testing.T, captured []byte, secret bool) {
	t.Helper()
	for what, word := range w.all() {
		n := 0
		for _, form := range []string{word, strings.ToUpper(word), hex.EncodeToString([]byte(word))} {
			n += bytes.Count(captured, []byte(form))
		}
		if secret && n > 0 {
			t.Errorf("%s is readable %d times", what, n)
		} else if !secret && n == 0 {
			t.Errorf("%s is not found, so the capture shows nothing", what)
		}
	}
}

// tap is a network that keeps all that travels.
type tap struct {
	mesh.Network
	of *capture
}

type capture struct {
	mu            sync.Mutex
	links, gossip []byte // packets, and streams in the order in which they were written and read
	packets       int
}

func (c *capture) link(b []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.links = append(c.links, b...)
}

func (c *capture) packet(b []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.gossip = append(c.gossip, b...)
	c.packets++
}

func (n tap) Listen(ctx context.Context, network, addr string) (net.Listener, error) {
	l, err := n.Network.Listen(ctx, network, addr)
	return tapListener{l, n.of}, err
}

func (n tap) ListenPacket(ctx context.Context, network, addr string) (net.PacketConn, error) {
	c, err := n.Network.ListenPacket(ctx, network, addr)
	return tapPackets{c, n.of}, err
}

type tapListener struct {
	net.Listener
	of *capture
}

func (l tapListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	// Both directions pass here, each in its order.
	return &tapConn{Conn: c, of: l.of}, nil
}

type tapConn struct {
	net.Conn
	of *capture
}

func (c *tapConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.of.link(b[:n])
	return n, err
}

func (c *tapConn) Write(b []byte) (int, error) {
	c.of.link(b)
	return c.Conn.Write(b)
}

type tapPackets struct {
	net.PacketConn
	of *capture
}

func (p tapPackets) ReadFrom(b []byte) (int, net.Addr, error) {
	n, from, err := p.PacketConn.ReadFrom(b)
	p.of.packet(b[:n])
	return n, from, err
}

// TestNothingReadable taps all links and all gossip of a mesh. With a secret neither what is said can be read nor who is
// there; without one everything can.
func TestNothingReadable(t *testing.T) {
	for _, secret := range [][]byte{nil, mesh.NewSecret()} {
		t.Run(fmt.Sprint("secret=", secret != nil), func(t *testing.T) {
			parallel(t)
			w, c := newWords(), &capture{}
			ctx := within(t, 20*time.Second)
			m := meshtest.NewWith(t, func(cfg *mesh.Config) {
				*cfg = w.config(*cfg, cfg.Name, secret)
				cfg.Network = tap{cfg.Network, c}
			}, w.relay, w.node)
			w.speak(t, ctx, m.Node(w.relay), m.Node(w.node))
			for { // until gossip has told the names
				c.mu.Lock()
				n, names := c.packets, bytes.Contains(c.gossip, []byte(w.node))
				c.mu.Unlock()
				if n > 15 && (names || secret != nil) {
					break
				}
				select {
				case <-ctx.Done():
					t.Fatalf("%d packets of gossip", n)
				case <-time.After(10 * time.Millisecond):
				}
			}
			c.mu.Lock()
			defer c.mu.Unlock()
			t.Logf("%d bytes of links and streams, %d packets with %d bytes of gossip", len(c.links), c.packets, len(c.gossip))
			w.judge(t, append(c.links, c.gossip...), secret != nil)
		})
	}
}
