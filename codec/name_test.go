package codec

import (
	"errors"
	"strings"
	"testing"
)

func TestCheckName(t *testing.T) {
	for _, good := range []string{
		"a", "Z9", "lab-2", "_hidden", ".dot", "...", "a.b_c-d", "All", "alles", "日本", "küche", "٣", strings.Repeat("x", MaxName),
		strings.Repeat("é", MaxName/2),
	} {
		if err := CheckName(good); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
	for bad, says := range map[string]string{
		"":                                "empty",
		strings.Repeat("x", MaxName+1):    "at most 64",
		strings.Repeat("é", MaxName/2+1):  "at most 64",
		".":                               "meaning of its own",
		"..":                              "meaning of its own",
		"all":                             "meaning of its own",
		"-v":                              "begins with '-'",
		"a b":                             "letters, digits",
		"a/b":                             "letters, digits",
		"a\x00":                           "letters, digits",
		"a\n":                             "letters, digits",
		"a:b":                             "letters, digits",
		"smile☺":                          "letters, digits",
		"½":                               "letters, digits", // a number, but no decimal digit
		"a\u200b":                         "letters, digits", // invisible
		"e\u0301":                         "combining mark",
		"\xff":                            "not UTF-8",
		"a\xc3":                           "not UTF-8",
		"\xed\xa0\x80":                    "not UTF-8", // a surrogate
		"replacement \uFFFD is no letter": "letters, digits",
	} {
		err := CheckName(bad)
		if !errors.Is(err, ErrBadName) || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %v; want %q", bad, err, says)
		}
	}
}

func TestCheckNameAllocatesNothing(t *testing.T) {
	noAllocs(t, "CheckName", func() {
		if CheckName("thermostat-küche") != nil {
			t.Fatal("refused")
		}
	})
}
