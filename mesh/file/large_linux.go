package file

import "syscall"

// largeFile lets files of 2 GiB and more be opened where the system's own offsets have 32 bits: os.Root, other than os.Open,
// does not say so itself.
const largeFile = syscall.O_LARGEFILE
