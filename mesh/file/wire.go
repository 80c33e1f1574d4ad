package file

import (
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/fxamacker/cbor/v2"

	"ultrasockets/mesh"
)

// What travels; the package's doc describes it.

const (
	kind     = "ultra.file/1" // of the requests, as mesh.Node.HandleKind has it
	maxData  = 1 << 20        // bytes of one write or read
	headRoom = 256            // more than a request or reply of data has before it, but for its text
	window   = 8              // writes or reads of one copy that a server wants under way at most

	verbStat   = "stat"
	verbList   = "list"
	verbFolder = "folder"
	verbPut    = "put"
	verbWrite  = "write"
	verbFinish = "finish"
	verbGet    = "get"
	verbRead   = "read"
	verbEnd    = "end"
	verbStay   = "stay"
	verbDrop   = "drop"

	codeOK = "ok"
)

type request struct {
	_    struct{} `cbor:",toarray"`
	Verb string
	Args args
	data []byte // behind it
}

type args struct {
	Path     string `cbor:"path,omitempty"`
	ID       uint64 `cbor:"id,omitempty"`
	Token    []byte `cbor:"token,omitempty"`
	Size     int64  `cbor:"size,omitempty"`
	Offset   int64  `cbor:"offset,omitempty"`
	Length   int64  `cbor:"length,omitempty"`
	Sum      []byte `cbor:"sum,omitempty"`
	Time     int64  `cbor:"time,omitempty"`
	Mode     uint32 `cbor:"mode,omitempty"`
	Force    bool   `cbor:"force,omitempty"`
	Compared bool   `cbor:"compared,omitempty"`
	Fresh    bool   `cbor:"fresh,omitempty"`
	Once     bool   `cbor:"once,omitempty"`
	After    string `cbor:"after,omitempty"`
}

type reply struct {
	_      struct{} `cbor:",toarray"`
	Code   string
	Answer answer
	data   []byte // behind it
}

type answer struct {
	Text    string  `cbor:"text,omitempty"`
	Kind    Kind    `cbor:"kind,omitempty"`
	ID      uint64  `cbor:"id,omitempty"`
	Have    int64   `cbor:"have,omitempty"`
	Size    int64   `cbor:"size,omitempty"`
	Time    int64   `cbor:"time,omitempty"`
	Mode    uint32  `cbor:"mode,omitempty"`
	Sum     []byte  `cbor:"sum,omitempty"`
	Exists  bool    `cbor:"exists,omitempty"`
	Window  int     `cbor:"window,omitempty"`
	Entries []entry `cbor:"entries,omitempty"`
	More    bool    `cbor:"more,omitempty"`
}

type entry struct {
	Name string `cbor:"name"`
	Kind Kind   `cbor:"kind"`
	Size int64  `cbor:"size,omitempty"`
	Time int64  `cbor:"time,omitempty"`
	Mode uint32 `cbor:"mode,omitempty"`
}

// Kind says what stands under a path.
type Kind string

const (
	KindFile   Kind = "file"
	KindFolder Kind = "folder"
	KindLink   Kind = "link"  // a symbolic link; it is not followed
	KindOther  Kind = "other" // a pipe, a device or the like; it is not served
)

// Info is what a server tells of a file or folder.
type Info struct {
	Name string // the last part of its path
	Kind Kind
	Size int64       // in bytes; 0 of what is no file
	Time time.Time   // of modification
	Mode fs.FileMode // permission bits; 0 where there are none
}

func (e entry) info() Info {
	return Info{Name: e.Name, Kind: e.Kind, Size: e.Size, Time: time.Unix(0, e.Time), Mode: fs.FileMode(e.Mode)}
}

func entryOf(st fs.FileInfo) entry {
	e := entry{Name: st.Name(), Time: st.ModTime().UnixNano(), Mode: modeOf(st)}
	switch {
	case st.Mode().IsRegular():
		e.Kind, e.Size = KindFile, st.Size()
	case st.IsDir():
		e.Kind = KindFolder
	case st.Mode()&fs.ModeSymlink != 0:
		e.Kind = KindLink
	default:
		e.Kind = KindOther
	}
	return e
}

// encode appends a request or reply to dst; its data is to follow.
func encode(dst []byte, v any) []byte {
	b, err := cbor.Marshal(v)
	if err != nil {
		panic(err) // these types can all be encoded
	}
	return append(dst, b...)
}

// parseRequest reads a request. Its data is the message's own.
func parseRequest(m mesh.Message) (r request, err error) {
	r.data, err = cbor.UnmarshalFirst(m.Bytes(), &r)
	return r, err
}

// parseReply reads a reply. Its data is the message's own.
func parseReply(m mesh.Message) (r reply, err error) {
	r.data, err = cbor.UnmarshalFirst(m.Bytes(), &r)
	return r, err
}

// Errors that a caller may want to tell apart, with errors.Is.
var (
	// ErrNotShared: the other node serves no files.
	ErrNotShared = errors.New("it shares no files; start it with --share DIR (a program: with file.Serve)")
	// ErrNotFound: there is no such file or folder.
	ErrNotFound = errors.New("there is no such file or folder")
	// ErrExists: another file has the final name, and Options.Force is not set.
	ErrExists = errors.New("exists already, with other content; --force (Options.Force) overwrites it")
	// ErrFolder: a folder stands where a file is meant, or a file where a folder is.
	ErrFolder = errors.New("a folder where a file is meant, or the other way round")
	// ErrBadPath: the path leads out of the shared folder, or names nothing that is served.
	ErrBadPath = errors.New("not a path within the shared folder")
	// ErrBusy: another copy to that name is under way, or too many are. Put and Get wait for it.
	ErrBusy = errors.New("another copy to that name is under way, or too many are")
	// ErrChanged: the file was changed while it was copied.
	ErrChanged = errors.New("the file changed while it was copied; copy it again")
	// ErrSum: what arrived is not what was sent, by its SHA-256.
	ErrSum = errors.New("what arrived is not what was sent (SHA-256); copy it again")
	// ErrRefused: the server's own rule, or its system, does not permit it.
	ErrRefused = errors.New("not permitted there")
	// ErrStream: a copy from a stream was interrupted, which cannot be read again.
	ErrStream = errors.New("a stream cannot be read again; start anew")
	// ErrUnsupported: the server is of another version.
	ErrUnsupported = errors.New("the other node does not know this request; bring both to the same version")

	errGone = errors.New("the copy is not known there any more") // it is begun again
)

// codes are the codes of errors on the wire.
var codes = map[string]error{
	"missing": ErrNotFound, "exists": ErrExists, "folder": ErrFolder, "path": ErrBadPath, "busy": ErrBusy, "gone": errGone,
	"changed": ErrChanged, "sum": ErrSum, "refused": ErrRefused, "unshared": ErrNotShared, "unsupported": ErrUnsupported,
}

// refusal is the reply that tells an error.
func refusal(err error) reply {
	code := "failed"
	switch {
	case errors.Is(err, fs.ErrClosed):
		err = ErrNotShared // any more
	case errors.Is(err, fs.ErrNotExist):
		err = fmt.Errorf("%w (%w)", ErrNotFound, err)
	case errors.Is(err, fs.ErrPermission):
		err = fmt.Errorf("%w (%w)", ErrRefused, err)
	}
	for c, sentinel := range codes {
		if errors.Is(err, sentinel) {
			code = c
		}
	}
	return reply{Code: code, Answer: answer{Text: err.Error()}}
}

// remoteError is what another node said of a request.
type remoteError struct {
	name, text string
	reason     error // nil: no sentinel says it
}

func (e *remoteError) Error() string { return e.name + ": " + e.text }
func (e *remoteError) Unwrap() error { return e.reason }

// err is the error that a reply tells; nil: none.
func (r reply) err(name string) error {
	if r.Code == codeOK {
		return nil
	}
	e := &remoteError{name: name, text: r.Answer.Text, reason: codes[r.Code]}
	if e.text == "" {
		e.text = fmt.Sprintf("it failed (%s)", r.Code)
	}
	return e
}
