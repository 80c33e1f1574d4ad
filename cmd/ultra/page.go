package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"runtime"

	"github.com/spf13/pflag"

	"ultrasockets/mesh"
	"ultrasockets/mesh/page"
)

// pageFlags are those of the page that join, serve and dial can serve.
type pageFlags struct {
	http      string
	tokenFile string

	token string // of the file; set by check
}

const pageHelp = `
With --http HOST:PORT the node shows itself to a browser there: the mesh, who is in it, messages a second, what
was dropped and why; the same as JSON under /api/, and for Prometheus under /metrics. Port 0 is a free one; the
address is printed on standard error. No HOST is 127.0.0.1: only this machine may look. On any other address
a token is needed, which the printed address has; HTTP is not encrypted, so do that on networks you trust.`

func (f *pageFlags) addTo(flags *pflag.FlagSet) {
	flags.StringVar(&f.http, "http", "", "HOST:PORT to serve a page about this node at, such as 127.0.0.1:8017 (default none)")
	flags.StringVar(&f.tokenFile, "http-token-file", "", "file with the token that the page asks for (default none on loopback, else a random one)")
}

// check reads the token, and refuses what cannot work before a node is begun.
func (f *pageFlags) check() (err error) {
	switch {
	case f.http == "" && f.tokenFile != "":
		return usageError{errors.New("--http-token-file is for the page; say where with --http, such as --http 127.0.0.1:8017")}
	case f.tokenFile != "":
		f.token, err = readToken(f.tokenFile)
	}
	return err
}

// serve serves the page, if it is wanted, and prints where. The result ends it.
func (f *pageFlags) serve(node *mesh.Node, say func(url string)) (end func(), err error) {
	if f.http == "" {
		return func() {}, nil
	}
	p, err := page.Listen(node, f.http, page.Options{Token: f.token})
	if err != nil {
		return nil, classify(fmt.Errorf("--http: %w", err))
	}
	say(p.URL())
	return func() { p.Close() }, nil
}

// readToken reads a token. A file that others may read is refused, as one with a secret is.
func readToken(file string) (string, error) {
	info, err := os.Stat(file)
	if err != nil {
		return "", fmt.Errorf("--http-token-file: %w", err)
	}
	if runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0 { // Windows keeps no such bits
		return "", fmt.Errorf("--http-token-file: others than you may read %s; run: chmod 600 %s", file, file)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("--http-token-file: %w", err)
	}
	token := string(bytes.TrimSpace(text))
	if token == "" {
		return "", fmt.Errorf("--http-token-file: %s is empty; the token is its only line, of 16 characters or more", file)
	}
	return token, nil
}

// tellPage says where the page is, whether or not events are wanted.
func (p *pipe) tellPage(url string) {
	if p.json && p.events {
		fmt.Fprintf(p.errs, "%s\n", jsonLine(struct {
			Event string `json:"event"`
			URL   string `json:"url"`
		}{"page", url}))
		return
	}
	fmt.Fprintf(p.errs, "page: %s\n", url)
}
