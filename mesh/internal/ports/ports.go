// Package ports finds ports for the tests of package mesh and of those beside it.
package ports

import (
	"fmt"
	"math/rand/v2"
	"net"
	"testing"
)

// Free is an address on loopback, 127.0.0.1:port, of which nobody uses the port now, for TCP or for UDP. It is none of the
// ports that systems give to who asks for any, or to connections that leave: so who listens on it later, or again after its
// process was killed, finds it free still.
func Free(t testing.TB) string {
	t.Helper()
	for range 1000 {
		addr := fmt.Sprint("127.0.0.1:", 20000+rand.IntN(12000))
		l, err := net.Listen("tcp", addr)
		if err != nil {
			continue
		}
		_ = l.Close()
		if u, err := net.ListenPacket("udp", addr); err == nil {
			_ = u.Close()
			return addr
		}
	}
	t.Fatal("no free port")
	return ""
}
