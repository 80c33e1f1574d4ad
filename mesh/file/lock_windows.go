package file

import (
	"os"

	"golang.org/x/sys/windows"
)

// lock takes the file for this opening of it alone, until it is closed; it fails at once if another has it. What is locked
// is a byte far behind all content, for others are to read it.
func lock(f *os.File) error {
	at := windows.Overlapped{OffsetHigh: 1 << 30}
	return windows.LockFileEx(windows.Handle(f.Fd()), windows.LOCKFILE_EXCLUSIVE_LOCK|windows.LOCKFILE_FAIL_IMMEDIATELY, 0, 1, 0, &at)
}
