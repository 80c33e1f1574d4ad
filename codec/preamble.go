package codec

import (
	"encoding/binary"
	"fmt"
	"time"
)

// PreambleSize is the size in bytes of what each side sends first.
const PreambleSize = magicSize + versionSize + modeSize + waitSize

const (
	magicSize   = 4
	versionSize = 1
	modeSize    = 1 // the dialler's security mode; in the answer the status
	waitSize    = 2 // zero from the dialler; in the answer milliseconds

	versionAt = magicSize
	modeAt    = versionAt + versionSize
	waitAt    = modeAt + modeSize
)

const magic = "ULTR"

// Mode is how the bytes after the preambles are protected.
type Mode uint8

const (
	ModeOpen   Mode = 0 // not at all
	ModeSecret Mode = 1 // Noise, keyed with the mesh's secret (WIRE.md section 10)
)

func (m Mode) String() string {
	switch m {
	case ModeOpen:
		return "open"
	case ModeSecret:
		return "secret"
	}
	return fmt.Sprintf("Mode(%d)", uint8(m))
}

// Preamble is what a dialler sends first.
type Preamble struct {
	Version uint8
	Mode    Mode
}

// Append appends the preamble's PreambleSize bytes to dst.
func (p Preamble) Append(dst []byte) []byte {
	return append(append(dst, magic...), p.Version, byte(p.Mode), 0, 0)
}

// ParsePreamble reads the first PreambleSize bytes of b. It accepts any version and mode: those it cannot serve deserve
// an answer that says so. The error wraps [ErrPreamble].
func ParsePreamble(b []byte) (Preamble, error) {
	if err := checkMagic(b); err != nil {
		return Preamble{}, err
	}
	return Preamble{Version: b[versionAt], Mode: Mode(b[modeAt])}, nil
}

// Status is the answering side's verdict on a preamble.
type Status uint8

const (
	StatusGoOn     Status = 0 // send your Hello
	StatusWait     Status = 1 // too busy with other handshakes: come back after Answer.Wait
	StatusVersion  Status = 2 // version or mode not spoken here
	StatusNoSecret Status = 3 // this mesh has no secret, you have
	StatusSecret   Status = 4 // this mesh has a secret, you have none
	StatusJunk     Status = 5 // this is no preamble
)

var statusNames = [...]string{
	"go on", "wait", "version not spoken here", "this mesh has no secret", "this mesh has a secret", "this is no preamble",
}

func (s Status) String() string {
	if int(s) < len(statusNames) {
		return statusNames[s]
	}
	return fmt.Sprintf("Status(%d)", uint8(s))
}

// MaxWait is the longest wait that an Answer can ask for.
const MaxWait = 65535 * time.Millisecond

// Answer is what the answering side sends first. After any status but StatusGoOn it closes the connection.
type Answer struct {
	Version uint8
	Status  Status
	Wait    time.Duration // with StatusWait, in whole milliseconds, at most MaxWait; else zero
}

// Append appends the answer's PreambleSize bytes to dst. Wait is rounded up to milliseconds and cut to MaxWait; it is
// sent only with StatusWait.
func (a Answer) Append(dst []byte) []byte {
	var ms uint16
	if a.Status == StatusWait {
		wait := min(max(a.Wait, 0), MaxWait)
		ms = uint16((wait + time.Millisecond - 1) / time.Millisecond)
	}
	dst = append(append(dst, magic...), a.Version, byte(a.Status))
	return binary.BigEndian.AppendUint16(dst, ms)
}

// ParseAnswer reads the first PreambleSize bytes of b. An unknown status is returned as it came: it is not "go on". The
// error wraps [ErrPreamble].
func ParseAnswer(b []byte) (Answer, error) {
	if err := checkMagic(b); err != nil {
		return Answer{}, err
	}
	a := Answer{Version: b[versionAt], Status: Status(b[modeAt])}
	if a.Status == StatusWait {
		a.Wait = time.Duration(binary.BigEndian.Uint16(b[waitAt:])) * time.Millisecond
	}
	return a, nil
}

func checkMagic(b []byte) error {
	if len(b) < PreambleSize {
		return fmt.Errorf("%w: %d bytes, want %d", ErrPreamble, len(b), PreambleSize)
	}
	if string(b[:magicSize]) != magic {
		return fmt.Errorf("%w: it begins with %q", ErrPreamble, b[:magicSize])
	}
	return nil
}
