package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// putText writes a file, and the folders above it.
func putText(t *testing.T, text string, parts ...string) string {
	t.Helper()
	p := filepath.Join(parts...)
	if err := os.MkdirAll(filepath.Dir(p), 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(p, []byte(text), 0o666); err != nil {
		t.Fatal(err)
	}
	return p
}

func wantText(t *testing.T, text string, parts ...string) {
	t.Helper()
	got, err := os.ReadFile(filepath.Join(parts...))
	if err != nil || string(got) != text {
		t.Errorf("%s: %q, %v; want %q", filepath.Join(parts...), got, err, text)
	}
}

func TestCopy(t *testing.T) {
	b := newBench(t)
	share, dir := t.TempDir(), t.TempDir()
	relay, addr := b.first("join", "--name", "relay")
	nas := b.joins("nas", addr, "--share", share)
	b.env = append(b.env, "ULTRA_SEED="+addr)
	one, two := putText(t, "one", dir, "one"), putText(t, "two", dir, "tree", "a b", "two")

	b.must("", "cp", one, "nas:")
	wantText(t, "one", share, "one")
	nas.stderr.has(t, "put one (3 B)")
	b.must("", "cp", one, "nas:new")
	wantText(t, "one", share, "new")
	b.must("", "cp", one, two, filepath.Join(dir, "tree"), "nas:deep/er")
	wantText(t, "two", share, "deep", "er", "two")
	wantText(t, "two", share, "deep", "er", "tree", "a b", "two")
	b.must("", "cp", one, "nas:deep") // there is a folder of that name
	wantText(t, "one", share, "deep", "one")
	b.must("", "cp", filepath.Join(dir, "tree"), "nas:deep/er/tree") // all of it is there
	b.must("three", "cp", "-", "nas:three")
	wantText(t, "three", share, "three")

	to := filepath.Join(dir, "to") + string(filepath.Separator)
	b.must("", "cp", "nas:one", to)
	wantText(t, "one", to, "one")
	b.must("", "cp", "nas:three", filepath.Join(dir, "to"))
	wantText(t, "three", to, "three")
	b.must("", "cp", "nas:deep", filepath.Join(dir, "copy"))
	wantText(t, "two", dir, "copy", "er", "two")
	if out := b.must("", "cp", "nas:three", "-"); out != "three" {
		t.Errorf("%q", out)
	}
	var report copyReport
	if err := json.Unmarshal([]byte(b.must("", "cp", "nas:one", filepath.Join(dir, "one"), "--json")), &report); err != nil || report.Files != 1 || report.Same != 1 ||
		report.Moved != 0 || report.SHA256 != "7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed" {
		t.Error(report, err)
	}

	putText(t, "another", dir, "one")
	b.fails(exitFailed, "", []string{"cp", one, "nas:"}, "one exists already", "--force")
	wantText(t, "one", share, "one")
	b.must("", "cp", "--force", one, "nas:")
	wantText(t, "another", share, "one")
	b.fails(exitFailed, "", []string{"cp", one, "nas:../one"}, "not a path within the shared folder")
	b.fails(exitFailed, "", []string{"cp", "nas:/etc/passwd", dir}, "not a path within the shared folder")
	b.fails(exitFailed, "", []string{"cp", "nas:nothing", dir}, "no such file")
	b.fails(exitFailed, "", []string{"cp", filepath.Join(dir, "nothing"), "nas:"}, "nothing")
	b.fails(exitFailed, "", []string{"cp", one, "relay:"}, "--share DIR")
	b.fails(exitFailed, "", []string{"cp", one, "nobody:", "--timeout", "100ms"}, `no node "nobody"`)
	nas.leaves()
	relay.leaves()
}

func TestCopyUsage(t *testing.T) {
	b := newBench(t)
	for _, c := range []struct {
		args string
		part string
	}{
		{"cp", "what is to be copied"},
		{"cp a", "what is to be copied"},
		{"cp a b", "neither"},
		{"cp a:x b:y", "both"},
		{"cp a - b:x", "only one"},
		{"cp b:x b:y -", "only one"},
		{"cp - b:", "no name"},
		{"cp ./a:b c", "neither"},
		{"cp a b: --wait -1s", "--wait"},
		{"join --share /does/not/exist", "--share"},
	} {
		b.fails(exitUsage, "", strings.Fields(c.args), c.part)
	}
}

func TestParsePlace(t *testing.T) {
	for _, c := range []struct {
		arg     string
		windows bool
		want    place
	}{
		{"nas:", false, place{"nas", "", true}},
		{"nas:.", false, place{"nas", "", true}},
		{"nas:x", false, place{"nas", "x", false}},
		{"nas:x/", false, place{"nas", "x", true}},
		{"nas:./x//y/", false, place{"nas", "x/y", true}},
		{"nas:.x", false, place{"nas", ".x", false}},
		{"nas:../x", false, place{"nas", "../x", false}},
		{"nas:/x", false, place{"nas", "/x", false}},
		{"nas:a:b", false, place{"nas", "a:b", false}},
		{"c:x", false, place{"c", "x", false}},
		{`c:x`, true, place{"", "c:x", false}},
		{`c:\x\`, true, place{"", `c:\x\`, true}},
		{"./nas:x", false, place{"", "./nas:x", false}},
		{"two words:x", false, place{"", "two words:x", false}},
		{"x", false, place{"", "x", false}},
		{"x/..", false, place{"", "x/..", true}},
		{".", false, place{"", ".", true}},
		{"-", false, place{"", "-", false}},
	} {
		if got := parsePlace(c.arg, c.windows); got != c.want {
			t.Errorf("%s: %+v, want %+v", c.arg, got, c.want)
		}
	}
}
