package codec

import (
	"fmt"
	"unicode"
	"unicode/utf8"
)

// CheckName returns nil if name can be the name of a node, group, mesh or transform: 1 to [MaxName] bytes of UTF-8 letters
// (Unicode category L), decimal digits (Nd), '.', '_' and '-', not beginning with '-', and neither ".", ".." nor "all".
// Names are compared byte by byte: "Lab" and "lab" are two. The rules keep a name one word in a command line, a path and
// a log. Otherwise the error wraps [ErrBadName] and says which rule was broken and how to mend it.
func CheckName(name string) error {
	switch {
	case name == "":
		return fmt.Errorf("%w: it is empty; give 1 to %d bytes", ErrBadName, MaxName)
	case len(name) > MaxName:
		return fmt.Errorf("%w: %.16q… has %d bytes; at most %d fit", ErrBadName, name, len(name), MaxName)
	case name == "." || name == ".." || name == "all":
		return fmt.Errorf("%w: %q has a meaning of its own; choose another", ErrBadName, name)
	case name[0] == '-':
		return fmt.Errorf("%w: %q begins with '-', which looks like an option; begin with a letter or digit", ErrBadName, name)
	}
	for i := 0; i < len(name); {
		c := name[i]
		if c < utf8.RuneSelf {
			if !plainNameByte(c) {
				return fmt.Errorf("%w: %q holds %q; use letters, digits, '.', '_' and '-'", ErrBadName, name, rune(c))
			}
			i++
			continue
		}
		r, size := utf8.DecodeRuneInString(name[i:])
		if r == utf8.RuneError && size == 1 {
			return fmt.Errorf("%w: %q is not UTF-8", ErrBadName, name)
		}
		if unicode.IsMark(r) {
			return fmt.Errorf("%w: %q holds the combining mark %U; use composed letters (Unicode form NFC)", ErrBadName, name, r)
		}
		if !unicode.IsLetter(r) && !unicode.IsDigit(r) {
			return fmt.Errorf("%w: %q holds %q; use letters, digits, '.', '_' and '-'", ErrBadName, name, r)
		}
		i += size
	}
	return nil
}

func plainNameByte(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '.' || c == '_' || c == '-'
}
