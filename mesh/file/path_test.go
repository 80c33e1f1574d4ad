package file

import (
	"errors"
	"path"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestCheckPath(t *testing.T) {
	for _, c := range []struct {
		path          string
		unix, windows bool // it is one there
	}{
		{"", true, true},
		{"a", true, true},
		{"a b/grüße/.hidden/c", true, true},
		{"..a/b..", true, false},
		{"console/com0x/nul0", true, true},
		{"..", false, false},
		{".", false, false},
		{"a/../b", false, false},
		{"a/..", false, false},
		{"a//b", false, false},
		{"a/", false, false},
		{"/etc/passwd", false, false},
		{`\\host\share`, false, false},
		{`\x`, false, false},
		{`C:\x`, false, false},
		{"c:/x", false, false},
		{"a\x00b", false, false},
		{"a\xff", false, false},
		{".x.ultra-part", false, false},
		{strings.Repeat("a/", maxPath/2) + "a", false, false},
		{`a\..\..\b`, true, false},
		{"12:30", true, false},
		{"C:x", true, false},
		{"file::$DATA", true, false},
		{"NUL", true, false},
		{"a/con.txt", true, false},
		{"com1", true, false},
		{"LPT9.x.y", true, false},
		{"com¹", true, false},
		{"CONOUT$", true, false},
		{"aux .c", true, false},
		{"what?", true, false},
		{"a*", true, false},
		{"end.", true, false},
		{"end ", true, false},
		{"tab\there", true, false},
	} {
		for windows, want := range map[bool]bool{false: c.unix, true: c.windows} {
			if err := checkPathOn(c.path, windows); (err == nil) != want || err != nil && !errors.Is(err, ErrBadPath) {
				t.Errorf("%.40q, windows %v: %v", c.path, windows, err)
			}
		}
	}
}

func TestPartialOf(t *testing.T) {
	for _, c := range []string{"a", "a/b/c", "a/" + strings.Repeat("ü", 127), strings.Repeat("x", 255)} {
		p := partialOf(c)
		if base := path.Base(p); len(base) > 255 || !utf8.ValidString(base) || !isPartial(base) || base[0] != '.' || path.Dir(p) != path.Dir(c) {
			t.Error(p)
		}
		if err := checkPathOn(p, false); err == nil {
			t.Errorf("%s can be written", p)
		}
	}
}

func FuzzCheckPath(f *testing.F) {
	for _, seed := range []string{"a/b", "../x", `C:\x`, "a//b", "NUL"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, p string) {
		for _, windows := range []bool{false, true} {
			if checkPathOn(p, windows) != nil || p == "" {
				continue
			}
			// What passes stays below, however a system takes it apart.
			slashes := p
			if windows {
				slashes = strings.ReplaceAll(p, `\`, "/")
			}
			if clean := path.Clean("/below/" + slashes); !strings.HasPrefix(clean, "/below/") || clean != "/below/"+slashes {
				t.Errorf("%q, windows %v: %q", p, windows, clean)
			}
		}
	})
}
