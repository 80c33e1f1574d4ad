package main

import (
	"encoding/xml"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

// unitFields reads a unit of systemd: the values of each key.
func unitFields(t *testing.T, text string) map[string][]string {
	t.Helper()
	fields := make(map[string][]string)
	section := false
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		key, value, ok := strings.Cut(line, "=")
		switch {
		case line == "" || strings.HasPrefix(line, "#"):
		case strings.HasPrefix(line, "[") && strings.HasSuffix(line, "]"):
			section = true
		case !ok || !section || key == "" || strings.Contains(key, " "):
			t.Errorf("no line of a unit: %q", line)
		default:
			fields[key] = append(fields[key], value)
		}
	}
	return fields
}

// configCopy is the sample configuration in a folder of its own, with more lines.
func configCopy(t *testing.T, more string) string {
	t.Helper()
	sample, err := os.ReadFile("service/ultra.toml")
	if err != nil {
		t.Fatal(err)
	}
	return writeFile(t, "ultra.toml", string(sample)+more, 0o644)
}

// The unit's command runs with the sample configuration, tells systemd when it is in the mesh, and leaves when told to.
func TestServiceUnit(t *testing.T) {
	b := newBench(t)
	text, err := os.ReadFile("service/ultra.service")
	if err != nil {
		t.Fatal(err)
	}
	unit := unitFields(t, string(text))
	command := strings.Fields(strings.Join(unit["ExecStart"], " "))
	if !slices.Equal(unit["Type"], []string{"notify"}) || len(command) < 2 || command[0] != "/usr/local/bin/ultra" || !slices.Contains(command, "/etc/ultra/ultra.toml") {
		t.Fatal(unit)
	}
	if runtime.GOOS == "windows" {
		t.Skip("systemd's socket is of a kind that Windows has not")
	}
	dir, err := os.MkdirTemp("", "ultra") // short: the path of a socket may have 100 bytes
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	manager, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(dir, "notify"), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer manager.Close()
	told := func(want string) {
		t.Helper()
		state := make([]byte, 100)
		if err := manager.SetReadDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		if n, err := manager.Read(state); err != nil || string(state[:n]) != want {
			t.Fatalf("%q %v, want %q", state[:n], err, want)
		}
	}
	config := configCopy(t, "name = \"service\"\n")
	args := slices.Clone(command[1:])
	args[slices.Index(args, "/etc/ultra/ultra.toml")] = config
	b.env = append(b.env, "NOTIFY_SOCKET="+filepath.Join(dir, "notify"))
	p := b.prepare(args...) // without input, as systemd starts it
	p.begin()
	told("READY=1")
	p.stderr.has(t, "service is in mesh")
	if err := p.cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	told("STOPPING=1")
	if code := p.exit(); code != exitDone {
		t.Error(code, p.stderr)
	}
}

// What systemd says of the unit.
func TestServiceUnitVerified(t *testing.T) {
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("no systemd-analyze here")
	}
	t.Parallel()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile("service/ultra.service")
	if err != nil {
		t.Fatal(err)
	}
	verify := func(text string) string {
		unit := writeFile(t, "ultra.service", strings.ReplaceAll(text, "/usr/local/bin/ultra", exe), 0o644)
		out, err := exec.Command(analyze, "verify", "--man=no", unit).CombinedOutput()
		if err != nil {
			return string(out) + err.Error()
		}
		return string(out)
	}
	broken := verify(strings.Replace(string(text), "ProtectHome=yes", "ProtectHome=perhaps\nNonsense=yes", 1))
	if !strings.Contains(broken, "Nonsense") {
		t.Skip("systemd-analyze does not verify units here: ", broken)
	}
	if out := verify(string(text)); strings.Contains(out, "ultra.service") {
		t.Error(out)
	}
}

// The plist is well formed, and its command runs with the sample configuration.
func TestServicePlist(t *testing.T) {
	b := newBench(t)
	text, err := os.ReadFile("service/org.ultrasockets.ultra.plist")
	if err != nil {
		t.Fatal(err)
	}
	var plist struct {
		Dict struct {
			Keys  []string `xml:"key"`
			Array struct {
				Strings []string `xml:"string"`
			} `xml:"array"`
		} `xml:"dict"`
	}
	decoder := xml.NewDecoder(strings.NewReader(string(text)))
	if err := decoder.Decode(&plist); err != nil {
		t.Fatal(err)
	}
	if _, err := decoder.Token(); err != io.EOF && err != nil {
		t.Error(err)
	}
	for _, key := range []string{"Label", "ProgramArguments", "RunAtLoad", "KeepAlive"} {
		if !slices.Contains(plist.Dict.Keys, key) {
			t.Errorf("%s is missing", key)
		}
	}
	args := plist.Dict.Array.Strings
	at := slices.Index(args, "/usr/local/etc/ultra/ultra.toml")
	if at < 0 || args[0] != "/usr/local/bin/ultra" {
		t.Fatal(args)
	}
	args[at] = configCopy(t, "name = \"service\"\n")
	p := b.prepare(args[1:]...)
	p.begin()
	p.stderr.has(t, "service is in mesh")
	p.leave(t)
	if plutil, err := exec.LookPath("plutil"); err == nil { // macOS
		if out, err := exec.Command(plutil, "-lint", "service/org.ultrasockets.ultra.plist").CombinedOutput(); err != nil {
			t.Errorf("%s", out)
		}
	}
}

// Every key of the sample configuration, also those that it shows as comments, is one.
func TestSampleConfig(t *testing.T) {
	b := newBench(t)
	sample, err := os.ReadFile("service/ultra.toml")
	if err != nil {
		t.Fatal(err)
	}
	text := strings.ReplaceAll(string(sample), "\n# ", "\n")
	text = strings.Replace(text, "# A node", "name0 = 1 # A node", 1)
	b.fails(exitUsage, "", []string{"join", "--config", writeFile(t, "a.toml", text, 0o644)}, `no key "name0" (did you mean "name"?)`)
	text = strings.Replace(text, "name0 = 1 ", "", 1)
	b.fails(exitFailed, "", []string{"join", "--config", writeFile(t, "b.toml", text, 0o644)}, "--secret-file", "ultra keygen")
}
