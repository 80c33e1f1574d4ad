package load

import (
	"slices"
	"time"
)

// Measure is what one round gives, or several together (see Median). Counts of messages are of the whole round; those of
// several are added up.
type Measure struct {
	Seconds  float64 `json:"seconds"`
	Messages uint64  `json:"messages"`         // what the workload is about: answered ones, if somebody asks
	Bytes    uint64  `json:"bytes"`            // of their payloads
	Beside   uint64  `json:"beside,omitempty"` // other messages, beside the answered ones

	Sent       uint64 `json:"sent"` // all
	Got        uint64 `json:"got"`
	Lost       uint64 `json:"lost"`
	Repeated   uint64 `json:"repeated"`
	Disordered uint64 `json:"out_of_order"`
	Damaged    uint64 `json:"damaged"` // not as it was sent, or of another round

	// Round trips, in microseconds; 0 where there are none.
	P50 float64 `json:"p50_us,omitempty"`
	P90 float64 `json:"p90_us,omitempty"`
	P99 float64 `json:"p99_us,omitempty"`
	Max float64 `json:"max_us,omitempty"`

	Relay  *Spent `json:"relay,omitempty"` // by the process in between; nil: not known
	Driver Spent  `json:"driver"`          // by all clients together, and by what drives them
	Wire   uint64 `json:"wire,omitempty"`  // bytes that clients wrote and read, where they are counted
	Idle   *Idle  `json:"idle,omitempty"`
}

// Spent is what a process spent in a round.
type Spent struct {
	CPU    float64 `json:"cpu_seconds"`
	Allocs uint64  `json:"allocs"`
	RSS    uint64  `json:"rss"` // after it, in bytes; 0: not known
}

// Idle is what links cost on which nothing is sent.
type Idle struct {
	Links       int     `json:"links"`
	RSSPerLink  float64 `json:"rss_per_link"`  // bytes of the process in between, when it has given back what it does not need
	RawPerLink  float64 `json:"raw_per_link"`  // the same before that
	HeapPerLink float64 `json:"heap_per_link"` // of that, objects and stacks of Go
	CPU         float64 `json:"cpu"`           // of the process in between, in cores
}

// Wrong is how many messages did not arrive once, in order and as they were sent.
func (m Measure) Wrong() uint64 { return m.Lost + m.Repeated + m.Disordered + m.Damaged }

// PerSecond is messages a second.
func (m Measure) PerSecond() float64 {
	if m.Seconds == 0 {
		return 0
	}
	return float64(m.Messages) / m.Seconds
}

// MiBPerSecond is payload a second.
func (m Measure) MiBPerSecond() float64 {
	if m.Seconds == 0 {
		return 0
	}
	return float64(m.Bytes) / m.Seconds / (1 << 20)
}

// PerMillion is CPU seconds per million messages of all that passed.
func (m Measure) PerMillion(s Spent) float64 {
	if m.Got == 0 {
		return 0
	}
	return s.CPU / float64(m.Got) * 1e6
}

// PerMessage is allocations per message of all that passed.
func (m Measure) PerMessage(s Spent) float64 {
	if m.Got == 0 {
		return 0
	}
	return float64(s.Allocs) / float64(m.Got)
}

// WirePerMessage is bytes on the wire per message and hop, of which each message has two: whatever else they say
// to each other counts too.
func (m Measure) WirePerMessage() float64 {
	if m.Got == 0 {
		return 0
	}
	return float64(m.Wire) / 2 / float64(m.Got)
}

func (m *Measure) spent(before, after usages) {
	m.Driver = spentBetween(before.driver, after.driver)
	if before.between != nil {
		s := spentBetween(*before.between, *after.between)
		m.Relay = &s
	}
}

func spentBetween(before, after Usage) Spent {
	return Spent{CPU: after.CPU - before.CPU, Allocs: after.Allocs - before.Allocs, RSS: after.RSS}
}

// percentiles sorts times and gives the 50th, 90th and 99th, and the longest, in microseconds.
func percentiles(times []time.Duration) (p50, p90, p99, most float64) {
	if len(times) == 0 {
		return
	}
	slices.Sort(times)
	at := func(p float64) float64 {
		return float64(times[min(len(times)-1, int(p*float64(len(times))))]) / 1e3
	}
	return at(0.5), at(0.9), at(0.99), at(1)
}

// Median is the middle of a list, or the mean of the two in the middle; 0 of none. It sorts the list.
func Median(list []float64) float64 {
	if len(list) == 0 {
		return 0
	}
	slices.Sort(list)
	n := len(list)
	return (list[(n-1)/2] + list[n/2]) / 2
}

// MedianOf is the median of a figure over rounds.
func MedianOf(rounds []Measure, figure func(Measure) float64) float64 {
	list := make([]float64, 0, len(rounds))
	for _, m := range rounds {
		list = append(list, figure(m))
	}
	return Median(list)
}

// MedianRatio is the median of the ratios of two sides, round by round: noise that hits both at a time cancels out. 0 if the
// figure is missing.
func MedianRatio(ours, theirs []Measure, figure func(Measure) float64) float64 {
	var list []float64
	for i := range min(len(ours), len(theirs)) {
		if a, b := figure(ours[i]), figure(theirs[i]); a > 0 && b > 0 {
			list = append(list, a/b)
		}
	}
	return Median(list)
}
