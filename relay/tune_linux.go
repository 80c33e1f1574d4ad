package relay

import (
	"net"
	"time"

	"golang.org/x/sys/unix"
)

// tune makes the kernel give up unacknowledged data after the given time
// instead of a quarter of an hour. It is a help, not a need: errors are ignored.
func tune(c net.Conn, dead time.Duration) {
	tcp, ok := c.(*net.TCPConn)
	if !ok {
		return
	}
	rc, err := tcp.SyscallConn()
	if err != nil {
		return
	}
	_ = rc.Control(func(fd uintptr) {
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(dead.Milliseconds()))
	})
}
