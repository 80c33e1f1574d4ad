package relay

import "golang.org/x/sys/unix"

// yield lets other threads that want to run have this one's processor. Go's own scheduler, which runtime.Gosched calls, would
// first run what it knows of, and look at the network last. (Not a raw system call: others may run here meanwhile.)
func yield() { _, _, _ = unix.Syscall(unix.SYS_SCHED_YIELD, 0, 0, 0) } // it cannot fail
