package file

import (
	"fmt"
	"path"
	"path/filepath"
	"runtime"
	"strings"
	"unicode/utf8"
)

const (
	maxPath    = 4096
	partSuffix = ".ultra-part"
	maxBase    = 200 // bytes of a name that its partial file's has too; systems take 255
)

// checkPath wants a path within the shared folder: relative, with slashes, and nothing that another system would take for
// another place. "" is the folder itself.
func checkPath(p string) error { return checkPathOn(p, runtime.GOOS == "windows") }

func checkPathOn(p string, windows bool) error {
	switch {
	case p == "":
		return nil
	case len(p) > maxPath:
		return fmt.Errorf("%w: it is longer than %d bytes", ErrBadPath, maxPath)
	case !utf8.ValidString(p):
		return fmt.Errorf("%w: %q is not UTF-8", ErrBadPath, p)
	case strings.HasPrefix(p, "/"), strings.HasPrefix(p, `\`), hasDrive(p):
		return fmt.Errorf("%w: %q is absolute; paths begin in the shared folder", ErrBadPath, p)
	}
	for part := range strings.SplitSeq(p, "/") {
		switch {
		case part == "" || part == "." || part == "..":
			return fmt.Errorf("%w: %q has an empty part, \".\" or \"..\"", ErrBadPath, p)
		case strings.ContainsRune(part, 0):
			return fmt.Errorf("%w: %q has a zero byte", ErrBadPath, p)
		case strings.HasSuffix(part, partSuffix):
			return fmt.Errorf("%w: %q is the name of a partial file", ErrBadPath, p)
		case windows && !legalOnWindows(part):
			return fmt.Errorf("%w: Windows has no file %q", ErrBadPath, part)
		}
	}
	if !filepath.IsLocal(filepath.FromSlash(p)) {
		return fmt.Errorf("%w: %q", ErrBadPath, p)
	}
	return nil
}

// hasDrive tells whether a path begins as an absolute one of Windows: on no system is that meant as a file's name.
func hasDrive(p string) bool {
	return len(p) >= 3 && p[1] == ':' && (p[2] == '\\' || p[2] == '/') && (p[0]|0x20) >= 'a' && (p[0]|0x20) <= 'z'
}

// legalOnWindows tells whether Windows takes a part of a path for a file's name and nothing else: no separator, stream,
// device or wildcard (learn.microsoft.com/windows/win32/fileio/naming-a-file).
func legalOnWindows(part string) bool {
	if strings.ContainsAny(part, `<>:"|?*\`) || strings.ContainsFunc(part, func(r rune) bool { return r < ' ' }) {
		return false
	}
	if strings.HasSuffix(part, " ") || strings.HasSuffix(part, ".") {
		return false
	}
	stem, _, _ := strings.Cut(part, ".")
	stem = strings.ToUpper(strings.TrimRight(stem, " "))
	switch stem {
	case "CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$":
		return false
	}
	for _, device := range []string{"COM", "LPT"} {
		if number, ok := strings.CutPrefix(stem, device); ok && strings.Contains(" 0 1 2 3 4 5 6 7 8 9 ¹ ² ³ ", " "+number+" ") && number != "" {
			return false
		}
	}
	return true
}

// partialOf is the path of the file that p is until it is complete.
func partialOf(p string) string {
	dir, base := path.Split(p)
	for len(base) > maxBase {
		_, last := utf8.DecodeLastRuneInString(base)
		base = base[:len(base)-last]
	}
	return dir + "." + base + partSuffix
}

func isPartial(name string) bool { return strings.HasSuffix(name, partSuffix) }
