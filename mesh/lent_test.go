package mesh

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"testing"

	"pgregory.net/rapid"

	"ultrasockets/codec"
	"ultrasockets/relay"
)

// What costs least, from within: a Send that joins what waits, and messages whose memory is lent.

// TestSendJoins: byte strings join those that wait in one step, and whatever changes the stream ends that.
func TestSendJoins(t *testing.T) {
	n := newTestNode(t)
	n.out.port.Store(&portRef{&moody{busy: 1 << 30}}) // a link that always has something else to do
	ctx := context.Background()
	send := func(b []byte) {
		t.Helper()
		if err := n.Send(ctx, "b", b); err != nil {
			t.Fatal(err)
		}
	}
	sent := 0
	prepare := func() { // the last two are an entry that others may join
		for range 3 {
			send([]byte{1, 2, 3})
			sent++
		}
	}
	prepare()
	if got := n.out.join("b", []byte{4}, []byte{5}); got != 2 {
		t.Fatalf("%d of 2 join", got)
	}
	sent += 2
	s := n.out.existing("b")
	if s.held() != sent || s.queue.len() != 1 {
		t.Fatalf("%d are held in %d entries, want %d in one", s.held(), s.queue.len(), sent)
	}
	bytesOf := 0
	for i := range s.queue.len() {
		bytesOf += len(s.queue.at(i).data) + messageCost
	}
	if s.bytes != bytesOf {
		t.Errorf("%d bytes are counted, want %d", s.bytes, bytesOf)
	}

	other := codec.Entry{Name: "b", Instance: 2, MaxMessage: 100}
	for what, change := range map[string]func(){
		"its receiver takes less": func() { n.out.peerHere(other) },
		"a flush waits":           func() { within, cancel := context.WithCancel(ctx); cancel(); n.out.flush(within, n.await) },
		"time passes":             func() { n.out.one("b", func(*outStream) {}) },
	} {
		prepare()
		change()
		if got := n.out.join("b", []byte{4}); got != 0 {
			t.Errorf("%d join although %s", got, what)
			sent += got
		}
	}
	prepare()
	if got := n.out.join("b", make([]byte, 101)); got != 0 || s.rest == 0 {
		t.Errorf("%d join that are larger than the receiver takes", got)
	}
	if err := n.Send(ctx, "b", make([]byte, 101)); !errors.Is(err, ErrTooLarge) {
		t.Error(err)
	}
	if s.held() != sent {
		t.Errorf("%d are held, want %d", s.held(), sent)
	}

	for range 3 { // whatever shares its frame is to a group
		if err := n.out.send(ctx, "b", &draft{body: []byte{1, 'g', 1}, flags: codec.FlagGroup}); err != nil {
			t.Fatal(err)
		}
		sent++
	}
	if got := n.out.join("b", []byte{4}); got != 0 {
		t.Errorf("%d join messages to a group", got)
	}
	prepare()
	if err := n.out.send(ctx, "b", &draft{body: []byte{1}, receipt: n.out.receipts.get(true)}); err != nil {
		t.Fatal(err)
	}
	sent++
	if got := n.out.join("b", []byte{4}); got != 0 {
		t.Errorf("%d join a message that somebody waits for until it is taken", got)
	}

	prepare()
	n.out.stopAccepting()
	if got := n.out.join("b", []byte{4}); got != 0 {
		t.Error("a node that is leaving takes more")
	}
	n.out.close(ErrClosed)
	var lost *UndeliveredError
	if err := n.out.flush(ctx, n.await); !errors.As(err, &lost) || lost.Count != sent-1 { // who waits for the other one is told
		t.Errorf("%v; want that %d were given up", err, sent-1)
	}
}

// TestLentMemory: while a loop over Batches runs, what arrives is lent; what Receive and Get take of the same memory is a copy; and
// the memory is nobody's any more when all that held it are done.
func TestLentMemory(t *testing.T) {
	several := func(count, size int) (b []byte) {
		for range count {
			b = append(binary.BigEndian.AppendUint16(b, uint16(size)), bytes.Repeat([]byte{7}, size)...)
		}
		return b
	}
	whole := [][]byte{bytes.Repeat([]byte{7}, 1000)}
	for name, c := range map[string]struct {
		frames   [][]byte
		flags    codec.Flags
		messages int
		lent     bool
	}{
		"several":               {[][]byte{several(100, 30)}, codec.FlagSeveral, 100, true},
		"several to a group":    {[][]byte{several(100, 30)}, codec.FlagSeveral | codec.FlagGroup, 100, true},
		"a large one":           {whole, 0, 1, true},
		"several small ones":    {[][]byte{several(2, 30)}, codec.FlagSeveral, 2, false},
		"a small one":           {[][]byte{whole[0][:100]}, 0, 1, false},
		"one of several frames": {[][]byte{whole[0], whole[0], whole[0]}, 0, 1, true},
	} {
		t.Run(name, func(t *testing.T) {
			n := newTestNode(t)
			n.in.batches.Add(1) // a loop over Batches runs
			for i, payload := range c.frames {
				f := codec.Frame{Kind: codec.KindData, Flags: c.flags, To: "a", From: "b", Stream: 7, Seq: uint32(i), Payload: payload}
				if i == 0 {
					f.Flags |= codec.FlagFirst
				}
				if i < len(c.frames)-1 {
					f.Flags |= codec.FlagMore
				}
				session{n, nil}.HandleFrame(f.Append(nil), nil)
			}
			session{n, nil}.HandleBatchEnd()

			lent := batch{messages: make([]Message, 0, batchMost)}
			if err := n.in.receiveBatch(t.Context(), &lent); err != nil {
				t.Fatal(err)
			}
			if len(lent.messages) != min(c.messages, batchMost) || (len(lent.memories) == 1) != c.lent {
				t.Fatalf("%d messages are lent of %d pieces of memory", len(lent.messages), len(lent.memories))
			}
			if !c.lent {
				return
			}
			var given []Message
			if left := c.messages - len(lent.messages); left > 0 {
				if n.in.drawn[0].memory != lent.memories[0] {
					t.Error("the rest of the frame is somewhere else")
				}
				m, err := n.Receive(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				if given = append([]Message{m}, n.Get(All)...); len(given) != left {
					t.Fatalf("%d of %d are left", len(given), left)
				}
			}
			kept := lent.messages[0].Clone()
			memory := lent.memories[0].Bytes()
			clear(memory[:cap(memory)]) // as if it were used again
			for _, m := range lent.messages {
				if bytes.IndexByte(m.data, 7) >= 0 {
					t.Fatal("a lent message is not in the memory that is used again")
				}
			}
			for _, m := range append(given, kept) {
				if len(m.data) == 0 || bytes.Count(m.data, []byte{7}) != len(m.data) {
					t.Fatal("a message that was given away changes with the memory")
				}
			}
			held := lent.memories[0]
			if got := held.Holders(); got != 1 {
				t.Errorf("%d hold the memory, want the batch alone", got)
			}
			lent.giveBack()
			if got := held.Holders(); got != 0 || lent.messages[:1][0].data != nil {
				t.Errorf("%d hold the memory, and the batch knows of %d bytes", got, len(lent.messages[:1][0].data))
			}
			if used := n.in.in.used; used != 0 {
				t.Errorf("%d bytes of the inbox are still used", used)
			}
		})
	}
}

// TestNotLent: requests are the handler's, which keeps them as long as it likes; and of a message that goes no further the memory
// is given back.
func TestNotLent(t *testing.T) {
	n := newTestNode(t)
	n.in.batches.Add(1)
	handle := func(seq uint32, flags codec.Flags) {
		f := codec.Frame{Kind: codec.KindData, Flags: flags, To: "a", From: "b", Stream: 7, Seq: seq, Payload: make([]byte, 1000)}
		session{n, nil}.HandleFrame(f.Append(nil), nil)
	}
	handle(0, codec.FlagFirst|codec.FlagRequest)
	if r := n.in.in.requests; len(r) != 1 || r[0].parcel.memory != nil {
		t.Errorf("%d requests came; one is lent", len(r))
	}
	handle(1, codec.FlagFirst|codec.FlagMore)
	half := n.in.in.receivers["b"].memory
	if half == nil || half.Holders() != 1 {
		t.Fatal("a message of several frames is not lent")
	}
	handle(2, codec.FlagFirst|codec.FlagRequest) // what was half here was given up
	if half.Holders() != 0 {
		t.Error("the memory of a message that was given up is held")
	}
	session{n, nil}.HandleBatchEnd()
}

// TestKeptWhereItWasRead: while a loop over Batches runs, long frames stay in the memory that they were read into, which is paid
// for once a read; what is short or packed is copied out of it, and all is when the inbox has little room.
func TestKeptWhereItWasRead(t *testing.T) {
	const long, size = leastKept, 128 << 10
	body := bytes.Repeat([]byte{0}, long) // a message is any CBOR item, and 0 is one
	packed, err := codec.Snappy().Encode(nil, body)
	if err != nil {
		t.Fatal(err)
	}
	one := append(binary.BigEndian.AppendUint16(nil, long/2), body[:long/2]...)
	several := append(one, one...)
	other := codec.Frame{Kind: codec.KindPong, To: "a", From: "b", Payload: []byte{1}}
	pong := codec.Raw(other.Append(nil))
	for name, c := range map[string]struct {
		frames []codec.Frame
		limit  int
		kept   int
	}{
		"long ones":        {[]codec.Frame{{Payload: body}, {Payload: several, Flags: codec.FlagSeveral}}, 1 << 20, 2},
		"short ones":       {[]codec.Frame{{Payload: body[1:]}, {Payload: one, Flags: codec.FlagSeveral}, {Payload: body}}, 1 << 20, 1},
		"packed":           {[]codec.Frame{{Payload: packed, Packing: 1}}, 1 << 20, 0},
		"requests":         {[]codec.Frame{{Payload: body, Flags: codec.FlagRequest}}, 1 << 20, 0},
		"in a small inbox": {[]codec.Frame{{Payload: body}, {Payload: body}}, 2*size - 1, 0},
	} {
		t.Run(name, func(t *testing.T) {
			n := newTestNode(t)
			n.in.in.limit = c.limit
			n.in.batches.Add(1) // a loop over Batches runs
			memory := relay.NewMemory(size)
			f0 := c.frames[0]
			for read := range 2 { // into the same memory
				b, messages, cost := memory.Bytes(), 0, 0
				for i, f := range c.frames {
					f.Kind, f.Flags, f.To, f.From, f.Stream, f.Seq = codec.KindData, f.Flags|codec.FlagFirst, "a", "b", 7, uint32(read*len(c.frames)+i)
					at := len(b)
					b = f.Append(b)
					session{n, nil}.HandleFrame(b[at:], memory)
					session{n, nil}.HandleFrame(pong, memory) // after which the intake is opened anew
				}
				if got := memory.Holders(); got != 1+c.kept {
					t.Fatalf("%d hold the memory, want its reader and %d messages", got, c.kept)
				}
				for i := range n.in.in.inbox.len() {
					p := n.in.in.inbox.at(i)
					messages += p.left
					cost += p.cost
				}
				want := min(c.kept, 1) * size
				for _, f := range c.frames {
					want += len(f.Payload) + messageCost
				}
				if messages > 0 && f0.Packing == 0 && cost != want {
					t.Errorf("%d bytes are paid for, want %d", cost, want)
				}
				session{n, nil}.HandleBatchEnd()
				for messages > 0 {
					lent := batch{messages: make([]Message, 0, batchMost)}
					if err := n.in.receiveBatch(t.Context(), &lent); err != nil {
						t.Fatal(err)
					}
					messages -= len(lent.messages)
					for _, m := range lent.messages {
						if bytes.Count(m.data, []byte{0}) != len(m.data) {
							t.Fatal("a message changed")
						}
					}
					lent.giveBack()
				}
				if got := memory.Holders(); got != 1 {
					t.Errorf("%d hold the memory when all is taken", got)
				}
				if c.frames[0].Flags&codec.FlagRequest != 0 {
					continue // they are the handler's, which may be at work
				}
				if used := n.in.in.used; used != 0 {
					t.Errorf("%d bytes of the inbox are still used", used)
				}
			}
		})
	}
}

// TestUnsoundIsNotKept: a frame that makes no sense keeps no memory from being used again, and lets none be kept unpaid.
func TestUnsoundIsNotKept(t *testing.T) {
	n := newTestNode(t)
	n.in.batches.Add(1)
	memory := relay.NewMemory(128 << 10)
	b := memory.Bytes()
	handle := func(flags codec.Flags, payload []byte) {
		at := len(b)
		f := codec.Frame{Kind: codec.KindData, Flags: flags | codec.FlagFirst, To: "a", From: "b", Stream: 7, Payload: payload}
		b = f.Append(b)
		session{n, nil}.HandleFrame(b[at:], memory)
	}
	unsound := bytes.Repeat([]byte{codec.MaxName + 1}, leastKept) // the length of a group's name
	handle(codec.FlagGroup, unsound)
	if got := memory.Holders(); got != 1 || n.in.in.used != 0 {
		t.Fatalf("%d hold the memory, %d bytes are used", got, n.in.in.used)
	}
	handle(0, make([]byte, leastKept))
	if got, want := n.in.in.used, leastKept+messageCost+memory.Size(); got != want || memory.Holders() != 2 {
		t.Errorf("%d bytes are paid for by %d holders, want %d by two", got, memory.Holders(), want)
	}
	session{n, nil}.HandleBatchEnd()
}

// recorder is a port that is always idle, and keeps what is written.
type recorder struct {
	relay.Port
	writes [][]byte
}

func (r *recorder) Busy() bool { return false }

func (r *recorder) WriteAll(w *relay.Writing, _ bool) bool {
	frames, memory := w.InOnePiece()
	r.writes = append(r.writes, bytes.Clone(frames))
	memory.Release()
	w.Reset()
	return true
}

// TestBatchLeavesTogether: of a batch for which nothing waits, what fits into a frame leaves in one, not the first message by
// itself; but by itself if the receiver has not yet said what may come. No more memory is kept than that takes.
func TestBatchLeavesTogether(t *testing.T) {
	for name, c := range map[string]struct {
		sizes  []int // one size after the other, again and again
		count  int
		bytes  int // SendBytes; 0: the default
		window int // 0: nothing was granted
		first  int // messages in the first frame
	}{
		"one":               {[]int{10}, 1, 0, 1 << 20, 1},
		"a frame":           {[]int{100}, 100, 0, 1 << 20, 100},
		"more than a frame": {[]int{1000}, 40, 0, 1 << 20, 16},
		"a large one first": {[]int{shareMost + 1, 100}, 2, 0, 1 << 20, 1},
		"a large one next":  {[]int{100, shareMost + 1}, 2, 0, 1 << 20, 1},
		"little room":       {[]int{1000}, 40, 5000, 1 << 20, 4},
		"a small window":    {[]int{1000}, 40, 0, 4000, 3},
		"not granted":       {[]int{100}, 100, 0, 0, 1},
	} {
		n := newTestNode(t)
		if c.bytes > 0 {
			n.out.set.SendBytes = c.bytes
		}
		port := &recorder{}
		n.out.port.Store(&portRef{port})
		s, err := n.out.stream("b")
		if err != nil {
			t.Fatal(err)
		}
		if c.window > 0 {
			s.granted, s.window, s.messages, s.idleSince = true, c.window, 1000, n.out.clock()
		}
		var batch [][]byte
		for i := range c.count {
			batch = append(batch, bytes.Repeat([]byte{byte(i)}, c.sizes[i%len(c.sizes)]))
		}
		ctx, cancel := context.WithCancel(context.Background())
		if c.bytes > 0 {
			cancel() // what finds no room is not waited for
		}
		queued, err := n.SendBatch(ctx, "b", batch)
		if (err != nil) != (c.bytes > 0) || err == nil && queued != c.count || s.held() != queued {
			t.Errorf("%s: %d of %d are queued, %d held: %v", name, queued, c.count, s.held(), err)
		}
		if e := s.queue.at(0); c.bytes == 0 && cap(e.data) > max(4*len(e.data), 1<<10) {
			t.Errorf("%s: %d bytes are kept in memory for %d", name, len(e.data), cap(e.data))
		}
		cancel()
		f, rest, err := codec.Next(port.writes[0])
		if err != nil || f == nil || len(rest) > 0 {
			t.Fatalf("%s: the first write is more or less than a frame: %v", name, err)
		}
		messages := 1
		if f.Flags()&codec.FlagSeveral != 0 {
			messages = 0
			for several := f.Payload(); len(several) > 0; messages++ {
				var m []byte
				m, several, _ = cutSeveral(several)
				if got, _ := codec.AsBytes(m); !bytes.Equal(got, batch[messages]) {
					t.Fatalf("%s: message %d has %d bytes that are not its own", name, messages, len(got))
				}
			}
		}
		if messages != c.first {
			t.Errorf("%s: the first frame has %d messages, want %d", name, messages, c.first)
		}
	}
}

// TestJoinBytesFits: what joins never needs more memory than there is, and no message more than it may have.
func TestJoinBytesFits(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var e entry
		e.move(rapid.IntRange(1, 4000).Draw(t, "memory"))
		e.open = true
		memory := &e.memory.Bytes()[:1][0]
		most := rapid.OneOf(rapid.IntRange(0, 600), rapid.Just(shareMost)).Draw(t, "most")
		var want [][]byte
		for range rapid.IntRange(1, 20).Draw(t, "calls") {
			var list [][]byte
			for range rapid.IntRange(0, 10).Draw(t, "many") {
				about := rapid.IntRange(0, codec.SeveralLength+codec.MaxBytesHead).Draw(t, "about")
				list = append(list, make([]byte, rapid.OneOf(rapid.IntRange(0, 700), rapid.Just(max(0, e.room()-about))).Draw(t, "size")))
			}
			before, room := len(e.data), e.room()
			n, size := e.joinBytes(list, most, room)
			want = append(want, list[:n]...)
			if size != len(e.data)-before || size > room || int(e.count) != len(want) {
				t.Fatalf("%d messages, %d bytes in %d of room: %d bytes, count %d", n, size, room, len(e.data)-before, e.count)
			}
			if n < len(list) && len(list[n]) <= most && codec.SeveralLength+codec.MaxBytesHead+len(list[n]) <= room-size {
				t.Fatalf("a message of %d bytes does not join where %d are left", len(list[n]), room-size)
			}
		}
		if len(e.data) > 0 && &e.data[0] != memory {
			t.Fatal("they are in other memory")
		}
		rest := e.data
		for i, b := range want {
			data, after, ok := cutSeveral(rest)
			if got, isBytes := codec.AsBytes(data); !ok || !isBytes || len(got) != len(b) || len(b) > most {
				t.Fatalf("message %d has %d bytes, want %d of at most %d", i, len(got), len(b), most)
			}
			rest = after
		}
		if len(rest) > 0 {
			t.Fatalf("%d bytes are nobody's", len(rest))
		}
	})
}
