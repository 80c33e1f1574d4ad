package load

import (
	"fmt"
	"regexp"
	"strconv"
)

// Work is a workload: who sends what to whom. As JSON it is what other programs are told to run (see [Serve]).
type Work struct {
	Name      string `json:"name"`
	What      string `json:"what"`                // for people
	Senders   int    `json:"senders"`             // clients that send
	Receivers int    `json:"receivers"`           // clients that receive: 1 for all, as many as senders (pairs), or several for one, in turn
	Size      int    `json:"size"`                // bytes of a message, at least HeaderSize
	Telemetry bool   `json:"telemetry,omitempty"` // text like that of sensors, which can be compressed; else random bytes
	Asks      int    `json:"asks,omitempty"`      // so many callers in the first sender wait for an answer each; 0: nobody does
	Handled   bool   `json:"handled,omitempty"`   // the answer comes from the receiver's program, where a way makes a difference there
	Window    bool   `json:"window,omitempty"`    // one caller, with so many messages outstanding, in place of many; implies Handled
	Beside    int    `json:"beside,omitempty"`    // messages a second of each other sender, beside the one that asks
	Each      bool   `json:"each,omitempty"`      // each message with a call of its own, where a way has one for many
	Secret    bool   `json:"secret,omitempty"`    // encrypted
	Plain     bool   `json:"plain,omitempty"`     // without compression
	Counted   bool   `json:"counted,omitempty"`   // bytes on the wire are counted, whatever that costs
	Links     int    `json:"links,omitempty"`     // so many links, and nothing is sent
}

// Works are all workloads. The one with Links takes their number from whoever runs it.
var Works = []Work{
	{Name: "1to1-16", What: "one sender, one receiver, 16 B", Senders: 1, Receivers: 1, Size: 16},
	{Name: "1to1-128", What: "one sender, one receiver, 128 B", Senders: 1, Receivers: 1, Size: 128},
	{Name: "each-128", What: "1to1-128 with a call for each message (Send and Messages, not SendBatch and Batches)", Senders: 1, Receivers: 1, Size: 128, Each: true},
	{Name: "1to1-1k", What: "one sender, one receiver, 1 KiB", Senders: 1, Receivers: 1, Size: 1 << 10},
	{Name: "1to1-64k", What: "one sender, one receiver, 64 KiB", Senders: 1, Receivers: 1, Size: 64 << 10},
	{Name: "8pairs-128", What: "eight senders, each to a receiver of its own, 128 B", Senders: 8, Receivers: 8, Size: 128},
	{Name: "16to1-128", What: "sixteen senders to one receiver, 128 B", Senders: 16, Receivers: 1, Size: 128},
	{Name: "1to8-128", What: "one sender to eight receivers in turn, 128 B", Senders: 1, Receivers: 8, Size: 128},
	{Name: "answered-128", What: "256 callers, each with 128 B to be answered (Deliver; others: by 16 B)", Senders: 1, Receivers: 1, Size: 128, Asks: 256},
	{Name: "window-128", What: "one caller, 256 messages of 128 B outstanding, each answered by a message of 16 B", Senders: 1, Receivers: 1, Size: 128, Asks: 256, Window: true},
	{Name: "rtt", What: "round trips of 128 B one at a time (Deliver; others: answered by 16 B)", Senders: 1, Receivers: 1, Size: 128, Asks: 1},
	{Name: "rtt-request", What: "round trips of 128 B one at a time, answered with 16 B by the receiving program (Request)", Senders: 1, Receivers: 1, Size: 128, Asks: 1, Handled: true},
	{Name: "rtt-busy", What: "rtt beside 100,000 messages of 128 B a second of another pair", Senders: 2, Receivers: 2, Size: 128, Asks: 1, Beside: 100_000},
	{Name: "idle", What: "memory and CPU of links on which nothing is sent", Links: 1000},
	{Name: "telemetry-1k", What: "one sender, one receiver, 1 KiB of readings as text", Senders: 1, Receivers: 1, Size: 1 << 10, Telemetry: true},
	{Name: "secret-1k", What: "1to1-1k with a secret", Senders: 1, Receivers: 1, Size: 1 << 10, Secret: true},
	{Name: "secret-64k", What: "1to1-64k with a secret", Senders: 1, Receivers: 1, Size: 64 << 10, Secret: true},
	{Name: "secret-rtt", What: "rtt with a secret", Senders: 1, Receivers: 1, Size: 128, Asks: 1, Secret: true},
}

// Bounds of what Find makes.
const (
	maxClients = 500
	maxSize    = 1 << 20
)

var pattern = regexp.MustCompile(`^(?:([0-9]{1,7})to([0-9]{1,7})|([0-9]{1,7})pairs)-([0-9]{1,7})([km]?)$`)

// Find gives the workload of that name: one of Works, or one like them with other numbers, such as 64to1-1k, 1to100-16 or
// 100pairs-4k.
func Find(name string) (Work, bool) {
	for _, w := range Works {
		if w.Name == name {
			return w, true
		}
	}
	part := pattern.FindStringSubmatch(name)
	if part == nil {
		return Work{}, false
	}
	number := func(i int) int {
		n, _ := strconv.Atoi(part[i]) // few digits; 0 of what is not there
		return n
	}
	w := Work{Name: name, Senders: number(1), Receivers: number(2), Size: number(4)}
	if part[3] != "" {
		w.Senders, w.Receivers = number(3), number(3)
	}
	w.Size *= map[string]int{"": 1, "k": 1 << 10, "m": 1 << 20}[part[5]]
	w.What = fmt.Sprintf("senders: %d, receivers: %d, %d B", w.Senders, w.Receivers, w.Size)
	ok := w.Senders >= 1 && w.Receivers >= 1 && max(w.Senders, w.Receivers) <= maxClients && w.Size >= HeaderSize && w.Size <= maxSize
	return w, ok && (w.Senders == 1 || w.Receivers == 1 || w.Senders == w.Receivers)
}

// Targets are the receivers of a sender's messages, in turn.
func (w Work) Targets(sender int) []int {
	switch {
	case w.Receivers == 1:
		return []int{0}
	case w.Senders == 1:
		all := make([]int, w.Receivers)
		for i := range all {
			all[i] = i
		}
		return all
	}
	return []int{sender}
}

// Streams are the senders that only send: all, but for the one that asks.
func (w Work) Streams() []int {
	var all []int
	for i := range w.Senders {
		if i > 0 || w.Asks == 0 {
			all = append(all, i)
		}
	}
	return all
}

// Callers is how many callers a workload has, and how many messages each has outstanding.
func (w Work) Callers() (n, outstanding int) {
	if w.Window {
		return 1, w.Asks
	}
	return w.Asks, 1
}

// Base is the same workload without what is special about it, to compare with, and a word for that; "": there is none.
func (w Work) Base() (Work, string) {
	switch {
	case w.Secret:
		w.Secret = false
		return w, "open"
	case w.Each:
		w.Each = false
		return w, "batched"
	case w.Telemetry && !w.Plain:
		w.Plain = true
		return w, "plain"
	}
	return w, ""
}
