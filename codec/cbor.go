package codec

import (
	"encoding/binary"
	"strings"
)

// The heads of CBOR data items (RFC 8949 section 3): a major type in the upper three bits, and an argument that stands in
// the lower five bits if it is below 24, or else in the 1, 2, 4 or 8 bytes that follow.

const (
	majorUint   = 0
	majorNegInt = 1
	majorBytes  = 2
	majorText   = 3
	majorArray  = 4
	majorMap    = 5
	majorTag    = 6
	majorSimple = 7

	infoUint8      = 24
	infoUint16     = 25
	infoUint32     = 26
	infoUint64     = 27
	infoIndefinite = 31

	maxHead = 1 + 8 // bytes of the longest head

	cborFalse     = majorSimple<<5 | 20
	cborTrue      = majorSimple<<5 | 21
	cborNull      = majorSimple<<5 | 22
	cborUndefined = majorSimple<<5 | 23
	cborBreak     = majorSimple<<5 | infoIndefinite

	tagTime   = 0 // RFC 3339 text
	tagEpoch  = 1 // seconds since 1970
	tagBigPos = 2
	tagBigNeg = 3
)

// appendHead appends the shortest head, as deterministic encoding wants it.
func appendHead(dst []byte, major byte, n uint64) []byte {
	major <<= 5
	switch {
	case n < infoUint8:
		return append(dst, major|byte(n))
	case n < 1<<8:
		return append(dst, major|infoUint8, byte(n))
	case n < 1<<16:
		return binary.BigEndian.AppendUint16(append(dst, major|infoUint16), uint16(n))
	case n < 1<<32:
		return binary.BigEndian.AppendUint32(append(dst, major|infoUint32), uint32(n))
	}
	return binary.BigEndian.AppendUint64(append(dst, major|infoUint64), n)
}

// headSize is the number of bytes that appendHead appends.
func headSize(n uint64) int {
	switch {
	case n < infoUint8:
		return 1
	case n < 1<<8:
		return 2
	case n < 1<<16:
		return 3
	case n < 1<<32:
		return 5
	}
	return 9
}

// head is the head of a data item as read.
type head struct {
	major byte
	info  byte   // lower five bits: tells a float's width, and infoIndefinite
	arg   uint64 // zero if info is infoIndefinite
	size  int
}

// readHead reads the head at the beginning of b. ok is false if b is cut or the head is not well-formed.
func readHead(b []byte) (h head, ok bool) {
	if len(b) == 0 {
		return head{}, false
	}
	h = head{major: b[0] >> 5, info: b[0] & 0x1f, size: 1}
	if h.info < infoUint8 { // most are
		h.arg = uint64(h.info)
		return h, true
	}
	switch {
	case h.info <= infoUint64:
		width := 1 << (h.info - infoUint8)
		if len(b) < 1+width {
			return head{}, false
		}
		h.size += width
		switch width {
		case 1:
			h.arg = uint64(b[1])
		case 2:
			h.arg = uint64(binary.BigEndian.Uint16(b[1:]))
		case 4:
			h.arg = uint64(binary.BigEndian.Uint32(b[1:]))
		case 8:
			h.arg = binary.BigEndian.Uint64(b[1:])
		}
		if h.major == majorSimple && h.info == infoUint8 && h.arg < 32 {
			return head{}, false // RFC 8949 section 3.3: two ways to write one simple value
		}
	case h.info == infoIndefinite:
		if h.major == majorUint || h.major == majorNegInt || h.major == majorTag {
			return head{}, false
		}
	default:
		return head{}, false // 28 to 30 are not assigned
	}
	return h, true
}

func toValidUTF8(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }
