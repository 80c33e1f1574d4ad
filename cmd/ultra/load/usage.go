package load

import (
	"bytes"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"strconv"
)

// Usage is what a process has used until now.
type Usage struct {
	CPU    float64 `json:"cpu_seconds"` // user and system
	RSS    uint64  `json:"rss"`         // bytes of memory now
	Heap   uint64  `json:"heap"`        // bytes of Go's live objects, as far as collected, and its stacks
	Allocs uint64  `json:"allocs"`      // objects allocated
}

const (
	metricObjects  = "/memory/classes/heap/objects:bytes"
	metricStacks   = "/memory/classes/heap/stacks:bytes"
	metricTotal    = "/memory/classes/total:bytes"
	metricReleased = "/memory/classes/heap/released:bytes"
	metricAllocs   = "/gc/heap/allocs:objects"
	metricTiny     = "/gc/heap/tiny/allocs:objects"
)

// Used is what this process has used; settled: after a collection, and when it has given back to the system what memory
// it does not need.
func Used(settled bool) Usage {
	if settled {
		runtime.GC() // what lies in a sync.Pool goes with the second collection
		debug.FreeOSMemory()
	}
	names := []string{metricObjects, metricStacks, metricTotal, metricReleased, metricAllocs, metricTiny}
	samples := make([]metrics.Sample, len(names))
	for i, name := range names {
		samples[i].Name = name
	}
	metrics.Read(samples)
	value := make(map[string]uint64, len(names))
	for _, s := range samples {
		if s.Value.Kind() == metrics.KindUint64 {
			value[s.Name] = s.Value.Uint64()
		}
	}
	u := Usage{
		CPU: cpuSeconds(), RSS: value[metricTotal] - value[metricReleased],
		Heap: value[metricObjects] + value[metricStacks], Allocs: value[metricAllocs] + value[metricTiny],
	}
	if rss, ok := linuxRSS(); ok {
		u.RSS = rss
	}
	return u
}

// linuxRSS reads what Linux says of this process; elsewhere there is no such file, and what Go has from the system must do.
func linuxRSS() (uint64, bool) {
	text, err := os.ReadFile("/proc/self/smaps_rollup") // exact, other than statm
	if err != nil {
		return 0, false
	}
	for line := range bytes.Lines(text) {
		if rest, ok := bytes.CutPrefix(line, []byte("Rss:")); ok {
			fields := bytes.Fields(rest)
			if len(fields) == 2 && string(fields[1]) == "kB" {
				kib, err := strconv.ParseUint(string(fields[0]), 10, 64)
				return kib << 10, err == nil
			}
		}
	}
	return 0, false
}
