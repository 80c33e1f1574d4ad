package page

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"ultrasockets/mesh"
	"ultrasockets/mesh/meshtest"
)

// shown is every number that the page has of its own: where it is in /api/status, and in /metrics.
func shown(t *testing.T) (api, metric []string) {
	t.Helper()
	html, err := assets.ReadFile("assets/index.html")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`data-api="([^"]*)"(?: data-metric=(?:"([^"]*)"|'([^']*)'))?`).FindAllStringSubmatch(string(html), -1) {
		api, metric = append(api, m[1]), append(metric, m[2]+m[3])
	}
	if len(api) < 60 {
		t.Fatalf("only %d numbers on the page", len(api))
	}
	return api, metric
}

// field is a field of a JSON object, by its path.
func field(object any, path string) (any, bool) {
	for key := range strings.SplitSeq(path, ".") {
		m, ok := object.(map[string]any)
		if !ok {
			return nil, object == nil // part of what is null
		}
		if object, ok = m[key]; !ok {
			return nil, false
		}
	}
	return object, true
}

// scraped are the samples of /metrics, by name and labels as Prometheus writes them.
func scraped(t *testing.T, text string) map[string]float64 {
	t.Helper()
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	out := make(map[string]float64)
	for name, f := range families {
		for _, m := range f.GetMetric() {
			labels := ""
			for _, l := range m.GetLabel() {
				labels += fmt.Sprintf(",%s=%q", l.GetName(), l.GetValue())
			}
			if labels != "" {
				labels = "{" + labels[1:] + "}"
			}
			out[name+labels] = m.GetGauge().GetValue() + m.GetCounter().GetValue()
		}
	}
	return out
}

// Every number on the page, /api/ and /metrics are the same, and what was done.
func TestNumbersAgree(t *testing.T) {
	m := meshtest.New(t, "a", "b", "c")
	for range 3 {
		if err := m.Node("b").Deliver(t.Context(), "a", "12345"); err != nil {
			t.Fatal(err)
		}
	}
	if err := m.Node("a").Deliver(t.Context(), "c", "x"); err != nil {
		t.Fatal(err)
	}
	if err := m.Node("a").Send(t.Context(), "nobody", "x"); err != nil {
		t.Fatal(err)
	}
	if err := m.Node("c").Pause(); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"a", "b"} {
		c := serve(t, m.Node(name), Options{Interval: 50 * time.Millisecond})
		c.until("c paused", func() bool { return read[Status](c, "/api/status").Nodes.Paused == 1 })
		checkNumbers(t, c)
	}
	c := serve(t, m.Node("a"), Options{})
	s := read[Status](c, "/api/status")
	if s.Messages.Received != 3 || s.Messages.Sent != 2 || s.Inbox.Messages != 3 || s.Inbox.Bytes != 3*(96+6) || s.Queue.Messages != 1 ||
		s.Nodes.Ready != 2 || s.AsRelay.Links != 2 || s.AsRelay.Dropped["absent"] == 0 {
		t.Errorf("%+v %+v", s, s.AsRelay)
	}
}

// checkNumbers compares all numbers of one sample.
func checkNumbers(t *testing.T, c *client) {
	t.Helper()
	var status map[string]any
	var metrics map[string]float64
	c.until("one sample twice", func() bool {
		text := c.get("/api/status")
		status = nil
		if err := json.Unmarshal([]byte(text), &status); err != nil {
			t.Fatal(err)
		}
		metrics = scraped(t, c.get("/metrics"))
		return metrics["ultrasockets_page_samples_total"] == status["serial"]
	})
	api, metric := shown(t)
	unseen := maps.Clone(metrics)
	maps.DeleteFunc(unseen, func(name string, _ float64) bool { return !strings.HasPrefix(name, "ultrasockets_") })
	for i, path := range api {
		value, ok := field(status, path)
		if !ok {
			t.Errorf("the page shows %s, which /api/status does not have", path)
		}
		number, isNumber := value.(float64)
		if metric[i] == "" {
			if isNumber && !strings.HasPrefix(path, "rates.") { // Prometheus counts rates itself
				t.Errorf("%s has no metric", path)
			}
			continue
		}
		delete(unseen, metric[i])
		got, scraped := metrics[metric[i]]
		if isNumber != scraped || math.Abs(got-number) > 0 {
			t.Errorf("%s is %v, %s is %v", path, value, metric[i], got)
		}
	}
	// These the page says in words.
	for _, name := range []string{"ultrasockets_linked", "ultrasockets_relaying", "ultrasockets_paused", "ultrasockets_problems"} {
		delete(unseen, name)
	}
	maps.DeleteFunc(unseen, func(name string, _ float64) bool {
		return strings.HasPrefix(name, "ultrasockets_node_info{") || name == `ultrasockets_relay_refused_nodes_total{reason="other"}`
	})
	if len(unseen) > 0 {
		t.Errorf("the page does not show %q", slices.Sorted(maps.Keys(unseen)))
	}
}

func TestMetricsFollowTheConventions(t *testing.T) {
	m := meshtest.New(t, "a", "b")
	c := serve(t, m.Node("a"), Options{})
	registry := newRegistry(c.page.book)
	problems, err := testutil.GatherAndLint(registry)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	count := 0
	for _, f := range families {
		if !strings.HasPrefix(f.GetName(), "ultrasockets_") {
			continue
		}
		count++
		for _, one := range f.GetMetric() {
			for _, l := range one.GetLabel() {
				// Names that others choose are no label: only this node's own is.
				known := l.GetName() == "reason" || l.GetName() == "state" || f.GetName() == "ultrasockets_node_info"
				if !known || l.GetValue() == "b" {
					t.Errorf("%s has the label %s=%q", f.GetName(), l.GetName(), l.GetValue())
				}
			}
		}
	}
	if count < 40 {
		t.Errorf("only %d metrics", count)
	}
}

func TestReignsAndReasons(t *testing.T) {
	b := newBook(0)
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	event := func(after time.Duration, e mesh.Event) {
		at = at.Add(after)
		e.Time = at
		b.event(e)
	}
	event(0, mesh.Event{Kind: mesh.EventLinked, Name: "a"})
	for i := range 100 {
		event(time.Second, mesh.Event{Kind: mesh.EventUnlinked, Name: "a", Reason: "it died"})
		event(time.Duration(i)*time.Millisecond, mesh.Event{Kind: mesh.EventLinked, Name: []string{"a", "b"}[(i+1)%2], Self: i%2 == 0})
	}
	event(0, mesh.Event{Kind: mesh.EventUndelivered, Name: "x", Count: 3, Err: &mesh.UndeliveredError{Reason: mesh.ErrExpired}})
	event(0, mesh.Event{Kind: mesh.EventUndelivered, Name: "x", Count: 2, Err: fmt.Errorf("something else")})
	for range 1000 {
		b.sample(at, Status{Relay: "a", Term: 7}, Nodes{}, Streams{}, true)
	}
	w := b.read()
	last := w.Reigns[len(w.Reigns)-1]
	if len(w.Reigns) != reignsKept || last.Relay != "a" || last.Self || last.Until != nil || *last.Gap != 0.099 || last.Term != 7 {
		t.Errorf("%d reigns, the last: %+v", len(w.Reigns), last)
	}
	if before := w.Reigns[len(w.Reigns)-2]; before.Relay != "b" || !before.Self || before.Reason != "it died" || before.Until.Sub(before.Since) != time.Second {
		t.Errorf("the one before: %+v", before)
	}
	if w.Status.Handovers != 100 || *w.Status.Handover != 0.099 {
		t.Errorf("%+v", w.Status)
	}
	if u := w.Status.Messages.Undelivered; u["expired"] != 3 || u[reasonOther] != 2 || u["closed"] != 0 {
		t.Error(u)
	}
	if len(w.Log) != eventsKept || w.Log[len(w.Log)-1].ID != 203 || len(w.History) != historyKept {
		t.Error(len(w.Log), w.Log[len(w.Log)-1], len(w.History))
	}
}

func TestRates(t *testing.T) {
	b := newBook(400 * time.Millisecond)
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	sample := func(sent uint64, forwarded int, rate bool) Rates {
		s := Status{Messages: Messages{Sent: sent}}
		if forwarded >= 0 {
			s.AsRelay = &AsRelay{ForwardedFrames: uint64(forwarded)}
		}
		at = at.Add(500 * time.Millisecond)
		b.sample(at, s, Nodes{}, Streams{}, rate)
		return b.read().Status.Rates
	}
	sample(100, -1, true)
	if r := sample(200, -1, true); r.Sent != 200 || r.Forwarded != nil {
		t.Errorf("%+v", r)
	}
	at = at.Add(-499 * time.Millisecond) // two samples at once
	if r := sample(1200, -1, true); r.Sent != 200 || len(b.read().History) != 2 {
		t.Errorf("a rate of a millisecond: %+v", r)
	}
	at = at.Add(-time.Millisecond)
	if r := sample(300, -1, false); r.Sent != 200 {
		t.Errorf("a sample between changed the rate: %+v", r)
	}
	if r := sample(300, 50, true); r.Sent != 100 || *r.Forwarded != 0 {
		t.Errorf("%+v", r) // what was passed on before is of no reign that was seen
	}
	if r := sample(0, 100, true); r.Sent != 0 || *r.Forwarded != 100 {
		t.Errorf("%+v", r)
	}
	if r := sample(0, -1, false); r.Forwarded != nil {
		t.Errorf("%+v", r)
	}
}
