package page

import (
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

const maxScrapes = 4 // at a time

// metric is one family of metrics: a value, or several told apart by one label of few values.
type metric struct {
	name  string
	kind  prometheus.ValueType
	help  string
	value func(*Status) (v float64, known bool) // nil: by
	label string
	by    func(*Status) map[string]uint64
}

const (
	gauge   = prometheus.GaugeValue
	counter = prometheus.CounterValue
)

// always is a value that is known always.
func always[T int | int64 | uint32 | uint64](of func(*Status) T) func(*Status) (float64, bool) {
	return func(s *Status) (float64, bool) { return float64(of(s)), true }
}

// asRelay is a value that only the relay knows.
func asRelay[T int | int64 | uint64](of func(*AsRelay) T) func(*Status) (float64, bool) {
	return func(s *Status) (float64, bool) {
		if s.AsRelay == nil {
			return 0, false
		}
		return float64(of(s.AsRelay)), true
	}
}

func asRelayBy(of func(*AsRelay) map[string]uint64) func(*Status) map[string]uint64 {
	return func(s *Status) map[string]uint64 {
		if s.AsRelay == nil {
			return nil
		}
		return of(s.AsRelay)
	}
}

func measured(of func(*Status) *float64) func(*Status) (float64, bool) {
	return func(s *Status) (float64, bool) {
		v := of(s)
		if v == nil {
			return 0, false
		}
		return *v, true
	}
}

func truth(of func(*Status) bool) func(*Status) (float64, bool) {
	return func(s *Status) (float64, bool) {
		if of(s) {
			return 1, true
		}
		return 0, true
	}
}

var nodeMetrics = []metric{
	{name: "page_samples_total", kind: counter, help: "Samples taken; all other metrics are of the last one.",
		value: always(func(s *Status) uint64 { return s.Serial })},
	{name: "page_listeners", kind: gauge, help: "Pages that are kept current.",
		value: always(func(s *Status) int { return s.Listeners })},
	{name: "linked", kind: gauge, help: "Whether this node has a relay.",
		value: truth(func(s *Status) bool { return s.Linked })},
	{name: "relaying", kind: gauge, help: "Whether this node is the relay.",
		value: truth(func(s *Status) bool { return s.Self })},
	{name: "paused", kind: gauge, help: "Whether this node takes no messages for now.",
		value: truth(func(s *Status) bool { return s.Paused })},
	{name: "problems", kind: gauge, help: "Things that keep this node from finding others.",
		value: always(func(s *Status) int { return len(s.Problems) })},
	{name: "nodes", kind: gauge, help: "Nodes of the mesh, this one included, by state.",
		label: "state", by: func(s *Status) map[string]uint64 {
			return map[string]uint64{"ready": uint64(s.Nodes.Ready), "paused": uint64(s.Nodes.Paused)}
		}},
	{name: "relay_term", kind: gauge, help: "Number of the relay's reign.",
		value: always(func(s *Status) uint32 { return s.Term })},
	{name: "relay_round_trip_seconds", kind: gauge, help: "Round trip to the relay, as last measured.",
		value: measured(func(s *Status) *float64 { return s.RoundTrip })},
	{name: "handovers_total", kind: counter, help: "Times that another node became the relay.",
		value: always(func(s *Status) uint64 { return s.Handovers })},
	{name: "longest_without_relay_seconds", kind: gauge, help: "Longest time between two relays.",
		value: measured(func(s *Status) *float64 { return s.Handover })},

	{name: "messages_sent_total", kind: counter, help: "Messages queued for other nodes; best effort not counted.",
		value: always(func(s *Status) uint64 { return s.Messages.Sent })},
	{name: "messages_received_total", kind: counter, help: "Messages received from other nodes.",
		value: always(func(s *Status) uint64 { return s.Messages.Received })},
	{name: "messages_undelivered_total", kind: counter, help: "Messages given up, by reason.",
		label: "reason", by: func(s *Status) map[string]uint64 { return s.Messages.Undelivered }},

	{name: "inbox_messages", kind: gauge, help: "Messages that the application has not taken.",
		value: always(func(s *Status) int { return s.Inbox.Messages })},
	{name: "inbox_bytes", kind: gauge, help: "Bytes held in the inbox.",
		value: always(func(s *Status) int { return s.Inbox.Bytes })},
	{name: "inbox_limit_bytes", kind: gauge, help: "Bytes that the inbox may hold.",
		value: always(func(s *Status) int { return s.Inbox.Limit })},
	{name: "inbox_granted_bytes", kind: gauge, help: "Bytes that senders may send and have not.",
		value: always(func(s *Status) int { return s.Inbox.Granted })},

	{name: "queue_messages", kind: gauge, help: "Messages queued for other nodes, not acknowledged.",
		value: always(func(s *Status) int { return s.Queue.Messages })},
	{name: "queue_bytes", kind: gauge, help: "Bytes queued for other nodes, not acknowledged.",
		value: always(func(s *Status) int { return s.Queue.Bytes })},
	{name: "queue_in_flight_bytes", kind: gauge, help: "Bytes sent and not acknowledged.",
		value: always(func(s *Status) int { return s.Queue.InFlight })},
	{name: "queue_window_bytes", kind: gauge, help: "Bytes that receivers allow to be in flight.",
		value: always(func(s *Status) int { return s.Queue.Window })},

	{name: "sent_frames_total", kind: counter, help: "Frames of messages sent.",
		value: always(func(s *Status) uint64 { return s.Sent.Frames })},
	{name: "sent_frames_again_total", kind: counter, help: "Frames of messages that had been sent before.",
		value: always(func(s *Status) uint64 { return s.Sent.Resent })},
	{name: "sent_probes_total", kind: counter, help: "Frames sent because nothing was heard.",
		value: always(func(s *Status) uint64 { return s.Sent.Probes })},
	{name: "busy_answers_total", kind: counter, help: "Times that the relay had no room for a frame of this node.",
		value: always(func(s *Status) uint64 { return s.Sent.Busy })},
	{name: "reset_answers_total", kind: counter, help: "Times that a receiver asked to go back.",
		value: always(func(s *Status) uint64 { return s.Sent.Resets })},

	{name: "received_frames_total", kind: counter, help: "Frames of messages received, repeats included.",
		value: always(func(s *Status) uint64 { return s.Received.Frames })},
	{name: "received_gaps_total", kind: counter, help: "Times that a sender had given something up.",
		value: always(func(s *Status) uint64 { return s.Received.Gaps })},
	{name: "received_dropped_total", kind: counter, help: "Frames and best-effort messages dropped by this node, by reason.",
		label: "reason", by: func(s *Status) map[string]uint64 { return s.Received.Dropped }},
}

// relayMetrics are there while this node is the relay.
var relayMetrics = []metric{
	{name: "relay_links", kind: gauge, help: "Nodes linked to this relay, visitors included.",
		value: asRelay(func(r *AsRelay) int { return r.Links })},
	{name: "relay_visitors", kind: gauge, help: "Visitors linked to this relay.",
		value: asRelay(func(r *AsRelay) int { return r.Visitors })},
	{name: "relay_pending_handshakes", kind: gauge, help: "Handshakes under way.",
		value: asRelay(func(r *AsRelay) int { return r.Pending })},
	{name: "relay_outbox_bytes", kind: gauge, help: "Bytes waiting in all outboxes.",
		value: asRelay(func(r *AsRelay) int64 { return r.OutboxBytes })},
	{name: "relay_received_frames_total", kind: counter, help: "Frames that came to the relay.",
		value: asRelay(func(r *AsRelay) uint64 { return r.ReceivedFrames })},
	{name: "relay_received_bytes_total", kind: counter, help: "Bytes that came to the relay.",
		value: asRelay(func(r *AsRelay) uint64 { return r.ReceivedBytes })},
	{name: "relay_forwarded_frames_total", kind: counter, help: "Frames passed on, each copy counted.",
		value: asRelay(func(r *AsRelay) uint64 { return r.ForwardedFrames })},
	{name: "relay_forwarded_bytes_total", kind: counter, help: "Bytes passed on, each copy counted.",
		value: asRelay(func(r *AsRelay) uint64 { return r.ForwardedBytes })},
	{name: "relay_connections_total", kind: counter, help: "Connections accepted.",
		value: asRelay(func(r *AsRelay) uint64 { return r.Connections })},
	{name: "relay_admitted_total", kind: counter, help: "Nodes admitted.",
		value: asRelay(func(r *AsRelay) uint64 { return r.Admitted })},
	{name: "relay_lost_links_total", kind: counter, help: "Links that ended without a goodbye.",
		value: asRelay(func(r *AsRelay) uint64 { return r.LostLinks })},
	{name: "relay_protocol_errors_total", kind: counter, help: "Links closed because they broke the protocol.",
		value: asRelay(func(r *AsRelay) uint64 { return r.ProtocolErrors })},
	{name: "relay_slowed_total", kind: counter, help: "Pauses of links that sent too much.",
		value: asRelay(func(r *AsRelay) uint64 { return r.Slowed })},
	{name: "relay_dropped_frames_total", kind: counter, help: "Frames that went nowhere, by reason.",
		label: "reason", by: asRelayBy(func(r *AsRelay) map[string]uint64 { return r.Dropped })},
	{name: "relay_refused_nodes_total", kind: counter, help: "Nodes that were not admitted, by reason.",
		label: "reason", by: asRelayBy(func(r *AsRelay) map[string]uint64 { return r.Refused })},
	{name: "relay_turned_away_total", kind: counter, help: "Connections that came to no handshake, by reason.",
		label: "reason", by: asRelayBy(func(r *AsRelay) map[string]uint64 { return r.TurnedAway })},
}

// described is a metric with what Prometheus knows of it.
type described struct {
	metric
	desc *prometheus.Desc
}

// collector gives the last sample to Prometheus.
type collector struct {
	book *book
	list []described
	info *prometheus.Desc
}

func newCollector(b *book) *collector {
	c := &collector{book: b}
	c.info = prometheus.NewDesc("ultrasockets_node_info", "The name of this node and of its mesh.", []string{"node", "mesh"}, nil)
	for _, m := range append(append([]metric(nil), nodeMetrics...), relayMetrics...) {
		var labels []string
		if m.label != "" {
			labels = []string{m.label}
		}
		c.list = append(c.list, described{m, prometheus.NewDesc("ultrasockets_"+m.name, m.help, labels, nil)})
	}
	return c
}

// Describe implements prometheus.Collector.
func (c *collector) Describe(out chan<- *prometheus.Desc) {
	out <- c.info
	for _, d := range c.list {
		out <- d.desc
	}
}

// Collect implements prometheus.Collector.
func (c *collector) Collect(out chan<- prometheus.Metric) {
	s := c.book.read().Status
	out <- prometheus.MustNewConstMetric(c.info, gauge, 1, s.Node, s.Mesh)
	for _, d := range c.list {
		if d.by != nil {
			for value, n := range d.by(&s) {
				out <- prometheus.MustNewConstMetric(d.desc, d.kind, float64(n), value)
			}
			continue
		}
		if v, known := d.value(&s); known {
			out <- prometheus.MustNewConstMetric(d.desc, d.kind, v)
		}
	}
}

// metrics answers /metrics.
func (p *Page) metrics() http.Handler {
	return promhttp.HandlerFor(newRegistry(p.book), promhttp.HandlerOpts{MaxRequestsInFlight: maxScrapes})
}

// newRegistry has the metrics of the node, of the process and of Go's runtime.
func newRegistry(b *book) *prometheus.Registry {
	r := prometheus.NewRegistry()
	process := collectors.NewProcessCollector(collectors.ProcessCollectorOpts{})
	r.MustRegister(newCollector(b), collectors.NewGoCollector(), process)
	return r
}
