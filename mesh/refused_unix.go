//go:build unix

package mesh

import (
	"errors"
	"syscall"
)

// isRefused tells whether a dial failed because nothing listens at that port: its host is alive and the relay is not.
func isRefused(err error) bool { return errors.Is(err, syscall.ECONNREFUSED) }
