package codec

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// readFrames splits b into frames and checks what all frames between a node and its relay have in common.
func readFrames(t fataler, b []byte, kind Kind) []Raw {
	var frames []Raw
	for len(b) > 0 {
		raw, rest, err := Next(b)
		if err != nil || raw == nil {
			t.Fatalf("frame %d: %v, %v", len(frames), raw, err)
		}
		if !raw.Valid() || raw.Kind() != kind || len(raw.To())+len(raw.From()) != 0 || raw.Stream() != 0 || raw.Seq() != 0 {
			t.Fatalf("frame %d: %+v", len(frames), raw.Frame())
		}
		frames = append(frames, raw)
		b = rest
	}
	return frames
}

type fataler interface{ Fatalf(string, ...any) }

// readRoster puts the parts of a roster together, as a node does.
func readRoster(t fataler, b []byte) (whole Roster, parts int) {
	frames := readFrames(t, b, KindRoster)
	for i, raw := range frames {
		if first := raw.Flags()&FlagFirst != 0; first != (i == 0) {
			t.Fatalf("part %d of %d: flags %v", i, len(frames), raw.Flags())
		}
		if more := raw.Flags()&FlagMore != 0; more != (i < len(frames)-1) {
			t.Fatalf("part %d of %d: flags %v", i, len(frames), raw.Flags())
		}
		r, err := ParseRoster(raw.Payload())
		if err != nil {
			t.Fatalf("part %d: %v", i, err)
		}
		if len(r.Candidates) > 0 && i < len(frames)-1 {
			t.Fatalf("candidates in part %d of %d", i, len(frames))
		}
		whole.Entries = append(whole.Entries, r.Entries...)
		whole.Candidates = append(whole.Candidates, r.Candidates...)
	}
	return whole, len(frames)
}

// largestEntry is the entry of the largest Hello that Check lets pass.
func largestEntry(i int) Entry {
	e := Entry{
		Name: fmt.Sprintf("%064d", i), Instance: 1<<64 - 1, Role: RolePeer, State: StatePaused, Required: 255, MaxMessage: 1<<64 - 1,
		Addr: strings.Repeat("x", maxAddr), Relay: true, Tags: map[string]string{"fill": strings.Repeat("x", 2000)},
	}
	for k := range MaxTransforms {
		e.Transforms = append(e.Transforms, fmt.Sprintf("%064d", k))
		e.Addrs = append(e.Addrs, fmt.Sprintf("[2001:db8:1111:2222:3333:4444:5555:6666]:%d", 60000+k))
	}
	return e
}

func TestRosterIsCutIntoFrames(t *testing.T) {
	for _, c := range []struct {
		entries  int
		make     func(int) Entry
		atLeast  int
		maxParts int
	}{
		{0, nil, 1, 1},
		{1, largestEntry, 1, 1},
		{20, largestEntry, 2, 20},
		{500, func(i int) Entry { return Entry{Name: fmt.Sprint("node", i), Instance: uint64(i + 1)} }, 1, 2},
		{2 * MaxEntries, func(i int) Entry { return Entry{Name: fmt.Sprint("n", i), Instance: 1} }, 2, 4},
		{3*MaxEntries + 1, func(i int) Entry { return Entry{Name: "n"} }, 4, 4},
	} {
		t.Run(fmt.Sprint(c.entries), func(t *testing.T) {
			var entries []Entry
			for i := range c.entries {
				e := c.make(i)
				e.MaxMessage = fillDefault(e.MaxMessage)
				entries = append(entries, e)
			}
			candidates := [][]string{{"192.0.2.1:1"}, {"192.0.2.2:2"}}
			got, parts := readRoster(t, AppendRosterFrames(nil, entries, candidates))
			if parts < c.atLeast || parts > c.maxParts {
				t.Errorf("%d parts, want %d to %d", parts, c.atLeast, c.maxParts)
			}
			if !reflect.DeepEqual(got, Roster{entries, candidates}) {
				t.Errorf("%d of %d entries, candidates %v", len(got.Entries), len(entries), got.Candidates)
			}
		})
	}
}

func TestRosterFramesRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var want Roster
		for range rapid.IntRange(0, 30).Draw(t, "entries") {
			e := drawEntry(t)
			if rapid.Bool().Draw(t, "large") {
				e.Tags = map[string]string{"fill": strings.Repeat("x", rapid.IntRange(1, MaxHello-4).Draw(t, "size"))}
			}
			want.Entries = append(want.Entries, e)
		}
		want.Candidates = drawCandidates(t)
		got, _ := readRoster(t, AppendRosterFrames(nil, want.Entries, want.Candidates))
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("got  %+v\nwant %+v", got, want)
		}
	})
}

// TestCandidatesThatDoNotFit: a mesh of machines with many addresses each must not make its relay fail.
func TestCandidatesThatDoNotFit(t *testing.T) {
	var candidates [][]string
	for range MaxCandidates + 10 {
		var addrs []string
		for k := range MaxAddrs {
			addrs = append(addrs, fmt.Sprintf("[2001:db8:1111:2222:3333:4444:5555:6666]:%d", 60000+k))
		}
		candidates = append(candidates, addrs)
	}
	check := func(what string, got [][]string) {
		if len(got) < 30 || len(got) > MaxCandidates || !reflect.DeepEqual(got, candidates[:len(got)]) {
			t.Errorf("%s: %d candidates came through", what, len(got))
		}
	}

	w := Welcome{Mesh: strings.Repeat("m", MaxName), Relay: strings.Repeat("r", MaxName), Term: 1<<32 - 1, Outbox: 1<<32 - 1,
		Heartbeat: maxHeartbeat, Candidates: candidates, Instance: 1<<64 - 1}
	f := Frame{Kind: KindWelcome, Payload: w.Append(nil)}
	raw, _, err := Next(f.Append(nil))
	if err != nil {
		t.Fatal(err)
	}
	got, err := ParseWelcome(raw.Payload())
	if err != nil {
		t.Fatal(err)
	}
	check("Welcome", got.Candidates)

	roster, parts := readRoster(t, AppendRosterFrames(nil, []Entry{largestEntry(0)}, candidates))
	if parts != 2 {
		t.Errorf("%d parts, want 2", parts)
	}
	check("Roster", roster.Candidates)

	short := make([][]string, MaxCandidates+10)
	for i := range short {
		short[i] = []string{"192.0.2.1:1"}
	}
	if got := fitCandidates(short, MaxPayload); len(got) != MaxCandidates {
		t.Errorf("%d candidates, want %d", len(got), MaxCandidates)
	}
}

func TestUpdateIsCutIntoFrames(t *testing.T) {
	for _, n := range []int{0, 1, 2, 50, MaxEntries + 1} {
		var want []Change
		for i := range n {
			c := Change{Op: Joined, Entry: largestEntry(i)}
			if n > 100 {
				c = Change{Op: Left, Reason: LeftLost, Entry: Entry{Name: fmt.Sprint("n", i), Instance: 1}}
			}
			want = append(want, c)
		}
		var got []Change
		frames := readFrames(t, AppendUpdateFrames(nil, want), KindUpdate)
		for _, raw := range frames {
			u, err := ParseUpdate(raw.Payload())
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, u.Changes...)
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%d changes: got %d in %d frames", n, len(got), len(frames))
		}
		if n == 0 && len(frames) != 0 {
			t.Errorf("no changes make %d frames", len(frames))
		}
	}
}

// TestEveryEntryFitsAFrame: what Check and the limit of an Update let into a roster, AppendRosterFrames can send.
func TestEveryEntryFitsAFrame(t *testing.T) {
	e := largestEntry(0)
	e.Tags = map[string]string{"": strings.Repeat("x", maxTagBytes)}
	for i := range MaxGroups {
		e.Groups = append(e.Groups, fmt.Sprintf("%064d", i))
	}
	if got, _ := readRoster(t, AppendRosterFrames(nil, []Entry{e}, nil)); len(got.Entries) != 1 {
		t.Error("the largest entry did not come through")
	}
}

func TestOwnChangeNeedsNoName(t *testing.T) {
	u := Update{Changes: []Change{{Op: Changed, Entry: Entry{State: StatePaused, Groups: []string{"lab"}}}}}
	got, err := ParseUpdate(u.Append(nil))
	if err != nil || got.Changes[0].Entry.State != StatePaused {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestLeftCarriesNameAndInstanceOnly(t *testing.T) {
	u := Update{Changes: []Change{{Op: Left, Reason: LeftBye, Entry: fullEntry}, {Op: Joined, Reason: LeftLost, Entry: Entry{Name: "x"}}}}
	got, err := ParseUpdate(u.Append(nil))
	if err != nil {
		t.Fatal(err)
	}
	if want := (Entry{Name: fullEntry.Name, Instance: fullEntry.Instance}); !reflect.DeepEqual(got.Changes[0].Entry, want) {
		t.Errorf("%+v", got.Changes[0].Entry)
	}
	if got.Changes[1].Reason != 0 {
		t.Errorf("a node that joined has a reason to have left: %v", got.Changes[1].Reason)
	}
}
