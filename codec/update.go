package codec

import "fmt"

// ChangeOp is what happened to a node.
type ChangeOp uint8

const (
	Joined  ChangeOp = 1
	Left    ChangeOp = 2
	Changed ChangeOp = 3
)

func (o ChangeOp) String() string {
	switch o {
	case Joined:
		return "joined"
	case Left:
		return "left"
	case Changed:
		return "changed"
	}
	return fmt.Sprintf("ChangeOp(%d)", uint8(o))
}

// LeftReason is how a node left.
type LeftReason uint8

const (
	LeftBye      LeftReason = 0 // it said so
	LeftLost     LeftReason = 1 // its link ended without a word
	LeftReplaced LeftReason = 2 // another instance has its name
)

func (r LeftReason) String() string {
	switch r {
	case LeftBye:
		return "bye"
	case LeftLost:
		return "lost"
	case LeftReplaced:
		return "replaced"
	}
	return fmt.Sprintf("LeftReason(%d)", uint8(r))
}

// Change is one change of a roster. With Left only the name and the instance of Entry travel. With Changed, sent by a node
// about itself, State, Tags and Groups count, and the name may be left out.
type Change struct {
	Op     ChangeOp   `cbor:"1,keyasint,omitempty"`
	Reason LeftReason `cbor:"2,keyasint,omitempty"` // with Left
	Entry  Entry      `cbor:"3,keyasint"`
}

// Append appends c as one CBOR map to dst.
func (c *Change) Append(dst []byte) []byte {
	out := *c
	if out.Op == Left {
		out.Entry = Entry{Name: out.Entry.Name, Instance: out.Entry.Instance}
	} else {
		out.Reason = 0
	}
	out.Entry.MaxMessage = omitDefault(out.Entry.MaxMessage)
	return appendBody(dst, &out)
}

func (c *Change) check() error {
	if c.Op < Joined || c.Op > Changed {
		return fmt.Errorf("unknown change %d", c.Op)
	}
	if c.Op == Changed && c.Entry.Name == "" {
		return c.Entry.checkRest()
	}
	return c.Entry.check()
}

// Update is what changed in the roster: the body of one frame.
type Update struct {
	Changes []Change `cbor:"1,keyasint,omitempty"` // at most MaxEntries
}

// Append appends the body of u to dst. [AppendUpdateFrames] cuts what does not fit one frame; Append does not.
func (u *Update) Append(dst []byte) []byte {
	var changes []byte
	for i := range u.Changes {
		changes = u.Changes[i].Append(changes)
	}
	return appendUpdateBody(dst, len(u.Changes), changes)
}

// ParseUpdate reads the body of one Update frame. A relay should refuse one of more than [MaxHello] bytes from a node
// before it parses it. The error wraps [ErrBody].
func ParseUpdate(b []byte) (Update, error) {
	var u Update
	if err := parseBody("Update", b, MaxPayload, &u); err != nil {
		return Update{}, err
	}
	for i := range u.Changes {
		c := &u.Changes[i]
		if err := c.check(); err != nil {
			return Update{}, bodyError("Update", err)
		}
		if c.Op != Left {
			c.Entry.MaxMessage = fillDefault(c.Entry.MaxMessage)
		}
	}
	return u, nil
}

func appendUpdateBody(dst []byte, n int, changes []byte) []byte {
	if n == 0 {
		return appendHead(dst, majorMap, 0)
	}
	dst = append(appendHead(dst, majorMap, 1), 1)
	dst = appendHead(dst, majorArray, uint64(n))
	return append(dst, changes...)
}

// AppendUpdateFrames appends changes to dst, in order and in as many Update frames as they take: none for none. The
// entries must come from Hellos that Check accepts: it panics on an entry that no frame holds.
func AppendUpdateFrames(dst []byte, changes []Change) []byte {
	items := make([][]byte, len(changes))
	for i := range changes {
		items[i] = changes[i].Append(nil)
	}
	return AppendEncodedUpdate(dst, items)
}

// AppendEncodedUpdate is [AppendUpdateFrames] for changes that are encoded already, each by [Change.Append]. Empty items
// are left out.
func AppendEncodedUpdate(dst []byte, changes [][]byte) []byte {
	var c cutter
	for _, item := range changes {
		if len(item) > 0 {
			c.add(item)
		}
	}
	var body []byte
	for _, p := range c.parts() {
		body = appendUpdateBody(body[:0], p.n, p.items)
		f := Frame{Kind: KindUpdate, Payload: body}
		dst = f.Append(dst)
	}
	return dst
}
