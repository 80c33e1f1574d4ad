package codec

import (
	"bytes"
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

// The golden frames are for programmers in other languages too: see testdata/frames/README.md. A change of them is a change
// of the wire.
var update = flag.Bool("update", false, "write testdata/frames anew: the wire has changed on purpose")

const framesDir = "../testdata/frames"

// golden is one file of testdata/frames.
type golden struct {
	name  string
	about string
	frame Frame
	body  any // what the payload says, for kinds that have a body
}

var goldens = []golden{
	{"hello-minimal", "the least a node can say: name and instance", Frame{Kind: KindHello},
		Hello{Name: "board", Instance: 0x0123456789abcdef, MaxMessage: DefaultMaxMessage}},
	{"hello-full", "every field", Frame{Kind: KindHello}, fullBodies["Hello"]},
	{"welcome-minimal", "mesh and relay; the heartbeat is 1000 ms because none is stated", Frame{Kind: KindWelcome},
		Welcome{Mesh: "default", Relay: "hub", Heartbeat: DefaultHeartbeat}},
	{"welcome-full", "every field", Frame{Kind: KindWelcome}, fullBodies["Welcome"]},
	{"refusal-name-taken", "a code and a sentence", Frame{Kind: KindRefusal},
		Refusal{Code: RefuseNameTaken, Text: "the name board is taken by a live node"}},
	{"refusal-not-relay", "with the way to the relay", Frame{Kind: KindRefusal}, fullBodies["Refusal"]},

	{"data-text", `the first frame of a stream: the message "21.5 °C" to hub`, Frame{Kind: KindData, Flags: FlagFirst | FlagAckNow,
		To: "hub", From: "board", Stream: 0xc0ffee01, Seq: 1, Payload: value("21.5 °C")}, nil},
	{"data-more", "the first of two pieces of the bytes 01 to 06", Frame{Kind: KindData, Flags: FlagMore, To: "hub", From: "board",
		Stream: 0xc0ffee01, Seq: 0xffffffff, Payload: value([]byte{1, 2, 3, 4, 5, 6})[:4]}, nil},
	{"data-last", "the second of the two pieces; its number has wrapped", Frame{Kind: KindData, To: "hub", From: "board",
		Stream: 0xc0ffee01, Seq: 0, Payload: value([]byte{1, 2, 3, 4, 5, 6})[4:]}, nil},
	{"data-best-effort", "a map, without a number or an acknowledgement", Frame{Kind: KindData, To: "hub", From: "board",
		Payload: value(map[string]any{"celsius": 21.5, "n": 3})}, nil},
	{"data-group", `true, sent to the group lab`, Frame{Kind: KindData, Flags: FlagGroup, To: "hub", From: "board",
		Stream: 0xc0ffee01, Seq: 3, Payload: append([]byte("\x03lab"), value(true)...)}, nil},
	{"data-request", `the request "ping"`, Frame{Kind: KindData, Flags: FlagRequest, To: "hub", From: "board",
		Stream: 0xc0ffee01, Seq: 4, Payload: append([]byte("ABCDEFGH"), value("ping")...)}, nil},
	{"data-reply", `its reply "pong"`, Frame{Kind: KindData, Flags: FlagReply, To: "board", From: "hub",
		Stream: 0xbeef, Seq: 1, Payload: append([]byte("ABCDEFGH\x00"), value("pong")...)}, nil},
	{"data-several", `"a" and 1 share a frame`, Frame{Kind: KindData, Flags: FlagSeveral, To: "hub", From: "board",
		Stream: 0xc0ffee01, Seq: 7, Payload: append(append([]byte{0, 2}, value("a")...), append([]byte{0, 1}, value(1)...)...)}, nil},
	{"data-snappy", "an array of 300 zeros, packed by the receiver's first transform, snappy", Frame{Kind: KindData, Packing: 1,
		To: "hub", From: "board", Stream: 0xc0ffee01, Seq: 5, Payload: snapped(value(make([]int, 300)))}, nil},
	{"data-names", "names of two scripts and the longest length", Frame{Kind: KindData, To: "küche", From: strings.Repeat("x", MaxName),
		Payload: value(nil)}, nil},

	{"ack", "next expected 6; 65536 bytes and 100 messages from there; all before 41 taken", Frame{Kind: KindAck, To: "board", From: "hub",
		Stream: 0xc0ffee01, Seq: 6}, fullBodies["Ack"]},
	{"reset-known", "go back to 6", Frame{Kind: KindReset, To: "board", From: "hub", Stream: 0xc0ffee01, Seq: 6}, Reset{Known: true}},
	{"reset-unknown", "this stream is not known here", Frame{Kind: KindReset, To: "board", From: "hub", Stream: 0xc0ffee01}, Reset{}},
	{"unreachable-absent", "no sentence", Frame{Kind: KindUnreachable, To: "board", From: "nobody", Stream: 0xc0ffee01, Seq: 1},
		Unreachable{Reason: Absent}},
	{"unreachable-busy", "with a sentence", Frame{Kind: KindUnreachable, To: "board", From: "hub", Stream: 0xc0ffee01, Seq: 7},
		fullBodies["Unreachable"]},

	{"roster", "a whole roster in one part: one entry with every field, one with the least", Frame{Kind: KindRoster, Flags: FlagFirst},
		fullBodies["Roster"]},
	{"roster-empty", "nobody else is there", Frame{Kind: KindRoster, Flags: FlagFirst}, Roster{}},
	{"update", "one joined, one lost", Frame{Kind: KindUpdate}, fullBodies["Update"]},
	{"update-own", "a node tells of its own state, tags and groups", Frame{Kind: KindUpdate}, Update{Changes: []Change{{Op: Changed,
		Entry: Entry{State: StatePaused, Tags: map[string]string{"room": "lab"}, Groups: []string{"sensors"}, MaxMessage: DefaultMaxMessage}}}}},
	{"ping", "of the link", Frame{Kind: KindPing, Payload: []byte("12345678")}, nil},
	{"pong", "its answer", Frame{Kind: KindPong, Payload: []byte("12345678")}, nil},
	{"ping-node", "from node to node", Frame{Kind: KindPing, To: "hub", From: "board"}, nil},
	{"bye-leaving", "for good; an empty map", Frame{Kind: KindBye}, Bye{}},
	{"bye-resigned", "every field", Frame{Kind: KindBye}, fullBodies["Bye"]},
	{"unknown-kind", "forwarded by a relay that does not know it", Frame{Kind: KindForward, Flags: FlagsUnknown, To: "hub", From: "board",
		Payload: []byte("of a later version")}, nil},
}

func value(v any) []byte { return must(AppendValue(nil, v)) }

func snapped(b []byte) []byte { return must(Snappy().Encode(nil, b)) }

func bodyOf(v any) body { return bodyNamed(reflect.TypeOf(v).Name()) }

func TestGoldenFrames(t *testing.T) {
	for _, g := range goldens {
		t.Run(g.name, func(t *testing.T) {
			f := g.frame
			if g.body != nil {
				f.Payload = bodyOf(g.body).write(g.body)
			}
			made := f.Append(nil)
			path := filepath.Join(framesDir, g.name+".hex")
			if *update {
				if err := os.WriteFile(path, annotate(g, Raw(made)), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want := readHex(t, path)
			if !bytes.Equal(made, want) {
				t.Fatalf("made %x\nwant %x", made, want)
			}

			raw, rest, err := Next(want)
			if err != nil || len(rest) != 0 || !raw.Valid() {
				t.Fatalf("%v, %d bytes left, valid %v", err, len(rest), raw.Valid())
			}
			if got := raw.Frame(); !equalFrames(got, f) {
				t.Errorf("read %+v\nwant %+v", got, f)
			}
			if g.body == nil {
				return
			}
			if got, err := bodyOf(g.body).parse(raw.Payload()); err != nil || !reflect.DeepEqual(got, g.body) {
				t.Errorf("read %+v, %v\nwant %+v", got, err, g.body)
			}
		})
	}
}

var goldenPreambles = []struct {
	name, about string
	bytes       []byte
}{
	{"preamble-open", "version 1, open", Preamble{Version, ModeOpen}.Append(nil)},
	{"preamble-secret", "version 1, with a secret", Preamble{Version, ModeSecret}.Append(nil)},
	{"answer-go-on", "version 1, go on", Answer{Version: Version}.Append(nil)},
	{"answer-wait", "version 1, come back in 1500 ms", Answer{Version, StatusWait, 1500 * time.Millisecond}.Append(nil)},
}

func TestGoldenPreambles(t *testing.T) {
	for _, g := range goldenPreambles {
		path := filepath.Join(framesDir, g.name+".hex")
		if *update {
			text := fmt.Sprintf("# %s: %s\n%x\n", g.name, g.about, g.bytes)
			if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want := readHex(t, path)
		if !bytes.Equal(g.bytes, want) {
			t.Errorf("%s: made %x, want %x", g.name, g.bytes, want)
		}
		again := []byte(nil)
		if strings.HasPrefix(g.name, "preamble") {
			again = must(ParsePreamble(want)).Append(nil)
		} else {
			again = must(ParseAnswer(want)).Append(nil)
		}
		if !bytes.Equal(again, want) {
			t.Errorf("%s: read and written %x, want %x", g.name, again, want)
		}
	}
}

const goldenSealed = "data-sealed"

// TestGoldenSealed: the frame of data-text, sealed. The checksum is that of the frame which it becomes again.
func TestGoldenSealed(t *testing.T) {
	plain := Raw(readHex(t, filepath.Join(framesDir, "data-text.hex")))
	s := NewSealer([SealKey]byte([]byte("0123456789abcdef0123456789abcdef")))
	s.count = 5
	made := sealed(s, plain)
	path := filepath.Join(framesDir, goldenSealed+".hex")
	if *update {
		g := golden{name: goldenSealed, about: "data-text, sealed: behind the names the key and the counter 5, then the ciphertext and its tag"}
		if err := os.WriteFile(path, annotate(g, made), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, rest, err := Next(readHex(t, path))
	if err != nil || len(rest) > 0 || !bytes.Equal(made, want) {
		t.Fatalf("made %x\nwant %x, %v", made, want, err)
	}
	if got := new(Opener).Open(want); !bytes.Equal(got, plain) || !got.Valid() {
		t.Errorf("opened %x\nwant %x", got, plain)
	}
}

// TestGoldenFilesAreAllUsed: a file nobody checks is a promise nobody keeps; and every kind has one.
func TestGoldenFilesAreAllUsed(t *testing.T) {
	known := map[string]bool{}
	kinds := map[Kind]bool{}
	for _, g := range goldens {
		known[g.name] = true
		kinds[g.frame.Kind] = true
	}
	for _, g := range goldenPreambles {
		known[g.name] = true
	}
	known[goldenSealed] = true
	files, err := filepath.Glob(framesDir + "/*.hex")
	if err != nil || len(files) == 0 {
		t.Fatal(len(files), err)
	}
	for _, path := range files {
		if name := strings.TrimSuffix(filepath.Base(path), ".hex"); !known[name] {
			t.Errorf("%s: no test reads it", name)
		}
	}
	for k := KindHello; k <= KindBye; k++ {
		if !kinds[k] {
			t.Errorf("no golden frame for %v", k)
		}
	}
}

// readHex reads a file of testdata/frames: hexadecimal digits; white space, and all from # to the end of a line, do not
// count.
func readHex(t testing.TB, path string) []byte {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var digits strings.Builder
	for line := range strings.Lines(string(text)) {
		line, _, _ = strings.Cut(line, "#")
		for _, field := range strings.Fields(line) {
			digits.WriteString(field)
		}
	}
	b, err := hex.DecodeString(digits.String())
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return b
}

// annotate writes a frame as a person would explain it.
func annotate(g golden, r Raw) []byte {
	var out strings.Builder
	fmt.Fprintf(&out, "# %s: %s\n", g.name, g.about)
	line := func(b []byte, format string, args ...any) {
		fmt.Fprintf(&out, "%-12s # %s\n", hex.EncodeToString(b), fmt.Sprintf(format, args...))
	}
	line(r[:kindAt], "length: %d bytes follow", len(r)-lengthSize)
	line(r[kindAt:flagsAt], "kind: %v", r.Kind())
	line(r[flagsAt:packingAt], "flags: %v", r.Flags())
	line(r[packingAt:toLenAt], "packing")
	line(r[toLenAt:fromLenAt], "length of the destination")
	line(r[fromLenAt:sealedAt], "length of the source")
	line(r[sealedAt:reservedAt], "sealed")
	line(r[reservedAt:streamAt], "reserved")
	line(r[streamAt:seqAt], "stream")
	line(r[seqAt:checksumAt], "sequence: %d", r.Seq())
	line(r[checksumAt:HeaderSize], "checksum")
	if to := r.To(); len(to) > 0 {
		line(to, "destination: %s", to)
	}
	if from := r.From(); len(from) > 0 {
		line(from, "source: %s", from)
	}
	payload := r.Payload()
	if len(payload) == 0 {
		return []byte(out.String())
	}
	switch {
	case g.body != nil && bodyOf(g.body).cbor, r.Kind() == KindData && !IsSealed(r) && r.Packing() == 0 && scanValue(payload) == nil:
		fmt.Fprintf(&out, "# payload: %s\n", Diagnose(payload))
	default:
		out.WriteString("# payload\n")
	}
	const perLine = 32
	for ; len(payload) > perLine; payload = payload[perLine:] {
		fmt.Fprintf(&out, "%x\n", payload[:perLine])
	}
	fmt.Fprintf(&out, "%x\n", payload)
	return []byte(out.String())
}
