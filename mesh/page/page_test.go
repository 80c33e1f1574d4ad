package page

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"ultrasockets/mesh"
	"ultrasockets/mesh/meshtest"
)

// paths is everything that answers GET.
func paths() []string {
	list := []string{"/api/events", "/metrics", "/healthz", "/api/", "/api/status", "/api/nodes", "/api/streams", "/api/log", "/api/reigns", "/api/history"}
	for path := range files {
		list = append(list, strings.TrimSuffix(path, "{$}"))
	}
	return list
}

func TestFiles(t *testing.T) {
	_, c := serveMesh(t, "a")
	for path, f := range files {
		path = strings.TrimSuffix(path, "{$}")
		res, text := c.do("GET", path, "")
		if res.StatusCode != http.StatusOK || res.Header.Get("Content-Type") != f.kind || text == "" {
			t.Errorf("%s: %s %v", path, res.Status, res.Header)
		}
		if again, _ := c.do("GET", path, "", "If-None-Match", res.Header.Get("ETag")); again.StatusCode != http.StatusNotModified {
			t.Errorf("%s again: %s", path, again.Status)
		}
		for _, name := range []string{"Content-Security-Policy", "X-Content-Type-Options", "X-Frame-Options", "Referrer-Policy"} {
			if res.Header.Get(name) == "" {
				t.Errorf("%s has no %s", path, name)
			}
		}
		// Nothing from elsewhere, no script or style that the policy forbids.
		if outside := regexp.MustCompile(`(src|href)="(https?:)?//|url\(|@import|innerHTML|insertAdjacent|eval\(| style=| on[a-z]+="`).FindString(text); outside != "" {
			t.Errorf("%s has %q", path, outside)
		}
	}
	if res, _ := c.do("HEAD", "/api/events", ""); res.StatusCode != http.StatusMethodNotAllowed {
		t.Error(res.Status)
	}
	for _, path := range []string{"/nothing", "/api/nothing", "/assets/index.html", "/api/send"} {
		if res, _ := c.do("GET", path, ""); res.StatusCode != http.StatusNotFound && res.StatusCode != http.StatusMethodNotAllowed {
			t.Errorf("%s: %s", path, res.Status)
		}
	}
}

func TestAPI(t *testing.T) {
	m, c := serveMesh(t, "a", "b")
	if none := regexp.MustCompile(`"(list|log|reigns|history|problems|tags|groups|dropped)":null`).FindString(c.get("/api/")); none != "" {
		t.Errorf("%s: a list is empty, not null", none)
	}
	all := read[Whole](c, "/api/")
	if all.Status.Node != "a" || all.Status.Relay != "a" || !all.Status.Self || all.Status.AsRelay == nil || all.Status.Serial == 0 {
		t.Errorf("%+v", all.Status)
	}
	if names(all.Nodes) != "[a b]" || !all.Nodes.List[0].Relay || !all.Nodes.List[0].Self || all.Nodes.List[1].Self || all.Nodes.List[1].State != "ready" {
		t.Errorf("%+v", all.Nodes)
	}
	if len(all.Reigns) != 1 || all.Reigns[0].Relay != "a" || all.Reigns[0].Until != nil || all.Reigns[0].Gap != nil {
		t.Errorf("%+v", all.Reigns)
	}
	// While somebody looks, round trips are measured.
	c.until("a round trip", func() bool { return read[Nodes](c, "/api/nodes").List[1].RoundTrip != nil })
	c.until("a history", func() bool { return len(read[[]Point](c, "/api/history")) > 2 })

	if err := m.Node("a").Send(t.Context(), "nobody", "hello"); err != nil {
		t.Fatal(err)
	}
	c.until("a stream", func() bool {
		s := read[Streams](c, "/api/streams")
		return len(s.List) > 0 && s.List[0].Name == "nobody" && s.List[0].Messages == 1 && s.List[0].Bytes > 5
	})

	// Another node's page knows who is the relay, and not what it counts.
	b := serve(t, m.Node("b"), Options{})
	if s := read[Status](b, "/api/status"); s.Self || s.AsRelay != nil || s.Relay != "a" || s.Rates.Forwarded != nil {
		t.Errorf("%+v", s)
	}
	if text := b.get("/metrics"); strings.Contains(text, "ultrasockets_relay_dropped") || !strings.Contains(text, "\nultrasockets_relaying 0\n") {
		t.Errorf("of a node that is not the relay: %s", text)
	}
	if c.get("/healthz") != "ok\n" {
		t.Error("not healthy")
	}
	m.Kill("a")
	c.until("a page without its node", func() bool {
		_, err := http.Get(c.url("/healthz"))
		return err != nil
	})
}

func TestEvents(t *testing.T) {
	m := meshtest.New(t, "a", "b", "c")
	c := serve(t, m.Node("b"), Options{Interval: 100 * time.Millisecond})
	s := c.listen()
	event, data := s.next()
	if event != "whole" || !strings.Contains(data, `"node":"b"`) {
		t.Fatal(event, data)
	}
	m.Dial("d")
	await(s, "log", "d's coming", func(e Event) bool { return e.Kind == "joined" && e.Name == "d" && e.Text == "d joined" })
	await(s, "nodes", "d among the nodes", func(n Nodes) bool { return names(n) == "[a b c d]" })
	if err := m.Node("d").Pause(); err != nil {
		t.Fatal(err)
	}
	await(s, "nodes", "d paused", func(n Nodes) bool { return n.List[3].State == "paused" })
	m.Stop("d")
	await(s, "log", "d's leaving", func(e Event) bool { return e.Text == "d left: bye" })
	await(s, "nodes", "d gone", func(n Nodes) bool { return names(n) == "[a b c]" })

	m.Kill("a")
	list := await(s, "reigns", "another relay", func(r []Reign) bool { return len(r) == 2 })
	if list[0].Relay != "a" || list[0].Until == nil || list[1].Relay == "a" || list[1].Gap == nil || *list[1].Gap <= 0 {
		t.Errorf("%+v", list)
	}
	status := await(s, "status", "a handover", func(s Status) bool { return s.Handovers == 1 })
	if status.Handover == nil || *status.Handover != *list[1].Gap {
		t.Errorf("%+v", status)
	}
	m.Kill("b") // the stream ends with the node
	for event != "" {
		event, _ = s.next()
	}
}

// What comes with the first event and what follows is together everything, once.
func TestEventsMissNothing(t *testing.T) {
	p := &Page{book: newBook(0), watch: newAudience(), soon: make(chan struct{}, 1)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 1000 {
			p.event(mesh.Event{Kind: mesh.EventJoined, Name: "x"})
		}
	}()
	for joined := 0; joined < 5; joined++ {
		l, whole := p.watch.join(p.book.read)
		last := uint64(0)
		if n := len(whole.Log); n > 0 {
			last = whole.Log[n-1].ID
		}
		for range 10 {
			select {
			case b, ok := <-l.queue:
				if ok && !strings.Contains(string(b), `{"id":`+fmt.Sprint(last+1)+`,`) {
					t.Errorf("after %d: %s", last, b)
				}
				last++
			case <-done:
			}
		}
		p.watch.leave(l)
	}
	<-done
}

func TestListenersAreBounded(t *testing.T) {
	_, c := serveMesh(t, "a")
	var first *stream
	for i := range maxListeners {
		if s := c.listen(); i == 0 {
			first = s
		}
	}
	if res, text := c.do("GET", "/api/events", ""); res.StatusCode != http.StatusServiceUnavailable || !strings.Contains(text, "close one") {
		t.Fatal(res.Status, text)
	}
	first.body.Close()
	c.until("a place", func() bool {
		res, _ := c.do("GET", "/api/events", "")
		return res.StatusCode == http.StatusOK
	})
}

func TestSlowListenerIsLetGo(t *testing.T) {
	a := newAudience()
	slow, _ := a.join(newBook(0).read)
	quick, _ := a.join(newBook(0).read)
	for i := range listenerQueue + 1 {
		a.tell(func() []change { return []change{{"log", i}} })
		<-quick.queue
	}
	for range listenerQueue {
		if _, ok := <-slow.queue; !ok {
			t.Fatal("what was queued is lost")
		}
	}
	if _, ok := <-slow.queue; ok || a.count() != 1 {
		t.Fatal("the slow one is still there")
	}
	a.leave(slow) // as its handler does
	a.leave(quick)
}

func TestListenRefuses(t *testing.T) {
	m := meshtest.New(t, "a")
	for addr, opt := range map[string]Options{"8017": {}, "nonsense": {}, "127.0.0.1:0": {Token: "short"}} {
		if p, err := Listen(m.Node("a"), addr, opt); !errors.Is(err, mesh.ErrBadConfig) {
			t.Errorf("%s: %v %v", addr, p, err)
		}
	}
	c := serve(t, m.Node("a"), Options{})
	taken := strings.TrimSuffix(strings.TrimPrefix(c.page.URL(), "http://"), "/")
	if p, err := Listen(m.Node("a"), taken, Options{}); err == nil {
		p.Close()
		t.Error("two pages at one address")
	}
	p, err := Listen(m.Node("a"), ":0", Options{})
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(p.URL(), "http://127.0.0.1:") {
		t.Error(p.URL())
	}
	p.Close()
	p.Close() // does nothing
}

func TestSend(t *testing.T) {
	m, c := serveMesh(t, "a", "b")
	b := m.Node("b")
	if err := b.Subscribe("lab"); err != nil {
		t.Fatal(err)
	}
	c.until("the group", func() bool { return len(read[Nodes](c, "/api/nodes").List[1].Groups) == 1 })
	jsonType := []string{"Content-Type", "application/json"}
	for _, one := range []struct {
		body   string
		header []string
		status int
		part   string
	}{
		{`{"to":"b","text":"hello"}`, jsonType, 200, `{"outcome":"delivered","text":"in the inbox of b"}`},
		{`{"to":"b","text":"typed"}`, []string{"Content-Type", "application/json; charset=utf-8"}, 200, "delivered"},
		{`{"to":"@lab","text":"to the lab"}`, jsonType, 200, "in the inbox of b"},
		{`{"to":"@","text":""}`, jsonType, 200, "in the inbox of b"},
		{`{"to":"a","text":"to itself"}`, jsonType, 200, "in the inbox of a"},
		{`{"to":"late","text":"x"}`, jsonType, 202, "late is not here"},
		{`{"to":"@nobody","text":"x"}`, jsonType, 409, "nobody else is in group nobody"},
		{`{"to":"a b","text":"x"}`, jsonType, 400, "a b"},
		{`{"to":"","text":"x"}`, jsonType, 400, "failed"},
		{`{"to":"b"}`, jsonType, 400, "the body must be"},
		{`{"to":"b","text":"x","more":1}`, jsonType, 400, "the body must be"},
		{`{"to":"b","text":"x"}{}`, jsonType, 400, "the body must be"},
		{`[]`, jsonType, 400, "the body must be"},
		{`{"to":"b","text":"` + strings.Repeat("x", maxBody) + `"}`, jsonType, 413, "larger"},
		{`{"to":"b","text":"x"}`, nil, 415, "application/json"},
		{`to=b&text=x`, []string{"Content-Type", "application/x-www-form-urlencoded"}, 415, "application/json"},
		{`{"to":"b","text":"x"}`, []string{"Content-Type", "text/plain"}, 415, "application/json"},
	} {
		res, text := c.do("POST", "/api/send", one.body, one.header...)
		if res.StatusCode != one.status || !strings.Contains(text, one.part) {
			t.Errorf("%.60s: %s %s", one.body, res.Status, text)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for _, want := range []string{"hello", "typed", "to the lab", ""} {
		if got, err := b.Receive(ctx); err != nil || got.Text() != want || got.From != "a" {
			t.Errorf("%v, %q, %v", got, got.Text(), err)
		}
	}
	if err := b.Pause(); err != nil {
		t.Fatal(err)
	}
}
