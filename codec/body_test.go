package codec

import (
	"errors"
	"fmt"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/fxamacker/cbor/v2"
	"pgregory.net/rapid"
)

// body is one kind of body for the tests that all of them run.
type body struct {
	name  string
	parse func([]byte) (any, error)
	write func(any) []byte
	draw  func(*rapid.T) any // what comes back as it was sent
	cbor  bool
}

func parseAs[T any](parse func([]byte) (T, error)) func([]byte) (any, error) {
	return func(b []byte) (any, error) { return parse(b) }
}

var bodies = []body{
	{"Hello", parseAs(ParseHello), func(v any) []byte { h := v.(Hello); return h.Append(nil) }, drawHello, true},
	{"Welcome", parseAs(ParseWelcome), func(v any) []byte { w := v.(Welcome); return w.Append(nil) }, drawWelcome, true},
	{"Refusal", parseAs(ParseRefusal), func(v any) []byte { r := v.(Refusal); return r.Append(nil) }, drawRefusal, true},
	{"Bye", parseAs(ParseBye), func(v any) []byte { b := v.(Bye); return b.Append(nil) }, drawBye, true},
	{"Roster", parseAs(ParseRoster), func(v any) []byte { r := v.(Roster); return r.Append(nil) }, drawRoster, true},
	{"Update", parseAs(ParseUpdate), func(v any) []byte { u := v.(Update); return u.Append(nil) }, drawUpdate, true},
	{"Ack", parseAs(ParseAck), func(v any) []byte { return v.(Ack).Append(nil) }, drawAck, false},
	{"Reset", parseAs(ParseReset), func(v any) []byte { return v.(Reset).Append(nil) }, drawReset, false},
	{"Unreachable", parseAs(ParseUnreachable), func(v any) []byte { return v.(Unreachable).Append(nil) }, drawUnreachable, false},
}

var drawName = rapid.StringMatching(`[a-z][a-z0-9._]{0,9}`).Filter(func(s string) bool { return s != "all" })

func drawNames(t *rapid.T, label string, most int) []string {
	names := rapid.SliceOfNDistinct(drawName, 0, most, rapid.ID[string]).Draw(t, label)
	if len(names) == 0 {
		return nil
	}
	return names
}

func drawAddrs(t *rapid.T, most int) []string {
	var addrs []string
	for range rapid.IntRange(0, most).Draw(t, "addrs") {
		addrs = append(addrs, fmt.Sprintf("192.0.2.%d:%d", rapid.Byte().Draw(t, "ip"), rapid.IntRange(1, 65535).Draw(t, "port")))
	}
	return addrs
}

func drawTags(t *rapid.T) map[string]string {
	tags := rapid.MapOfN(rapid.StringN(0, 20, 60), rapid.StringN(0, 20, 60), 0, 5).Draw(t, "tags")
	if len(tags) == 0 {
		return nil
	}
	return tags
}

func drawMaxMessage(t *rapid.T) uint64 {
	return rapid.OneOf(rapid.Just(uint64(DefaultMaxMessage)), rapid.Uint64Range(1, math.MaxUint64)).Draw(t, "max message")
}

func drawRequired(t *rapid.T, transforms []string) uint8 {
	return uint8(rapid.IntRange(0, 1<<len(transforms)-1).Draw(t, "required"))
}

func drawCandidates(t *rapid.T) [][]string {
	var candidates [][]string
	for range rapid.IntRange(0, 4).Draw(t, "candidates") {
		if addrs := drawAddrs(t, 3); addrs != nil {
			candidates = append(candidates, addrs)
		}
	}
	return candidates
}

func drawText(t *rapid.T) string { return rapid.StringN(0, 100, maxText).Draw(t, "text") }

func drawHello(t *rapid.T) any {
	h := Hello{
		Mesh: rapid.OneOf(rapid.Just(""), drawName).Draw(t, "mesh"), Name: drawName.Draw(t, "name"),
		Instance:   rapid.Uint64Range(1, math.MaxUint64).Draw(t, "instance"),
		Transforms: drawNames(t, "transforms", MaxTransforms), Groups: drawNames(t, "groups", MaxGroups), Tags: drawTags(t),
		State: State(rapid.IntRange(0, 1).Draw(t, "state")), Role: Role(rapid.IntRange(0, 2).Draw(t, "role")),
		MaxMessage: drawMaxMessage(t), WantsRoster: rapid.Bool().Draw(t, "wants"), Visitor: rapid.Bool().Draw(t, "visitor"),
		Addrs: drawAddrs(t, MaxAddrs), Term: rapid.Uint32().Draw(t, "term"),
	}
	h.Required = drawRequired(t, h.Transforms)
	if rapid.Bool().Draw(t, "has token") {
		h.Token = rapid.SliceOfN(rapid.Byte(), TokenSize, TokenSize).Draw(t, "token")
	}
	return h
}

func drawWelcome(t *rapid.T) any {
	return Welcome{
		Mesh: drawName.Draw(t, "mesh"), Relay: drawName.Draw(t, "relay"), Term: rapid.Uint32().Draw(t, "term"),
		Outbox: rapid.Uint32().Draw(t, "outbox"), Candidates: drawCandidates(t), Instance: rapid.Uint64().Draw(t, "instance"),
		Heartbeat: time.Duration(rapid.IntRange(1, 3600_000).Draw(t, "ms")) * time.Millisecond,
	}
}

func drawRefusal(t *rapid.T) any {
	return Refusal{
		Code: RefusalCode(rapid.Uint8().Draw(t, "code")), Text: drawText(t),
		Relay: rapid.OneOf(rapid.Just(""), drawName).Draw(t, "relay"), Addrs: drawAddrs(t, MaxAddrs),
	}
}

func drawBye(t *rapid.T) any {
	return Bye{
		Reason: ByeReason(rapid.Uint8().Draw(t, "reason")), Text: drawText(t),
		Relay: rapid.OneOf(rapid.Just(""), drawName).Draw(t, "relay"), Addrs: drawAddrs(t, MaxAddrs),
	}
}

func drawEntry(t *rapid.T) Entry {
	e := Entry{
		Name: drawName.Draw(t, "name"), Instance: rapid.Uint64().Draw(t, "instance"), Role: Role(rapid.IntRange(0, 2).Draw(t, "role")),
		State: State(rapid.IntRange(0, 1).Draw(t, "state")), Tags: drawTags(t), Groups: drawNames(t, "groups", 5),
		Transforms: drawNames(t, "transforms", MaxTransforms), MaxMessage: drawMaxMessage(t),
		Addr: rapid.StringN(0, 20, maxAddr).Draw(t, "addr"), Addrs: drawAddrs(t, MaxAddrs), Relay: rapid.Bool().Draw(t, "is relay"),
	}
	e.Required = drawRequired(t, e.Transforms)
	return e
}

func drawRoster(t *rapid.T) any {
	r := Roster{Candidates: drawCandidates(t)}
	for range rapid.IntRange(0, 5).Draw(t, "entries") {
		r.Entries = append(r.Entries, drawEntry(t))
	}
	return r
}

func drawChange(t *rapid.T) Change {
	c := Change{Op: ChangeOp(rapid.IntRange(1, 3).Draw(t, "op")), Entry: drawEntry(t)}
	if c.Op == Left {
		c.Reason = LeftReason(rapid.Uint8().Draw(t, "reason"))
		c.Entry = Entry{Name: c.Entry.Name, Instance: c.Entry.Instance}
	}
	return c
}

func drawUpdate(t *rapid.T) any {
	var u Update
	for range rapid.IntRange(0, 5).Draw(t, "changes") {
		u.Changes = append(u.Changes, drawChange(t))
	}
	return u
}

func drawAck(t *rapid.T) any {
	return Ack{rapid.Uint32().Draw(t, "window"), rapid.Uint32().Draw(t, "messages"), rapid.Uint32().Draw(t, "taken")}
}

func drawReset(t *rapid.T) any { return Reset{rapid.Bool().Draw(t, "known")} }

func drawUnreachable(t *rapid.T) any {
	return Unreachable{UnreachableReason(rapid.Uint8().Draw(t, "reason")), drawText(t)}
}

func TestBodyRoundTrip(t *testing.T) {
	for _, body := range bodies {
		t.Run(body.name, func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				want := body.draw(t)
				b := body.write(want)
				got, err := body.parse(b)
				if err != nil {
					t.Fatalf("%v\n%x", err, b)
				}
				if !reflect.DeepEqual(got, want) {
					t.Fatalf("got  %+v\nwant %+v", got, want)
				}
				if again := body.write(got); string(again) != string(b) {
					t.Fatalf("the same body is different bytes:\n%x\n%x", b, again)
				}
			})
		})
	}
}

// TestBodyAtEveryCut cuts a body that has every field at every byte. A CBOR map is whole or it is not; the plain bodies
// have a size, and an Unreachable is any reason with any text.
func TestBodyAtEveryCut(t *testing.T) {
	for _, body := range bodies {
		t.Run(body.name, func(t *testing.T) {
			b := body.write(fullBodies[body.name])
			for n := range b {
				_, err := body.parse(b[:n:n])
				if body.name == "Unreachable" && n > 0 {
					continue
				}
				if !errors.Is(err, ErrBody) {
					t.Errorf("cut at %d of %d: %v, want ErrBody", n, len(b), err)
				}
			}
			if body.name == "Unreachable" {
				return
			}
			if _, err := body.parse(append(b, 0)); !errors.Is(err, ErrBody) {
				t.Errorf("with a byte more: %v, want ErrBody", err)
			}
		})
	}
}

// fullBodies has a value of each body in which every field says something.
var fullBodies = map[string]any{
	"Hello": Hello{
		Mesh: "lab", Name: "board", Instance: 0x0123456789abcdef, Token: []byte("0123456789abcdef"),
		Transforms: []string{"seal", "snappy"}, Required: 1, Groups: []string{"sensors"}, Tags: map[string]string{"room": "küche", "os": "linux"},
		State: StatePaused, MaxMessage: 1 << 20, WantsRoster: true, Visitor: true, Role: RolePeer,
		Addrs: []string{"192.0.2.1:7000", "[2001:db8::1]:7000"}, Term: 9,
	},
	"Welcome": Welcome{
		Mesh: "lab", Relay: "hub", Term: 3, Outbox: 1 << 20, Heartbeat: 1500 * time.Millisecond,
		Candidates: [][]string{{"192.0.2.1:7000"}, {"192.0.2.2:7000", "[2001:db8::2]:7000"}}, Instance: 5,
	},
	"Refusal":     Refusal{Code: RefuseNotRelay, Text: "the relay is hub", Relay: "hub", Addrs: []string{"192.0.2.1:7000"}},
	"Bye":         Bye{Reason: ByeResigned, Text: "a server has come", Relay: "hub", Addrs: []string{"192.0.2.1:7000"}},
	"Roster":      Roster{Entries: []Entry{fullEntry, {Name: "b", Instance: 2, MaxMessage: DefaultMaxMessage}}, Candidates: [][]string{{"192.0.2.1:7000"}}},
	"Update":      Update{Changes: []Change{{Op: Joined, Entry: fullEntry}, {Op: Left, Reason: LeftLost, Entry: Entry{Name: "b", Instance: 2}}}},
	"Ack":         Ack{Window: 65536, Messages: 100, Taken: 41},
	"Reset":       Reset{Known: true},
	"Unreachable": Unreachable{Reason: Busy, Text: "its outbox is full"},
}

var fullEntry = Entry{
	Name: "board", Instance: 7, Role: RoleServer, State: StatePaused, Tags: map[string]string{"room": "lab"}, Groups: []string{"sensors"},
	Transforms: []string{"snappy"}, Required: 1, MaxMessage: 4096, Addr: "192.0.2.7:51000", Addrs: []string{"192.0.2.7:7000"}, Relay: true,
}

func TestFullBodiesAreFull(t *testing.T) {
	check := func(name string, v any) {
		rv := reflect.ValueOf(v)
		for i := range rv.NumField() {
			if rv.Field(i).IsZero() {
				t.Errorf("%s.%s is zero", name, rv.Type().Field(i).Name)
			}
		}
	}
	for name, v := range fullBodies {
		check(name, v)
		if got, err := bodyNamed(name).parse(bodyNamed(name).write(v)); err != nil || !reflect.DeepEqual(got, v) {
			t.Errorf("%s: got %+v, %v", name, got, err)
		}
	}
	check("Entry", fullEntry)
}

func bodyNamed(name string) body {
	for _, b := range bodies {
		if b.name == name {
			return b
		}
	}
	panic(name)
}

// TestBodyLeniency: what a later version may add does not disturb, whatever it is.
func TestBodyLeniency(t *testing.T) {
	for _, body := range bodies {
		if !body.cbor {
			continue
		}
		t.Run(body.name, func(t *testing.T) {
			want := fullBodies[body.name]
			var fields map[any]any
			if err := cbor.Unmarshal(body.write(want), &fields); err != nil {
				t.Fatal(err)
			}
			fields[uint64(99)] = cbor.Tag{Number: 4711, Content: []any{map[string]any{"deep": []int{1}}, nil, 1.5, true}}
			fields[int64(-1)] = "a negative key"
			fields["text"] = "a text key"
			b, err := cbor.Marshal(fields)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := body.parse(b); err != nil || !reflect.DeepEqual(got, want) {
				t.Fatalf("got %+v, %v; want %+v", got, err, want)
			}
		})
	}
}

// TestBodyKeepsNothing: what a parser returned stays when its input is written over.
func TestBodyKeepsNothing(t *testing.T) {
	for _, body := range bodies {
		want := fullBodies[body.name]
		b := body.write(want)
		got, err := body.parse(b)
		for i := range b {
			b[i] = 0xee
		}
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %+v, %v", body.name, got, err)
		}
	}
}

// TestBadNameIsTold: a relay answers a bad name with a code of its own.
func TestBadNameIsTold(t *testing.T) {
	h := Hello{Name: "a b", Instance: 1}
	if _, err := ParseHello(h.Append(nil)); !errors.Is(err, ErrBadName) || !errors.Is(err, ErrBody) {
		t.Error(err)
	}
	h = Hello{Name: "a"}
	if _, err := ParseHello(h.Append(nil)); errors.Is(err, ErrBadName) {
		t.Error(err)
	}
}

func TestDefaultsTravelAsNothing(t *testing.T) {
	a, b := Hello{Name: "n", Instance: 1}, Hello{Name: "n", Instance: 1, MaxMessage: DefaultMaxMessage}
	if string(a.Append(nil)) != string(b.Append(nil)) {
		t.Error("the default largest message is written")
	}
	if b.MaxMessage != DefaultMaxMessage {
		t.Error("Append changed the Hello")
	}
	if got, err := ParseHello(a.Append(nil)); err != nil || got.MaxMessage != DefaultMaxMessage {
		t.Error(got, err)
	}
	w := Welcome{Mesh: "m", Relay: "r"}
	if got, err := ParseWelcome(w.Append(nil)); err != nil || got.Heartbeat != DefaultHeartbeat {
		t.Error(got, err)
	}
	w.Heartbeat = time.Microsecond
	if got, err := ParseWelcome(w.Append(nil)); err != nil || got.Heartbeat != time.Millisecond {
		t.Error(got, err)
	}
}

func TestSentencesAreCut(t *testing.T) {
	long := strings.Repeat("ö", maxText)
	for _, c := range []struct {
		name string
		text func() (string, error)
	}{
		{"Refusal", func() (string, error) {
			r := Refusal{Text: long}
			got, err := ParseRefusal(r.Append(nil))
			return got.Text, err
		}},
		{"Bye", func() (string, error) {
			b := Bye{Text: long}
			got, err := ParseBye(b.Append(nil))
			return got.Text, err
		}},
		{"Unreachable", func() (string, error) {
			got, err := ParseUnreachable(Unreachable{Text: "x" + long}.Append(nil))
			return got.Text, err
		}},
		{"not UTF-8", func() (string, error) {
			r := Refusal{Text: "a\xffb"}
			got, err := ParseRefusal(r.Append(nil))
			return got.Text, err
		}},
	} {
		text, err := c.text()
		if err != nil || !utf8.ValidString(text) || len(text) > maxText || len(text) == 0 {
			t.Errorf("%s: %d bytes, %v", c.name, len(text), err)
		}
	}
}

func TestRefusalIsAnError(t *testing.T) {
	var err error = fmt.Errorf("dial: %w", Refusal{Code: RefuseMeshFull})
	var refusal Refusal
	if !errors.As(err, &refusal) || refusal.Code != RefuseMeshFull || refusal.Error() != "mesh full" {
		t.Error(err)
	}
	if got := (Refusal{Code: RefuseMeshFull, Text: "8 of 8"}).Error(); got != "8 of 8" {
		t.Error(got)
	}
}

func TestNamesOfNumbers(t *testing.T) {
	for _, c := range []struct {
		got  fmt.Stringer
		want string
	}{
		{RoleAuto, "auto"}, {RoleServer, "server"}, {RolePeer, "peer"}, {Role(9), "Role(9)"},
		{StateReady, "ready"}, {StatePaused, "paused"}, {State(9), "State(9)"},
		{RefuseMesh, "another mesh"}, {RefuseNotNow, "not now"}, {RefusalCode(0), "RefusalCode(0)"}, {RefusalCode(99), "RefusalCode(99)"},
		{ByeLeaving, "leaving"}, {ByePutOut, "put out"}, {ByeReason(9), "ByeReason(9)"},
		{Joined, "joined"}, {Left, "left"}, {Changed, "changed"}, {ChangeOp(9), "ChangeOp(9)"},
		{LeftBye, "bye"}, {LeftLost, "lost"}, {LeftReplaced, "replaced"}, {LeftReason(9), "LeftReason(9)"},
		{Absent, "absent"}, {Busy, "busy"}, {TooLarge, "too large"}, {Unsupported, "unsupported"}, {UnreachableReason(9), "UnreachableReason(9)"},
	} {
		if c.got.String() != c.want {
			t.Errorf("got %q, want %q", c.got, c.want)
		}
	}
}
