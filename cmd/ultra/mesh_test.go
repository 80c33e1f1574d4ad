package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

func TestThreeNodes(t *testing.T) {
	b := newBench(t)
	a, addr := b.first("join", "--name", "a", "--tag", "room=1", "--tag", "note=x=y", "--group", "lab")
	pc2 := b.joins("pc2", addr)
	pc3 := b.joins("pc3", addr)
	pc3.stderr.has(t, `(relay a, 3 nodes)`)
	a.stderr.has(t, `{"event":"joined","name":"pc3"}`)
	pc2.stderr.has(t, "pc3 joined")

	pc2.write("pc3 good morning\npc3 two  spaces\\and\ttab\npc2 to myself\n")
	pc3.stdout.has(t, "pc2\t1\tgood morning\npc2\t2\ttwo  spaces\\\\and\\ttab\n")
	pc2.stdout.has(t, "pc2\t1\tto myself\n")

	b.must("", "send", "pc2", "hello", "--seed", addr)
	pc2.stdout.await(t, "the visitor's hello", regexp.MustCompile(`(?m)^visitor-[0-9a-f]{6}\t2\thello$`).MatchString)
	b.must("whole\ninput\n", "send", "pc2", "--seed", addr)
	pc2.stdout.has(t, "\t3\twhole\\ninput\\n\n")
	b.must("", "send", "pc2", "--value", `{"n":9007199254740993,"l":[1,2.5,null]}`, "--seed", addr)
	pc2.stdout.has(t, "\t4\t{\"l\":[1,2.5,null],\"n\":9007199254740993}\n")
	b.must("\xff\x00", "send", "pc2", "-", "--hostname", addr)
	pc2.stdout.has(t, "\t5\t\"/wA=\"\n")

	if out := b.must("", "send", "--all", "to all", "--json", "--seed", addr); !strings.Contains(out, `"delivered":["a","pc2","pc3"]`) {
		t.Error(out)
	}
	pc3.stdout.has(t, "to all")
	b.must("", "send", "--group", "lab", "to the lab", "--seed", addr)
	a.stdout.has(t, `"to":"@lab","value":"to the lab"}`)

	a.write(`{"to":"pc2","value":18446744073709551615}` + "\n" + `{"to":"pc2","bytes":"AAE="}` + "\n" + `{"to":"@","value":"<&>"}` + "\n")
	pc2.stdout.has(t, "a\t7\t18446744073709551615\na\t8\t\"AAE=\"\na\t9\t<&>\n")

	checkNodes(t, b.must("", "nodes", "--json", "--seed", addr))
	table := b.must("", "nodes", "--seed", addr)
	for _, want := range []string{`relay a, 3 nodes`, "* a ", "note=x=y room=1", "  pc2 ", "NAME"} {
		if !strings.Contains(table, want) {
			t.Errorf("%q is not in\n%s", want, table)
		}
	}
	pc2.leaves()
	pc3.stderr.has(t, "pc2 left (bye)")
	a.leaves()
	pc3.stderr.has(t, "this node is the relay now")
	pc3.leaves()
}

// checkNodes wants the listing of TestThreeNodes.
func checkNodes(t *testing.T, text string) {
	t.Helper()
	var list struct {
		Mesh, Relay string
		Nodes       []struct {
			Name, Role, State, Addr string
			RTT                     *float64 `json:"rtt_ms"`
			Tags                    map[string]string
			Groups                  []string
		}
	}
	if err := json.Unmarshal([]byte(text), &list); err != nil {
		t.Fatal(err, text)
	}
	var names []string
	for _, n := range list.Nodes {
		names = append(names, n.Name)
		if n.RTT == nil || *n.RTT <= 0 || n.Role != "auto" || n.State != "ready" || n.Tags == nil || n.Groups == nil {
			t.Errorf("%+v in %s", n, text)
		}
	}
	if list.Relay != "a" || !slices.Equal(names, []string{"a", "pc2", "pc3"}) || list.Nodes[0].Tags["note"] != "x=y" || !slices.Equal(list.Nodes[0].Groups, []string{"lab"}) {
		t.Error(text)
	}
}

func TestTenThousandLines(t *testing.T) {
	b := newBench(t)
	_, addr := b.first("join", "--name", "a")
	var input, want strings.Builder
	for i := range 10_000 {
		fmt.Fprintf(&input, "late line %d of the file\n", i)
		fmt.Fprintf(&want, "pc2\t%d\tline %d of the file\n", i+1, i)
	}
	sender := b.joins("pc2", addr)
	sender.write(input.String()) // the receiver is not there yet
	if err := sender.stdin.Close(); err != nil {
		t.Fatal(err)
	}
	late := b.joins("late", addr, "--stay")
	if code := sender.exit(); code != exitDone {
		t.Fatal(code, sender.stderr)
	}
	got := late.stdout.await(t, "10,000 lines", func(text string) bool { return strings.Count(text, "\n") >= 10_000 })
	if got != want.String() {
		t.Error("the lines differ")
	}
}

func TestStatic(t *testing.T) {
	b := newBench(t)
	server, addr := b.first("serve", "127.0.0.1:0", "--name", "server", "--connections", "2")
	b.start("serve", "127.0.0.1:0", "--name", "other", "--events").stderr.has(t, `" on port `) // a free one: say which
	c1 := b.start("dial", addr, "--name", "c1", "--events")
	c1.stderr.has(t, "c1 is in mesh")
	c2 := b.start("dial", "tcp://"+addr, "--name", "c2", "--events")
	c2.stderr.has(t, "(relay server, 3 nodes)")
	b.fails(exitFailed, "", []string{"dial", addr, "--name", "c3"}, "the mesh is full")
	c1.write("c2 client to client\nserver client to server\n")
	server.write(`{"to":"c1","value":"server to client"}` + "\n")
	c2.stdout.has(t, "c1\t1\tclient to client\n")
	server.stdout.has(t, `"value":"client to server"`)
	c1.stdout.has(t, "server\t1\tserver to client\n")
	c1.leaves()
	c2.leaves()
	server.leaves()
}

func TestServeBind(t *testing.T) {
	b := newBench(t)
	server, addr := b.first("serve", ":0", "--name", "server")
	if !strings.HasPrefix(addr, "127.0.0.1:") {
		t.Error(addr)
	}
	b.fails(exitFailed, "", []string{"serve", addr, "--name", "other"}, "choose another port")
	b.fails(exitFailed, "", []string{"dial", addr, "--name", "x", "--mesh", "other"}, "another mesh")
	server.leaves()
}

func TestBadLines(t *testing.T) {
	b := newBench(t)
	_, stderr, code := b.run("a good\nnomessage\n\n-x bad name\na \na \xff\n@ nobody\n@lab nobody\r\n", "join", "--name", "a")
	if code != exitFailed {
		t.Error(code)
	}
	for _, want := range []string{"line 2: there is no message", "line 4: ", "line 6: ", "line 7: nobody else", "line 8: nobody else"} {
		if !strings.Contains(stderr, "ultra: "+want) {
			t.Errorf("%q is not in %s", want, stderr)
		}
	}
	if n := strings.Count(stderr, "\n"); n != 5 {
		t.Errorf("%d lines: %s", n, stderr)
	}
	stdout, stderr, code := b.run("a good\nnomessage\na better", "join", "--name", "a")
	if code != exitFailed || stdout != "a\t1\tgood\na\t2\tbetter\n" {
		t.Error(code, stdout, stderr)
	}
	_, stderr, code = b.run("{}\n[\n{\"to\":\"a\"}\n{\"to\":\"a\",\"value\":1,\"bytes\":\"\"}\n{\"to\":\"a\",\"value\":1e999}\n", "join", "--name", "a", "--json")
	if code != exitFailed || strings.Count(stderr, "ultra: line ") != 5 {
		t.Error(code, stderr)
	}
}

func TestUndelivered(t *testing.T) {
	b := newBench(t)
	b.fails(exitFailed, "nobody hello\nnobody again\n", []string{"join", "--name", "a", "--retention", "200ms"}, `2 messages to "nobody" not delivered`)
}

// TestDiesWithTheRelay: who is started again after it died together with the relay waits until the next one gives it its name.
func TestDiesWithTheRelay(t *testing.T) {
	b := newBench(t)
	relay, addr := b.first("join", "--name", "pc1")
	died := b.joins("pc2", addr)
	b.joins("pc3", addr)
	_, other := b.first("join", "--name", "pc4", "--seed", addr)
	for _, p := range []*process{relay, died} {
		if err := p.cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
	}
	<-relay.ended
	<-died.ended
	b.must("", "join", "--name", "pc2", "--seed", other)
}

func TestSendInVain(t *testing.T) {
	b := newBench(t)
	_, addr := b.first("join", "--name", "pc1")
	b.joins("pc2", addr)
	b.fails(exitFailed, "", []string{"send", "pc22", "hello", "--seed", addr, "--timeout", "300ms"}, `no node "pc22" in mesh "test-`, "(waited ", "here: pc1, pc2")
	b.fails(exitFailed, "", []string{"send", "--group", "lab", "hello", "--hostname", addr, "--timeout", "300ms"}, `group "lab"`, "here: pc1, pc2", "(waited ")
	b.fails(exitFailed, "", []string{"nodes", "--timeout", "300ms"}, "no mesh", "--seed")
	b.fails(exitFailed, "", []string{"nodes", "--mesh", "other", "--timeout", "300ms"}, `"ultra join --name a --mesh other"`)
	b.fails(exitFailed, "", []string{"nodes", "--seed", "127.0.0.1:1", "--timeout", "300ms"}, "no mesh")
	b.fails(exitFailed, "", []string{"nodes", "--hostname", "127.0.0.1:1", "--timeout", "300ms"}, "no mesh answers at 127.0.0.1:1")
	b.fails(exitFailed, "", []string{"join", "--name", "x", "--role", "peer", "--timeout", "300ms"}, "no mesh")
	b.fails(exitFailed, "", []string{"join", "--name", "pc2", "--seed", addr}, "choose another name")
}

func TestUsage(t *testing.T) {
	b := newBench(t)
	file := filepath.Join(t.TempDir(), "file")
	for _, c := range []struct {
		args string
		part string
	}{
		{"nonsense", "no verb"},
		{"jion --name a", "no verb \"jion\" (did you mean \"join\"?)"},
		{"help jion", "no verb \"jion\""},
		{"serve 127.0.0.1:0 --seed 127.0.0.1:1", "leave out --seed"},
		{"serve 127.0.0.1:0 --hostname 127.0.0.1:1", "leave out --hostname"},
		{"dial 127.0.0.1:1 --bind 127.0.0.1", "leave out --bind"},
		{"nodes --hostname 127.0.0.1:1 --no-mdns", "leave out --no-mdns"},
		{"join --name a --log-level loud", "off, debug, info, warn, error"},
		{"join --name a --log-format xml", "text or json"},
		{"ping", "which node?"},
		{"ping a b", "takes only NAME"},
		{"ping @lab", "is a group"},
		{"ping a -c -1", "--count"},
		{"ping a -i -1s", "--interval"},
		{"request", "whom?"},
		{"request a b c", "takes only NAME"},
		{"request a b --value 1", "takes only NAME"},
		{"request a --value {", "JSON"},
		{"watch a", "takes no arguments"},
		{"completion", "for which shell?"},
		{"completion tcsh", "for which shell?"},
		{"join --nonsense", "unknown flag --nonsense; \"ultra help join\" lists them"},
		{"join --nam a", "did you mean --name?"},
		{"join -x", "unknown flag -x"},
		{"join --name", "--name needs a value"},
		{"join --timeout 5", "--timeout is \"5\"; it must be a time with its unit"},
		{"ping a -c x", "--count is \"x\"; it must be a whole number"},
		{"join --stay=perhaps", "--stay is \"perhaps\"; it must be true or false"},
		{"join --name a --share nowhere", "there is no folder nowhere"},
		{"send not/legal hello", "bad name"},
		{"join extra", "takes no arguments"},
		{"join --name -x", "begins with '-'"},
		{"join --name " + strings.Repeat("x", 65), "bad name"},
		{"join --name all", "meaning of its own"},
		{"join --name a --mesh " + strings.Repeat("m", 300), "--mesh"},
		{"join --name a --role king", "auto, server or peer"},
		{"join --name a --tag novalue", "KEY=VALUE"},
		{"join --name a --group not/legal", "--group"},
		{"join --name a --bind nowhere", "--bind"},
		{"join --name a --listen nowhere", "host:port"},
		{"join --name a --seed nowhere", "host:port"},
		{"join --name a --timeout -1s", "--timeout"},
		{"join --name a --retention 1h", "--retention"},
		{"join --name a --hostname 127.0.0.1:1 --role server", "--hostname"},
		{"serve", "HOST:PORT is missing"},
		{"serve 127.0.0.1", "host:port"},
		{"serve 127.0.0.1:0 --name a --connections -1", "--connections"},
		{"dial nowhere --name a", "host:port"},
		{"dial 127.0.0.1:1 127.0.0.1:2", "takes only HOST:PORT"},
		{"send", "to whom"},
		{"send --all --group g hello", "exclude"},
		{"send a b c", "one argument too many"},
		{"send a b --value 1", "one argument too many"},
		{"send a --value {", "JSON"},
		{"send --group= hello", "--group is empty"},
		{"send @all hello", "--all"},
		{"nodes extra", "takes no arguments"},
		{"keygen a b", "takes only FILE"},
	} {
		b.fails(exitUsage, "", strings.Fields(c.args), c.part)
	}
	b.env = append(b.env, "ULTRA_TIMEOUT=soon")
	b.fails(exitUsage, "", []string{"nodes"}, "ULTRA_TIMEOUT", "soon")
	b.fails(exitFailed, "", []string{"join", "--name", "a", "--timeout", "1s", "--secret-file", file}, "ultra keygen")
	if out, stderr, code := b.run(""); code != exitUsage || out != "" || !strings.Contains(stderr, "ultra join") {
		t.Error(code, out, stderr)
	}
	if out := b.must("", "join", "--help"); !strings.Contains(out, "Examples:") {
		t.Error(out)
	}
	for _, ask := range []string{"version", "--version"} {
		if out := b.must("", ask); !strings.Contains(out, "wire 1") {
			t.Error(ask, out)
		}
	}
}

func TestSecret(t *testing.T) {
	b := newBench(t)
	file := filepath.Join(t.TempDir(), "secret")
	b.must("", "keygen", file)
	b.fails(exitFailed, "", []string{"keygen", file}, "exists already")
	if out := b.must("", "keygen"); !regexp.MustCompile(`^[0-9a-f]{64}\n$`).MatchString(out) {
		t.Error(out)
	}
	a, addr := b.first("join", "--name", "a", "--secret-file", file)
	b.must("", "send", "a", "psst", "--seed", addr, "--secret-file", file)
	a.stdout.has(t, `"psst"`)
	b.fails(exitFailed, "", []string{"send", "a", "hello", "--hostname", addr}, "has a secret; give it with --secret-file")
	b.must("", "keygen", file+"3")
	b.fails(exitFailed, "", []string{"send", "a", "hello", "--hostname", addr, "--secret-file", file + "3"}, "has another secret than")
	if err := os.Chmod(file, 0o644); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(file); err == nil && info.Mode().Perm() == 0o644 { // not on Windows
		b.fails(exitFailed, "", []string{"nodes", "--secret-file", file}, "chmod 600")
	}
	if err := os.WriteFile(file+"2", []byte("short"), 0o600); err != nil {
		t.Fatal(err)
	}
	b.fails(exitFailed, "", []string{"nodes", "--secret-file", file + "2"}, "64 hex digits")
}

func TestWatch(t *testing.T) {
	b := newBench(t)
	_, addr := b.first("join", "--name", "a")
	w := b.start("nodes", "--watch", "--json", "--seed", addr)
	w.stdout.has(t, `"name":"a"`)
	late := b.joins("late", addr)
	w.stdout.has(t, `"name":"late"`)
	late.leaves()
	w.stdout.await(t, "late to vanish", func(text string) bool {
		lines := strings.Split(strings.TrimSpace(text), "\n")
		return !strings.Contains(lines[len(lines)-1], "late")
	})
}

// Who reads the output may go away.
func TestOutputCloses(t *testing.T) {
	b := newBench(t)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	p := b.prepare("join", "--name", "a", "--stay")
	p.cmd.Stdin, p.cmd.Stdout = strings.NewReader("a hello\n"), w
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	p.begin()
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if code := p.exit(); code != exitFailed || !strings.Contains(p.stderr.String(), "standard output") {
		t.Error(code, p.stderr)
	}
}

func TestEmptyInput(t *testing.T) {
	b := newBench(t)
	if _, stderr, code := b.run("", "join", "--name", "a"); code != exitDone || !strings.Contains(stderr, "--stay") {
		t.Error(code, stderr)
	}
}

func TestLongLine(t *testing.T) {
	var got []line
	in := io.MultiReader(strings.NewReader("one\n"), strings.NewReader(strings.Repeat("x", 200_000)), strings.NewReader("\nthree\r\nfour"))
	if err := readLines(in, 100_000, func(l line) bool { got = append(got, l); return true }); err != nil {
		t.Fatal(err)
	}
	want := []line{{1, "one", nil}, {2, "", errLongLine}, {3, "three", nil}, {4, "four", nil}}
	if !slices.Equal(got, want) {
		t.Error(got)
	}
}
