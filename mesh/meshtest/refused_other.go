//go:build !windows

package meshtest

import "syscall"

// errRefused is what a dial says when nothing listens.
var errRefused error = syscall.ECONNREFUSED
