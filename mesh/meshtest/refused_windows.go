package meshtest

import "syscall"

// errRefused is what a dial says when nothing listens: WSAECONNREFUSED.
var errRefused error = syscall.Errno(10061)
