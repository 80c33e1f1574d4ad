package page

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"ultrasockets/mesh"
	"ultrasockets/mesh/meshtest"
)

// TestMain fails on goroutines that are left, but for a probe of memberlist's: it may wait for its answer for up to 8 intervals.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/hashicorp/memberlist.(*Memberlist).probeNode"))
}

const patience = 20 * time.Second // no wait is longer, on the slowest machine

// client asks one page, as a program does.
type client struct {
	t    *testing.T
	page *Page
	http *http.Client
}

// serve serves a page for a node.
func serve(t *testing.T, node *mesh.Node, opt Options) *client {
	t.Helper()
	p, err := Listen(node, "127.0.0.1:0", opt)
	if err != nil {
		t.Fatal(err)
	}
	c := &client{t: t, page: p, http: &http.Client{Transport: &http.Transport{}}}
	c.http.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	t.Cleanup(func() {
		p.Close()
		c.http.CloseIdleConnections()
	})
	return c
}

// serveMesh is a mesh and the page of its first node, which is the relay.
func serveMesh(t *testing.T, names ...string) (*meshtest.Mesh, *client) {
	t.Helper()
	m := meshtest.New(t, names...)
	return m, serve(t, m.Node(names[0]), Options{Interval: 100 * time.Millisecond})
}

func (c *client) url(path string) string {
	base, _, _ := strings.Cut(c.page.URL(), "?")
	return strings.TrimSuffix(base, "/") + path
}

func (c *client) do(method, path, body string, header ...string) (*http.Response, string) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, method, c.url(path), strings.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		if header[i] == "Host" {
			r.Host = header[i+1]
		}
		r.Header.Set(header[i], header[i+1])
	}
	res, err := c.http.Do(r)
	if err != nil {
		c.t.Fatal(err)
	}
	defer res.Body.Close()
	if res.Header.Get("Content-Type") == "text/event-stream" {
		return res, "" // it has no end
	}
	text, err := io.ReadAll(res.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	return res, string(text)
}

// get wants a good answer.
func (c *client) get(path string) string {
	c.t.Helper()
	res, text := c.do("GET", path, "")
	if res.StatusCode != http.StatusOK {
		c.t.Fatalf("GET %s: %s: %s", path, res.Status, text)
	}
	return text
}

func read[T any](c *client, path string) (v T) {
	c.t.Helper()
	text := c.get(path)
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		c.t.Fatalf("GET %s: %v in %s", path, err, text)
	}
	return v
}

// stream reads server-sent events.
type stream struct {
	c       *client
	body    io.Closer
	scanner *bufio.Scanner
}

func (c *client) listen() *stream {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	c.t.Cleanup(cancel)
	r, err := http.NewRequestWithContext(ctx, "GET", c.url("/api/events"), nil)
	if err != nil {
		c.t.Fatal(err)
	}
	res, err := c.http.Do(r)
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { res.Body.Close() })
	if res.StatusCode != http.StatusOK || res.Header.Get("Content-Type") != "text/event-stream" {
		c.t.Fatal(res.Status, res.Header)
	}
	s := &stream{c: c, body: res.Body, scanner: bufio.NewScanner(res.Body)}
	s.scanner.Buffer(nil, 4<<20)
	return s
}

// next gives the next event; "" at the end of the stream.
func (s *stream) next() (event, data string) {
	for s.scanner.Scan() {
		line := s.scanner.Text()
		if v, ok := strings.CutPrefix(line, "event: "); ok {
			event = v
		}
		if v, ok := strings.CutPrefix(line, "data: "); ok {
			data = v
		}
		if line == "" && event != "" {
			return event, data
		}
	}
	return "", ""
}

// await reads events until ok holds of one of that kind.
func await[T any](s *stream, kind, what string, ok func(T) bool) T {
	s.c.t.Helper()
	for {
		event, data := s.next()
		if event == "" {
			s.c.t.Fatalf("waited in vain for %s: %v", what, s.scanner.Err())
		}
		if event != kind {
			continue
		}
		var v T
		if err := json.Unmarshal([]byte(data), &v); err != nil {
			s.c.t.Fatal(err, data)
		}
		if ok(v) {
			return v
		}
	}
}

// until waits for ok, which looks at the page.
func (c *client) until(what string, ok func() bool) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for !ok() {
		select {
		case <-time.After(5 * time.Millisecond): // the page is asked again, not waited for
		case <-ctx.Done():
			c.t.Fatalf("waited in vain for %s; there is: %s", what, c.get("/api/"))
		}
	}
}

func names(n Nodes) string {
	var list []string
	for _, one := range n.List {
		list = append(list, one.Name)
	}
	return fmt.Sprint(list)
}
