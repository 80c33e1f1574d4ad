//go:build unix

package relay

import (
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// direct writes to a TCP connection without ever waiting. It belongs to
// whoever has claimed the outbox.
type direct struct {
	rc     syscall.RawConn
	secure *secureConn           // what is written is encrypted first; nil: it is not
	try    func(fd uintptr) bool // made once, so that a write allocates nothing
	b      []byte
	n      int
	err    error
}

// newDirect returns nil if the connection cannot do it.
func newDirect(c net.Conn) *direct {
	tcp, ok := rawConn(c).(*net.TCPConn)
	if !ok {
		return nil
	}
	rc, err := tcp.SyscallConn()
	if err != nil {
		return nil
	}
	d := &direct{rc: rc}
	d.secure, _ = c.(*secureConn)
	d.try = func(fd uintptr) bool {
		d.n, d.err = unix.Write(int(fd), d.b)
		return true
	}
	return d
}

// write writes what the kernel takes at once, perhaps nothing. It returns how many bytes of b are done with, and how many
// others the connection owes because they are encrypted already.
func (d *direct) write(b []byte) (n, owed int) {
	if d.secure != nil {
		return len(b), d.secure.writeDirect(b, d)
	}
	return d.once(b), 0
}

// once writes what the kernel takes of b. A broken connection is left for the next ordinary write to find.
func (d *direct) once(b []byte) int {
	d.b, d.n, d.err = b, 0, nil
	err := d.rc.Write(d.try)
	d.b = nil
	if err != nil || d.err != nil || d.n < 0 {
		return 0
	}
	return d.n
}
