package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"ultrasockets/mesh"
)

// answerer joins the mesh of a bench as a program that answers requests; silent tells of each that it does not answer.
func answerer(t *testing.T, b *bench, addr string) (node *mesh.Node, silent chan struct{}) {
	t.Helper()
	name := b.env[slices.IndexFunc(b.env, func(v string) bool { return strings.HasPrefix(v, "ULTRA_MESH=") })]
	node, err := mesh.Join(t.Context(), mesh.Config{
		Name: "oracle", Mesh: strings.TrimPrefix(name, "ULTRA_MESH="), Bind: "127.0.0.1", NoMDNS: true, Seeds: []string{addr},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { node.Close() })
	silent = make(chan struct{}, 10)
	node.Handle(func(ctx context.Context, m mesh.Message) (any, error) {
		switch v := m.Value(); v {
		case "silence":
			silent <- struct{}{}
			<-ctx.Done()
			return nil, ctx.Err()
		case "fail":
			return nil, errors.New("the oracle is\nclosed")
		case "bytes":
			return []byte{0, 0xff}, nil
		case "value":
			return map[string]any{"n": int64(9007199254740993)}, nil
		default:
			return fmt.Sprintf("%T %v", v, v), nil
		}
	})
	return node, silent
}

func TestRequest(t *testing.T) {
	b := newBench(t)
	_, addr := b.first("join", "--name", "a")
	node, silent := answerer(t, b, addr)
	ask := func(input string, args ...string) string {
		t.Helper()
		return b.must(input, append([]string{"request", "oracle", "--seed", addr}, args...)...)
	}
	for _, c := range []struct {
		input, want string
		args        []string
	}{
		{"", "string hello\n", []string{"hello"}},
		{"typed\n", "string typed\n\n", []string{"-"}},
		{"typed", "string typed\n", nil},
		{"", "int64 7\n", []string{"--value", "7"}},
		{"", "\x00\xff", []string{"bytes"}},
		{"", "{\"n\":9007199254740993}\n", []string{"value"}},
	} {
		if got := ask(c.input, c.args...); got != c.want {
			t.Errorf("%q: %q, want %q", c.args, got, c.want)
		}
	}
	if got := ask("", "value", "--json"); !strings.HasPrefix(got, `{"from":"oracle","ms":`) || !strings.HasSuffix(got, `,"value":{"n":9007199254740993}}`+"\n") {
		t.Error(got)
	}
	if got := ask("", "bytes", "--json"); !strings.HasSuffix(got, `,"bytes":"AP8="}`+"\n") {
		t.Error(got)
	}
	fails := func(args []string, parts ...string) {
		t.Helper()
		b.fails(exitFailed, "", append([]string{"request", "--seed", addr}, args...), parts...)
	}
	fails([]string{"oracle", "fail"}, `oracle answered with an error: the oracle is\nclosed`)
	fails([]string{"oracle", "silence", "--timeout", "300ms"}, "oracle did not answer within 300ms")
	fails([]string{"a", "hello"}, "a answers no requests")
	fails([]string{"nobody", "hello", "--timeout", "300ms"}, `no node "nobody"`, "here: a, oracle")

	<-silent
	p := b.start("request", "oracle", "silence", "--seed", addr, "--timeout", "1m")
	<-silent
	node.Close()
	if code := p.exit(); code != exitFailed || !strings.Contains(p.stderr.String(), "oracle was lost or restarted") {
		t.Error(code, p.stderr)
	}
}
