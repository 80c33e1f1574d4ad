//go:build !linux

package relay

import "time"

// SystemClock is Go's monotonic clock. On Windows and macOS it goes on in some
// kinds of sleep and not in others; where it does not, a sleep is noticed by
// the dead link instead.
func SystemClock() time.Duration { return monotonic() }
