package meshtest

import (
	"errors"
	"io"
	"net"
	"sync"
	"syscall"
)

// splice carries bytes between the far end of two pipes and a real connection, until both directions have ended.
func splice(far *conn, real net.Conn) {
	var back sync.WaitGroup
	back.Go(func() { carry(far, real) })
	carry(real, far)
	back.Wait()
	far.Close()
	real.Close()
}

// carry carries one direction. Its end is passed on as what it was: in order, or a reset of both.
func carry(to, from net.Conn) {
	buf := make([]byte, pipeBytes)
	for {
		n, err := from.Read(buf)
		if n > 0 {
			if _, failed := to.Write(buf[:n]); failed != nil {
				abort(from) // nobody reads this any more
				return
			}
		}
		switch {
		case err == nil:
			continue
		case errors.Is(err, io.EOF):
			if c, ok := to.(interface{ CloseWrite() error }); ok && c.CloseWrite() == nil {
				return
			}
			abort(to)
		case errors.Is(err, net.ErrClosed):
			to.Close()
		case errors.Is(err, syscall.ECONNRESET):
			abort(to)
		default:
			to.Close()
		}
		return
	}
}

// abort ends a connection with a reset.
func abort(c net.Conn) {
	switch c := c.(type) {
	case *conn:
		c.reset()
	case *net.TCPConn:
		_ = c.SetLinger(0)
		c.Close()
	}
}
