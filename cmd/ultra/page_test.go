package main

import (
	"io"
	"net"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"
)

// served is the address of the page that a process prints.
func (p *process) served(t *testing.T) string {
	t.Helper()
	p.stderr.has(t, "page: ")
	found := regexp.MustCompile(`page: (http://\S+)\n`).FindStringSubmatch(p.stderr.has(t, "\n"))
	if found == nil {
		t.Fatal(p.stderr.String())
	}
	return found[1]
}

func fetch(t *testing.T, url string) (status int, text string) {
	t.Helper()
	client := http.Client{Timeout: patience}
	res, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(b)
}

func TestPage(t *testing.T) {
	b := newBench(t)
	p := b.start("serve", "127.0.0.1:0", "--name", "a", "--http", "127.0.0.1:0")
	url := p.served(t)
	if status, text := fetch(t, url); status != http.StatusOK || !strings.Contains(text, "<title>UltraSockets</title>") {
		t.Error(status, text)
	}
	if status, text := fetch(t, url+"api/status"); status != http.StatusOK || !strings.Contains(text, `"node":"a"`) {
		t.Error(status, text)
	}
	p.leaves()
	if _, err := http.Get(url); err == nil {
		t.Error("the page outlives its node")
	}

	j := b.start("join", "--name", "a", "--http", ":0", "--json", "--events")
	j.stderr.has(t, `{"event":"page","url":"http://127.0.0.1:`)
	j.leaves()
}

// TestPageHasNoPort: who cannot serve its page leaves with a goodbye, for others have seen it come.
func TestPageHasNoPort(t *testing.T) {
	b := newBench(t)
	watcher, addr := b.first("join", "--name", "watcher")
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	b.fails(exitFailed, "", []string{"join", "--name", "a", "--seed", addr, "--http", taken.Addr().String()}, "another program has that port")
	watcher.stderr.has(t, `{"event":"left","name":"a","reason":"bye"}`)
	watcher.leaves()
}

func TestPageToken(t *testing.T) {
	b := newBench(t)
	file := writeFile(t, "token", "a-token-of-my-own\n", 0o600)
	p := b.start("join", "--name", "a", "--http", "127.0.0.1:0", "--http-token-file", file)
	url := p.served(t)
	bare, _, _ := strings.Cut(url, "?")
	if !strings.HasSuffix(url, "/?token=a-token-of-my-own") {
		t.Error(url)
	}
	if status, text := fetch(t, bare+"healthz"); status != http.StatusUnauthorized {
		t.Error(status, text)
	}
	if status, text := fetch(t, bare+"healthz?token=a-token-of-my-own"); status != http.StatusOK {
		t.Error(status, text)
	}
	p.leaves()
	b.fails(exitUsage, "", []string{"join", "--name", "a", "--http-token-file", file}, "say where with --http")
	b.fails(exitUsage, "", []string{"join", "--name", "a", "--http", "8017"}, "--http", "127.0.0.1:8017")
	b.fails(exitFailed, "", []string{"join", "--name", "a", "--http", "127.0.0.1:0", "--http-token-file", "nowhere"}, "nowhere")
	if err := os.WriteFile(file, []byte("short"), 0o600); err != nil {
		t.Fatal(err)
	}
	b.fails(exitUsage, "", []string{"join", "--name", "a", "--http", "127.0.0.1:0", "--http-token-file", file}, "16")
	if err := os.Chmod(file, 0o644); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(file); err == nil && info.Mode().Perm() == 0o644 { // not on Windows
		b.fails(exitFailed, "", []string{"join", "--name", "a", "--http", "127.0.0.1:0", "--http-token-file", file}, "chmod 600")
	}
}
