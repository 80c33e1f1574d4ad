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

// serve serves the page, if it is wanted, and prints where. The result ends it.
func (f *pageFlags) serve(node *mesh.Node, say func(url string)) (end func(), err error) {
	if f.http == "" {
		if f.tokenFile != "" {
			return nil, usageError{errors.New("--http-token-file is for the page; say where with --http, such as --http 127.0.0.1:8017")}
		}
		return func() {}, nil
	}
	token, err := f.token()
	if err != nil {
		return nil, err
	}
	p, err := page.Listen(node, f.http, page.Options{Token: token})
	if err != nil {
		return nil, classify(fmt.Errorf("--http: %w", err))
	}
	say(p.URL())
	return func() { p.Close() }, nil
}

// token reads the token. A file that others may read is refused, as one with a secret is.
func (f *pageFlags) token() (string, error) {
	if f.tokenFile == "" {
		return "", nil
	}
	info, err := os.Stat(f.tokenFile)
	if err != nil {
		return "", fmt.Errorf("--http-token-file: %w", err)
	}
	if runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0 { // Windows keeps no such bits
		return "", fmt.Errorf("--http-token-file: others than you may read %s; run: chmod 600 %s", f.tokenFile, f.tokenFile)
	}
	text, err := os.ReadFile(f.tokenFile)
	if err != nil {
		return "", fmt.Errorf("--http-token-file: %w", err)
	}
	token := string(bytes.TrimSpace(text))
	if token == "" {
		return "", fmt.Errorf("--http-token-file: %s is empty; the token is its only line, of 16 characters or more", f.tokenFile)
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
