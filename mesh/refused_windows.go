package mesh

import (
	"errors"
	"syscall"
)

const wsaECONNREFUSED = syscall.Errno(10061)

// isRefused tells whether a dial failed because nothing listens at that port: its host is alive and the relay is not.
func isRefused(err error) bool { return errors.Is(err, wsaECONNREFUSED) }
