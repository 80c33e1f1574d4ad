//go:build !unix && !windows

package load

import "runtime/metrics"

// cpuSeconds is what Go itself says of its CPU time, as of its last collection.
func cpuSeconds() float64 {
	const total, idle = "/cpu/classes/total:cpu-seconds", "/cpu/classes/idle:cpu-seconds"
	samples := []metrics.Sample{{Name: total}, {Name: idle}}
	metrics.Read(samples)
	if samples[0].Value.Kind() != metrics.KindFloat64 || samples[1].Value.Kind() != metrics.KindFloat64 {
		return 0
	}
	return samples[0].Value.Float64() - samples[1].Value.Float64()
}
