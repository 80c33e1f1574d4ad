package mesh_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"ultrasockets/mesh"
	"ultrasockets/testdata/alone"
)

// sniff keeps every packet on every interface of this network namespace until stop is called, and counts those of gossip.
func sniff(t *testing.T, gossip *atomic.Int64) (stop func() [][]byte) {
	t.Helper()
	const everything = syscall.ETH_P_ALL>>8 | syscall.ETH_P_ALL&0xff<<8 // in the network's order
	fd, err := syscall.Socket(syscall.AF_PACKET, syscall.SOCK_RAW|syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC, everything)
	if err != nil {
		t.Skip("no capturing here: ", err)
	}
	_ = syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_RCVBUF, 16<<20) // what is granted is good enough
	socket := os.NewFile(uintptr(fd), "capture")
	var packets [][]byte
	var reader sync.WaitGroup
	reader.Go(func() {
		buf := make([]byte, 1<<17)
		for {
			n, err := socket.Read(buf)
			if err != nil {
				if !errors.Is(err, os.ErrDeadlineExceeded) {
					t.Error(err)
				}
				return
			}
			packets = append(packets, bytes.Clone(buf[:n]))
			if protocol, from, to := port(buf[:n]); protocol == syscall.IPPROTO_UDP && from != 5353 && to != 5353 {
				gossip.Add(1)
			}
		}
	})
	return sync.OnceValue(func() [][]byte {
		_ = socket.SetReadDeadline(time.Unix(1, 0))
		reader.Wait()
		_ = socket.Close()
		return packets
	})
}

// port tells what a captured packet is: of IPv4 or IPv6, UDP or TCP, and its ports.
func port(packet []byte) (protocol byte, from, to uint16) {
	const ethernet = 14
	if len(packet) < ethernet+48 {
		return 0, 0, 0
	}
	ip := packet[ethernet:]
	head := 40
	protocol = ip[6]
	if ip[0]>>4 == 4 {
		protocol, head = ip[9], int(ip[0]&15)*4
	}
	return protocol, binary.BigEndian.Uint16(ip[head:]), binary.BigEndian.Uint16(ip[head+2:])
}

// TestNothingReadableOnTheWire captures everything that two nodes that find each other by multicast DNS send on their network:
// links, gossip, and DNS, which shows that a mesh is there, its relay's address and a hash of its name, and no name.
func TestNothingReadableOnTheWire(t *testing.T) {
	parallel(t)
	if !alone.Run(t, alone.Loopback) {
		return
	}
	for _, secret := range [][]byte{nil, mesh.NewSecret()} {
		w := newWords()
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		var gossip atomic.Int64
		stop := sniff(t, &gossip)
		defer stop()
		join := func(name string) *mesh.Node {
			t.Helper()
			n, err := mesh.Join(ctx, w.config(mesh.Config{Bind: "127.0.0.1"}, name, secret))
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
		relay := join(w.relay)
		node := join(w.node)
		w.speak(t, ctx, relay, node)
		for gossip.Load() < 5 {
			select {
			case <-ctx.Done():
				t.Fatal("no gossip")
			case <-time.After(10 * time.Millisecond):
			}
		}
		for _, n := range []*mesh.Node{node, relay} {
			if err := n.Shutdown(ctx); err != nil {
				t.Fatal(err)
			}
		}
		var all, dns []byte
		count := map[string]int{}
		for _, p := range stop() {
			all = append(all, p...)
			switch protocol, from, to := port(p); {
			case protocol == syscall.IPPROTO_TCP:
				count["TCP"]++
			case protocol == syscall.IPPROTO_UDP && (from == 5353 || to == 5353):
				count["DNS"]++
				dns = append(dns, p...)
			case protocol == syscall.IPPROTO_UDP:
				count["gossip"]++
			}
		}
		t.Logf("with a secret: %v; %d bytes in packets: %v", secret != nil, len(all), fmt.Sprint(count))
		if count["TCP"] == 0 || !bytes.Contains(dns, []byte("_ultrasockets")) {
			t.Error("that is not all")
		}
		w.judge(t, all, secret != nil)
		for what, word := range w.all() {
			if bytes.Contains(dns, []byte(word)) {
				t.Errorf("DNS tells %s", what)
			}
		}
	}
}
