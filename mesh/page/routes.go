package page

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/json"
	"fmt"
	"net/http"
	"time"
)

//go:embed assets
var assets embed.FS

// files are what the page is made of, by path.
var files = map[string]struct{ name, kind string }{
	"/{$}":         {"index.html", "text/html; charset=utf-8"},
	"/page.css":    {"page.css", "text/css; charset=utf-8"},
	"/page.js":     {"page.js", "text/javascript; charset=utf-8"},
	"/draw.js":     {"draw.js", "text/javascript; charset=utf-8"},
	"/icon.svg":    {"icon.svg", "image/svg+xml"},
	"/favicon.ico": {"icon.svg", "image/svg+xml"}, // a browser that was refused the page looks there, and may do so once it has the token
}

func (p *Page) routes() http.Handler {
	mux := http.NewServeMux()
	for path, f := range files {
		mux.Handle("GET "+path, file(f.name, f.kind))
	}
	parts := map[string]func(Whole) any{
		"/api/{$}":     func(w Whole) any { return w },
		"/api/status":  func(w Whole) any { return w.Status },
		"/api/nodes":   func(w Whole) any { return w.Nodes },
		"/api/streams": func(w Whole) any { return w.Streams },
		"/api/log":     func(w Whole) any { return w.Log },
		"/api/reigns":  func(w Whole) any { return w.Reigns },
		"/api/history": func(w Whole) any { return w.History },
	}
	for path, part := range parts {
		mux.HandleFunc("GET "+path, p.timed(func(w http.ResponseWriter, r *http.Request) {
			p.watch.look(p.now())
			writeJSON(w, http.StatusOK, part(p.book.read()))
		}))
	}
	mux.HandleFunc("GET /api/events", p.events)
	mux.HandleFunc("POST /api/send", p.send)
	mux.HandleFunc("GET /metrics", p.timed(p.metrics().ServeHTTP))
	mux.HandleFunc("GET /healthz", p.timed(p.health))
	return mux
}

// timed bounds how long an answer may take to be read.
func (p *Page) timed(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(answerTimeout)) // what cannot, is not a connection
		next(w, r)
	}
}

// file serves one file of the page. A browser asks whether it has changed each time, for the next version may have other ones.
func file(name, kind string) http.HandlerFunc {
	text, err := assets.ReadFile("assets/" + name)
	if err != nil {
		panic(err) // it is built in
	}
	tag := fmt.Sprintf(`"%x"`, sha256.Sum256(text))
	return func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(answerTimeout))
		w.Header().Set("Content-Type", kind)
		w.Header().Set("Cache-Control", "no-cache")
		w.Header().Set("ETag", tag)
		http.ServeContent(w, r, name, time.Time{}, bytes.NewReader(text))
	}
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err) // nothing in the model can fail
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(append(text, '\n')) // whoever asked has gone if it fails
}

// health answers /healthz.
func (p *Page) health(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	if p.node.Relay() == "" {
		w.WriteHeader(http.StatusServiceUnavailable)
		fmt.Fprintf(w, "%s has no relay and looks for one\n", p.node.Name())
		return
	}
	fmt.Fprintln(w, "ok")
}
