package load

import (
	"time"

	"golang.org/x/sys/windows"
)

// cpuSeconds is the CPU time of this process, user and system.
func cpuSeconds() float64 {
	var created, exited, kernel, user windows.Filetime
	if err := windows.GetProcessTimes(windows.CurrentProcess(), &created, &exited, &kernel, &user); err != nil {
		return 0
	}
	return (ticks(kernel) + ticks(user)).Seconds()
}

// ticks is a length of time, which Windows counts in 100 ns.
func ticks(f windows.Filetime) time.Duration {
	return time.Duration(uint64(f.HighDateTime)<<32|uint64(f.LowDateTime)) * 100
}
