package codec

import "unicode/utf8"

// AsText returns the text if b is exactly one text string of definite length, without reflection. The string is a copy.
func AsText(b []byte) (string, bool) {
	content, ok := exactString(b, majorText)
	if !ok || !utf8.Valid(content) {
		return "", false
	}
	return string(content), true
}

// AsBytes returns the bytes if b is exactly one byte string of definite length, without reflection and without a copy: the
// result is part of b.
func AsBytes(b []byte) ([]byte, bool) { return exactString(b, majorBytes) }

func exactString(b []byte, major byte) ([]byte, bool) {
	if len(b) > 1 && b[0] == major<<5|infoUint8 && len(b) == 2+int(b[1]) { // most are so short, and this is half of what it costs
		return b[2:len(b):len(b)], true
	}
	h, ok := readHead(b)
	if !ok || h.major != major || h.info == infoIndefinite || h.arg != uint64(len(b)-h.size) {
		return nil, false
	}
	return b[h.size:len(b):len(b)], true
}
