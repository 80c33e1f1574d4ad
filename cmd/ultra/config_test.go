package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func writeFile(t *testing.T, name, text string, mode os.FileMode) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(file, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	return file
}

// The command line beats the environment, that beats the file, that beats the default.
func TestConfigOrder(t *testing.T) {
	b := newBench(t)
	_, addr := b.first("join", "--name", "a")
	file := writeFile(t, "lab.toml", `
name = "of-file"
seed = ["`+addr+`"]
group = ["file1", "file2"]
tag = { room = "1", note = "x=y, z" }
stay = true
events = true
retention = "2m"
`, 0o644)
	told := func(p *process, name string, parts ...string) {
		t.Helper()
		p.stderr.has(t, name+" is in mesh")
		list := b.must("", "nodes", "--json", "--seed", addr)
		for _, part := range append(parts, `"name":"`+name+`"`) {
			if !strings.Contains(list, part) {
				t.Errorf("%s is not in %s", part, list)
			}
		}
		p.leave(t)
	}
	told(b.start("join", "--config", file), "of-file", `"tags":{"note":"x=y, z","room":"1"}`, `"groups":["file1","file2"]`)
	plain := b.env
	b.env = append(plain, "ULTRA_CONFIG="+file, "ULTRA_NAME=of-env", "ULTRA_GROUP=env1,env2")
	told(b.start("join"), "of-env", `"tags":{"note":"x=y, z","room":"1"}`, `"groups":["env1","env2"]`)
	told(b.start("join", "--name", "of-line", "--group", "line"), "of-line", `"groups":["line"]`)
	b.env = append(plain, "ULTRA_STAY=perhaps")
	b.fails(exitUsage, "", []string{"join", "--name", "x"}, "ULTRA_STAY in the environment", "perhaps")
}

// leave ends a process that stays.
func (p *process) leave(t *testing.T) {
	t.Helper()
	if err := p.cmd.Process.Signal(os.Interrupt); err != nil { // Windows has none
		_ = p.cmd.Process.Kill()
	}
	p.exit()
}

func TestConfigRefuses(t *testing.T) {
	b := newBench(t)
	for _, c := range []struct{ text, part string }{
		{`seeds = ["127.0.0.1:1"]`, `join has no key "seeds" (did you mean "seed"?)`},
		{`log_level = "info"`, `did you mean "log-level"?`},
		{`connections = 2`, `join has no key "connections"`},
		{`config = "other.toml"`, `join has no key "config"`},
		{`secret = "00"`, "a secret has no place in it"},
		{`name = 7`, "name is 7; it must be a text in quotes"},
		{`name = true`, "name is true; it must be a text"},
		{`name = ["a"]`, "one value"},
		{`stay = "true"`, "stay is true; it must be true or false, without quotes"},
		{`timeout = 5`, "with its unit"},
		{`timeout = "soon"`, "soon"},
		{`seed = 7`, "seed is 7"},
		{`seed = [7]`, "seed holds 7"},
		{`tag = { room = 1 }`, "tag.room is 1"},
		{`log-level = "loud"`, "--log-level"},
		{`name = `, "line 1"},
		{"name = \"a\"\nname = \"b\"", "line 2"},
	} {
		b.fails(exitUsage, "", []string{"join", "--config", writeFile(t, "bad.toml", c.text, 0o644)}, c.part)
	}
	b.fails(exitUsage, "", []string{"join", "--config", "nowhere.toml"}, "--config nowhere.toml")
	b.fails(exitUsage, "", []string{"serve", "127.0.0.1:0", "--config", writeFile(t, "serve.toml", `seed = ["127.0.0.1:1"]`, 0o644)}, "leave out --seed")
}

// A secret is read from a file that only its owner can read, beside the configuration.
func TestConfigSecret(t *testing.T) {
	b := newBench(t)
	file := writeFile(t, "lab.toml", "name = \"a\"\nsecret-file = \"lab.secret\"\n", 0o644)
	secret := filepath.Join(filepath.Dir(file), "lab.secret")
	b.must("", "keygen", secret)
	_, addr := b.first("join", "--config", file)
	b.must("", "send", "a", "psst", "--seed", addr, "--secret-file", secret)
	if err := os.Chmod(secret, 0o644); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(secret); err == nil && info.Mode().Perm() == 0o644 { // not on Windows
		b.fails(exitFailed, "", []string{"join", "--config", file}, "chmod 600")
	}
}

func TestLog(t *testing.T) {
	b := newBench(t)
	p := b.start("join", "--name", "a", "--log-level", "debug", "--log-format", "json", "--events", "--retention", "100ms")
	p.stderr.has(t, "a is in mesh")
	p.write("nobody hello\nbad\n")
	p.stderr.has(t, "not delivered")
	p.stdin.Close()
	p.exit()
	levels := make(map[string]int)
	for line := range strings.Lines(p.stderr.String()) {
		var record struct{ Time, Level, Msg string }
		if err := json.Unmarshal([]byte(line), &record); err != nil || record.Time == "" || record.Msg == "" {
			t.Errorf("%v: %s", err, line)
		}
		levels[record.Level]++
	}
	if levels["DEBUG"] == 0 || levels["INFO"] == 0 || levels["WARN"] < 2 {
		t.Error(levels)
	}
	for level, want := range map[string]bool{"off": false, "error": false, "debug": true} {
		_, stderr, _ := b.run("a x\n", "join", "--name", "a", "--log-level", level)
		if strings.Contains(stderr, "level=") != want {
			t.Errorf("%s: %s", level, stderr)
		}
	}
}

func TestDistance(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"seed", "seed", 0}, {"seeds", "seed", 1}, {"log_level", "log-level", 1}, {"", "abc", 3}, {"kitten", "sitting", 3}} {
		if got := distance(c.a, c.b); got != c.want {
			t.Errorf("%q %q: %d, want %d", c.a, c.b, got, c.want)
		}
	}
}
