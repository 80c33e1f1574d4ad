package codec

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
)

func TestBodyRefusals(t *testing.T) {
	names := func(n int) []string {
		list := make([]string, n)
		for i := range list {
			list[i] = fmt.Sprint("n", i)
		}
		return list
	}
	addrs := func(n int) []string {
		list := make([]string, n)
		for i := range list {
			list[i] = fmt.Sprint("192.0.2.1:", i+1)
		}
		return list
	}
	hello := func(change func(*Hello)) Hello {
		h := Hello{Name: "n", Instance: 1}
		change(&h)
		return h
	}
	entry := func(change func(*Entry)) Roster {
		e := Entry{Name: "n", Instance: 1}
		change(&e)
		return Roster{Entries: []Entry{{Name: "fine"}, e}}
	}
	for _, c := range []struct {
		what string
		v    any
		says string
	}{
		{"no name", hello(func(h *Hello) { h.Name = "" }), "name"},
		{"bad name", hello(func(h *Hello) { h.Name = "a b" }), "name"},
		{"bad mesh", hello(func(h *Hello) { h.Mesh = "all" }), "mesh"},
		{"no instance", hello(func(h *Hello) { h.Instance = 0 }), "instance"},
		{"short token", hello(func(h *Hello) { h.Token = []byte("short") }), "token"},
		{"many transforms", hello(func(h *Hello) { h.Transforms = names(MaxTransforms + 1) }), "transforms"},
		{"a transform twice", hello(func(h *Hello) { h.Transforms = []string{"a", "b", "a"} }), "twice"},
		{"required beyond the list", hello(func(h *Hello) { h.Transforms, h.Required = names(2), 4 }), "required"},
		{"many groups", hello(func(h *Hello) { h.Groups = names(MaxGroups + 1) }), "groups"},
		{"a group of all", hello(func(h *Hello) { h.Groups = []string{"all"} }), "groups"},
		{"large tags", hello(func(h *Hello) { h.Tags = map[string]string{"k": strings.Repeat("v", MaxHello)} }), "4096"},
		{"many tags", hello(func(h *Hello) {
			h.Tags = map[string]string{}
			for _, name := range names(MaxTags + 1) {
				h.Tags[name] = ""
			}
		}), "tags"},
		{"unknown state", hello(func(h *Hello) { h.State = 2 }), "state"},
		{"unknown role", hello(func(h *Hello) { h.Role = 3 }), "role"},
		{"many addresses", hello(func(h *Hello) { h.Addrs = addrs(MaxAddrs + 1) }), "addresses"},
		{"a host name", hello(func(h *Hello) { h.Addrs = []string{"hub.local:7000"} }), "ip:port"},
		{"port 0", hello(func(h *Hello) { h.Addrs = []string{"192.0.2.1:0"} }), "ip:port"},
		{"a long address", hello(func(h *Hello) { h.Addrs = []string{"[fe80::1%" + strings.Repeat("z", 64) + "]:1"} }), "address"},

		{"no mesh", Welcome{Relay: "r"}, "mesh"},
		{"no relay", Welcome{Mesh: "m"}, "relay"},
		{"bad candidate", Welcome{Mesh: "m", Relay: "r", Candidates: [][]string{{"x"}}}, "candidate"},

		{"bad relay", Refusal{Relay: "a b"}, "relay"},
		{"bad address", Refusal{Addrs: []string{"x"}}, "ip:port"},
		{"bad relay", Bye{Relay: "a b"}, "relay"},
		{"many addresses", Bye{Addrs: addrs(MaxAddrs + 1)}, "addresses"},

		{"no name", entry(func(e *Entry) { e.Name = "" }), "name"},
		{"many transforms", entry(func(e *Entry) { e.Transforms = names(MaxTransforms + 1) }), "transforms"},
		{"many groups", entry(func(e *Entry) { e.Groups = names(MaxGroups + 1) }), "groups"},
		{"large tags", entry(func(e *Entry) { e.Tags = map[string]string{"k": strings.Repeat("v", MaxHello)} }), "tags"},
		{"unknown state", entry(func(e *Entry) { e.State = 2 }), "state"},
		{"unknown role", entry(func(e *Entry) { e.Role = 3 }), "role"},
		{"many addresses", entry(func(e *Entry) { e.Addrs = addrs(MaxAddrs + 1) }), "addresses"},
		{"a long address", entry(func(e *Entry) { e.Addr = strings.Repeat("x", maxAddr+1) }), "address"},
		{"many candidates", Roster{Candidates: make([][]string, MaxCandidates+1)}, "candidates"},
		{"many entries", Roster{Entries: make([]Entry, MaxEntries+1)}, "elements"},

		{"no op", Update{Changes: []Change{{Entry: Entry{Name: "n"}}}}, "change"},
		{"unknown op", Update{Changes: []Change{{Op: 4, Entry: Entry{Name: "n"}}}}, "change"},
		{"joined without a name", Update{Changes: []Change{{Op: Joined}}}, "name"},
		{"left without a name", Update{Changes: []Change{{Op: Left}}}, "name"},
		{"changed with a bad name", Update{Changes: []Change{{Op: Changed, Entry: Entry{Name: "a b"}}}}, "name"},
	} {
		name := reflect.TypeOf(c.v).Name()
		t.Run(name+" "+c.what, func(t *testing.T) {
			_, err := bodyNamed(name).parse(bodyNamed(name).write(c.v))
			if !errors.Is(err, ErrBody) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%v; want ErrBody with %q", err, c.says)
			}
			if h, ok := c.v.(Hello); ok {
				if checked := h.Check(); !errors.Is(checked, ErrBody) {
					t.Errorf("Check says %v", checked)
				}
			}
		})
	}
}

func TestBodyOddBytes(t *testing.T) {
	for _, c := range []struct{ what, hex string }{
		{"nothing", ""},
		{"null", "\xf6"},
		{"an array", "\x80"},
		{"a text", "\x61a"},
		{"a tagged map", "\xd9\xd9\xf7\xa0"},
		{"a repeated key", "\xa2\x02\x61a\x02\x61b"},
		{"text that is not UTF-8", "\xa1\x02\x61\xff"},
		{"a name of bytes", "\xa1\x02\x41a"},
		{"a name of a number", "\xa1\x02\x05"},
		{"an array of 4 Gi elements", "\xa1\x05\x9a\xff\xff\xff\xff"},
		{"a text of 16 EiB", "\xa1\x02\x7b\xff\xff\xff\xff\xff\xff\xff\xff"},
		{"deep nesting under an unknown key", "\xa1\x18\x63" + strings.Repeat("\x81", 100) + "\x00"},
	} {
		for _, body := range bodies {
			if !body.cbor {
				continue
			}
			if _, err := body.parse([]byte(c.hex)); !errors.Is(err, ErrBody) {
				if c.what == "text that is not UTF-8" || c.what == "a name of bytes" || c.what == "a name of a number" || strings.HasPrefix(c.what, "an array of") {
					continue // not every body has text under key 2
				}
				t.Errorf("%s: %s: %v, want ErrBody", body.name, c.what, err)
			}
		}
	}
	// A body may be longer than it is allowed to be only on purpose.
	long := append([]byte("\xa1\x18\x63\x59\x40\x00"), make([]byte, MaxPayload)...)
	for _, body := range bodies {
		if _, err := body.parse(long); body.cbor && !errors.Is(err, ErrBody) {
			t.Errorf("%s of %d bytes: %v", body.name, len(long), err)
		}
	}
}
