package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestCompletion(t *testing.T) {
	b := newBench(t)
	_, addr := b.first("join", "--name", "pc1", "--group", "lab", "--group", "all-lamps")
	b.joins("pc2", addr, "--group", "lab").stderr.has(t, "2 nodes")
	for _, c := range []struct{ line, want string }{
		{"ping --seed " + addr, "pc1\npc2\n:4\n"},
		{"send --hostname " + addr, "pc1\npc2\n:4\n"},
		{"request --seed " + addr, "pc1\npc2\n:4\n"},
		{"request pc1 --seed " + addr, ":4\n"},
		{"send --seed " + addr + " --group", "all-lamps\nlab\n:4\n"},
		{"join --role", "auto\nserver\npeer\n:4\n"},
		{"join --name a --log-format", "text\njson\n:4\n"},
		{"join --secret-file", ":0\n"}, // files
		{"completion", "bash\nzsh\nfish\npowershell\n:4\n"},
	} {
		if got := b.must("", append(append([]string{"__completeNoDesc"}, strings.Fields(c.line)...), "")...); got != c.want {
			t.Errorf("%s: %q, want %q", c.line, got, c.want)
		}
	}
	b.env = append(b.env, "ULTRA_SEED="+addr)
	if got := b.must("", "__complete", "ping", "pc"); got != "pc1\npc2\n:4\n" {
		t.Errorf("%q", got)
	}
	b.env = append(b.env, "ULTRA_SEED=127.0.0.1:1") // nobody is there: silence
	stdout, stderr, code := b.run("", "__complete", "ping", "")
	if code != exitDone || stdout != ":4\n" || strings.Contains(stderr, "mesh") {
		t.Error(code, stdout, stderr)
	}
}

// What a shell makes of the script.
func TestCompletionInBash(t *testing.T) {
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Skip("no bash here")
	}
	b := newBench(t)
	_, addr := b.first("join", "--name", "pc1")
	dir := t.TempDir()
	exe, err := os.Executable()
	if err == nil {
		err = os.Symlink(exe, filepath.Join(dir, "ultra"))
	}
	if err != nil {
		t.Skip("no link to this program: ", err)
	}
	// _get_comp_words_by_ref is of the package bash-completion, which a machine may lack.
	script := `
_get_comp_words_by_ref() { words=("${COMP_WORDS[@]}") cword=$COMP_CWORD cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]}; }
compopt() { :; }
source <(ultra completion bash)
COMP_WORDS=(ultra ping pc) COMP_CWORD=2 COMP_LINE="ultra ping pc" COMP_POINT=13 COMP_TYPE=9
__start_ultra
echo "names: ${COMPREPLY[*]}"
COMP_WORDS=(ultra comp) COMP_CWORD=1 COMP_LINE="ultra comp" COMP_POINT=10
__start_ultra
echo "verbs: ${COMPREPLY[*]}"
`
	p := b.prepare()
	p.cmd = exec.Command(bash, "--norc", "-c", script)
	p.cmd.Env = append(b.env, "PATH="+dir+string(os.PathListSeparator)+os.Getenv("PATH"), "ULTRA_SEED="+addr)
	p.cmd.Stdout, p.cmd.Stderr = p.stdout, p.stderr
	p.begin()
	if code := p.exit(); code != 0 || !strings.Contains(p.stdout.String(), "names: pc1") || !strings.Contains(p.stdout.String(), "verbs: completion") {
		t.Error(code, p.stdout, p.stderr)
	}
	for _, shell := range []string{"zsh", "fish", "powershell"} {
		if out := b.must("", "completion", shell); !strings.Contains(out, "ultra") {
			t.Errorf("%s: %s", shell, out)
		}
	}
}
