//go:build unix

package relay

import (
	"bytes"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"ultrasockets/codec"
)

// between is what happens while a reader writes to a link itself.
type between struct{ do func() }

func (b between) Control(func(uintptr)) error    { return nil }
func (b between) Read(func(uintptr) bool) error  { return nil }
func (b between) Write(func(uintptr) bool) error { b.do(); return nil }

// TestBusyIsTold: who heard that an outbox is busy is told when it comes round, whoever is at work.
func TestBusyIsTold(t *testing.T) {
	told := 0
	o := &outbox{limit: 1000, clock: new(coarse), roomy: true, onRoom: func() { told++ }}
	drained := 0
	o.drain = func() {
		for drained++; o.next(); {
			o.done()
		}
	}
	if o.isBusy() {
		t.Fatal("an idle outbox is busy")
	}
	if _, mark := o.put([]byte("frame"), nil, false); !mark || !o.isBusy() {
		t.Fatal("an outbox that waits to be drained is not busy")
	}
	if o.wake(); told != 1 {
		t.Errorf("told %d times by the writer", told)
	}

	frame := []byte("frame")
	o.direct = &direct{}
	o.direct.rc = between{func() {
		if !o.isBusy() {
			t.Error("an outbox that a reader writes to is not busy")
		}
		o.direct.n = len(frame)
	}}
	if told = 0; !o.writeDirect(frame, nil) || told != 1 {
		t.Errorf("told %d times after a reader's write", told)
	}
	if o.held != 0 || o.state != idle || drained != 2 {
		t.Errorf("%d bytes are left, state %d, drained %d times", o.held, o.state, drained)
	}
}

// TestLoneAfterAnAck: what is written right after an acknowledgement is lone all the same, as the next request after a reply is;
// what follows something of its kind waits for a writer, with which more may come.
func TestLoneAfterAnAck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		frame, atOnce, drained := []byte("frame"), 0, 0
		l := &Link{out: outbox{limit: 1000, clock: new(coarse), direct: new(direct)}}
		l.out.drain = func() {
			for drained++; l.out.next(); {
				l.out.done()
			}
		}
		l.out.direct.rc = between{func() { atOnce++; l.out.direct.n = len(frame) }}
		l.rested(false)
		l.rested(true)
		for i, c := range []struct {
			control bool
			wait    time.Duration
			direct  int
		}{
			{true, 2 * rest, 1},
			{false, 0, 2}, // after an acknowledgement
			{false, 0, 2},
			{true, 0, 2},
			{false, 2 * rest, 3},
			{true, 0, 4}, // after a message
		} {
			time.Sleep(c.wait)
			if !l.Write(frame, c.control) {
				t.Fatalf("%d: the outbox is full", i)
			}
			if atOnce != c.direct || atOnce+drained != i+1 {
				t.Errorf("%d: %d were written at once, want %d; a writer wrote %d", i, atOnce, c.direct, drained)
			}
		}
	})
}

// TestLoneInOnePiece: frames whose payloads are elsewhere are written at once, too, if they are lone and not too long, and what
// they refer to is nobody's then. What the kernel does not take of them follows in order.
func TestLoneInOnePiece(t *testing.T) {
	for name, c := range map[string]struct {
		frames, takes int
		lone          bool
		direct        bool
	}{
		"one":          {1, 1 << 20, true, true},
		"some":         {3, 1 << 20, true, true},
		"half written": {3, 5000, true, true},
		"none written": {3, 0, true, true},
		"not lone":     {1, 1 << 20, false, false},
		"too long":     {loneMost/(8<<10) + 1, 1 << 20, true, false},
	} {
		synctest.Test(t, func(t *testing.T) {
			var wire []byte
			atOnce := 0
			l := &Link{out: outbox{limit: 1 << 20, clock: new(coarse), direct: new(direct)}}
			l.out.drain = func() {
				for l.out.next() {
					for i := range l.out.turn {
						wire = append(wire, l.out.turn[i].bytes()...)
					}
					l.out.done()
				}
			}
			l.out.direct.rc = between{func() {
				atOnce++
				l.out.direct.n = min(c.takes, len(l.out.direct.b))
				wire = append(wire, l.out.direct.b[:l.out.direct.n]...)
			}}
			l.rested(false)
			time.Sleep(2 * rest)
			w := Writing{Lone: c.lone}
			var want []byte
			var memories []*Memory
			for i := range c.frames {
				m := NewMemory(8 << 10)
				f := codec.Frame{Kind: codec.KindData, To: "b", From: "a", Seq: uint32(i), Payload: bytes.Repeat([]byte{byte(i)}, 8<<10)}
				w.AppendHeld(&f, codec.PayloadSum(f.Payload), m)
				want = f.Append(want)
				memories = append(memories, m)
			}
			if !l.WriteAll(&w, false) {
				t.Fatalf("%s: the outbox is full", name)
			}
			if !bytes.Equal(wire, want) || w.Len() != 0 || l.out.held != 0 || (atOnce == 1) != c.direct {
				t.Errorf("%s: %d bytes of %d were written, %d times at once; %d are held, %d left", name, len(wire), len(want), atOnce, l.out.held, w.Len())
			}
			for _, m := range memories {
				if m.Holders() != 1 {
					t.Errorf("%s: %d hold a payload", name, m.Holders())
				}
			}
		})
	}
}

// TestNobodyWaitsBehindALongWrite: who was given a few frames is woken before a long run is written to somebody else.
func TestNobodyWaitsBehindALongWrite(t *testing.T) {
	x := newRouterBench(16)
	woken := false
	x.to.drain = func() { woken = true }
	written := 0
	other := &outbox{limit: defaultOutbox, clock: new(coarse), drain: func() {}}
	long := data("from", "other", 1, 1, string(make([]byte, directRun)))
	other.direct = &direct{}
	other.direct.rc = between{func() {
		if !woken {
			t.Error("it waits until the long run is written")
		}
		written++
		other.direct.n = len(long)
	}}
	x.batch.router.set(&seat{name: "other", out: other})
	x.data = slices.Concat(data("from", "to", 1, 1, "x"), long, data("from", "to", 1, 2, "y"))
	x.turn()
	if written != 1 {
		t.Errorf("the long run was written %d times", written)
	}
}

// TestPackedAndNotWritten: what a reader has packed and the kernel did not take is written before all else, counted until then,
// and forgotten when the link ends.
func TestPackedAndNotWritten(t *testing.T) {
	for _, takes := range [][]int{{0}, {1}, {100, 0}, {1 << 20}, {1 << 20, 5}, {1 << 20, 1 << 20, 1000, 0}, {-1}} {
		for _, size := range []int{10, sealFrom, codec.MaxPayload, 3 * codec.MaxPayload, 13 * codec.MaxPayload} {
			for _, meanwhile := range []string{"", "what came meanwhile"} {
				for _, ends := range []bool{false, true} {
					for _, seals := range []bool{false, true} {
						testPacked(t, takes, size, meanwhile, seals, ends)
					}
				}
			}
		}
	}
}

// testPacked writes frames with so many bytes, of which the kernel takes so much at each try, while something else is put; the link
// may end then.
func testPacked(t *testing.T, takes []int, size int, meanwhile string, seals, ends bool) {
	var first []byte
	for n := uint32(0); size > 0; n++ {
		first = append(first, data("a", "b", 1, n, strings.Repeat("f", min(size, codec.MaxPayload)))...)
		size -= codec.MaxPayload
	}
	if meanwhile != "" {
		meanwhile = string(data("a", "b", 1, 99, meanwhile))
	}
	var wire bytes.Buffer
	conn := packing(&wire, seals)
	o := &outbox{limit: defaultOutbox, clock: new(coarse), conn: conn, budget: &budget{max: defaultBudget}}
	o.drain = func() {
		if ends {
			o.close()
		}
		o.writer()
	}
	tries := 0
	o.direct = &direct{secure: conn}
	o.direct.rc = between{func() {
		if tries == 0 && meanwhile != "" {
			o.put([]byte(meanwhile), nil, false)
		}
		if o.direct.n = 0; tries < len(takes) {
			o.direct.n = min(takes[tries], len(o.direct.b))
		}
		wire.Write(o.direct.b[:max(0, o.direct.n)])
		tries++
	}}
	if !o.writeDirect(first, nil) {
		t.Fatal("nothing was written")
	}
	if o.held != 0 || o.budget.used.Load() != 0 || o.state != idle {
		t.Errorf("of %d bytes, sealed %v, with %v taken at once, ended %v: %d are held and %d counted, state %d", len(first), seals, takes, ends, o.held, o.budget.used.Load(), o.state)
	}
	if ends {
		return
	}
	got, err := io.ReadAll(unpacking(wire.Bytes(), 4096))
	if got = opened(got); err != nil || string(got) != string(first)+meanwhile {
		t.Errorf("of %d bytes, sealed %v, with %v taken at once, and %d behind them %d arrive: %v", len(first), seals, takes, len(meanwhile), len(got), err)
	}
}

// TestKeysEndWithTheWrite: who held a name, and has the keys of what came then, has none of what is sent later.
func TestKeysEndWithTheWrite(t *testing.T) {
	var wire bytes.Buffer
	w := packing(&wire, true)
	long := data("a", "b", 1, 0, strings.Repeat("l", sealFrom))
	for range 2 {
		if err := w.writeBuffers([][]byte{long}, nil); err != nil {
			t.Fatal(err)
		}
		d := &direct{secure: w}
		d.rc = between{func() { wire.Write(d.b); d.n = len(d.b) }}
		if n, owed := d.write(long); n != len(long) || owed != 0 {
			t.Fatal(n, owed)
		}
	}
	got, err := io.ReadAll(unpacking(wire.Bytes(), 4096))
	if err != nil {
		t.Fatal(err)
	}
	keys := map[string]bool{}
	for len(got) > 0 {
		f, rest, _ := codec.Next(got)
		keys[string(f.Payload()[:codec.SealKey])] = codec.IsSealed(f)
		got = rest
	}
	if len(keys) != 4 {
		t.Errorf("four writes have %d keys", len(keys))
	}
}

// TestRestGoesFirst: what the kernel does not take of a run stays in order before what came meanwhile, in the memory that it was
// read into only if it is long, and all memory is given back.
func TestRestGoesFirst(t *testing.T) {
	for _, lend := range []bool{false, true} {
		for _, taken := range []int{0, 1000, lendFrom, lendFrom + 5000 - 1} {
			for _, closes := range []bool{false, true} {
				o := &outbox{limit: defaultOutbox, clock: new(coarse), drain: func() {}, budget: &budget{max: defaultBudget}}
				m, m2 := NewMemory(inbufMax), NewMemory(inbufMax)
				run, other := m.Bytes()[:lendFrom+5000], m2.Bytes()[:lendFrom]
				for i := range run {
					run[i] = byte(i * 7)
				}
				for i := range other {
					other[i] = byte(i*5 + 1)
				}
				o.direct = &direct{}
				o.direct.rc = between{func() {
					o.put([]byte("one"), nil, false)
					o.put(other, m2, false)
					o.put([]byte("two"), nil, false)
					if closes {
						o.close()
					}
					o.direct.n = taken
				}}
				lent, holders := (*Memory)(nil), int32(1)
				if lend {
					lent = m
				}
				if lend && !closes && len(run)-taken >= lendFrom {
					holders++
				}
				if !o.writeDirect(run, lent) {
					t.Fatal("an idle outbox is not written to")
				}
				if got := int32(m.Holders()); got != holders {
					t.Errorf("lent %v, %d of %d taken, closed %v: %d hold the memory, want %d", lend, taken, len(run), closes, got, holders)
				}
				want := slices.Concat(run[taken:], []byte("one"), other, []byte("two"))
				if closes {
					want = nil
				}
				if o.held != len(want) {
					t.Errorf("%d bytes are held, want %d", o.held, len(want))
				}
				var got []byte
				for o.next() {
					for i := range o.turn {
						got = append(got, o.turn[i].bytes()...)
					}
					o.done()
				}
				if !bytes.Equal(got, want) || o.held != 0 || o.budget.used.Load() != 0 || m.Holders() != 1 || m2.Holders() != 1 {
					t.Errorf("lent %v, %d taken, closed %v: %d bytes of %d, %d held, memory held by %d and %d", lend, taken, closes, len(got), len(want), o.held, m.Holders(), m2.Holders())
				}
			}
		}
	}
}
