package relay

import (
	"time"

	"golang.org/x/sys/unix"
)

// SystemClock is CLOCK_BOOTTIME, which unlike Go's monotonic clock does not
// stop while the machine sleeps.
func SystemClock() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		return monotonic()
	}
	return time.Duration(ts.Nano())
}
