package codec

import (
	"fmt"
	"unicode/utf8"
)

// scanValue returns nil if b is exactly one well-formed data item within MaxDepth and MaxItems, all its text UTF-8. It
// allocates nothing, so it is the gate before everything that does.
func scanValue(b []byte) error {
	s := scanner{items: MaxItems}
	rest, err := s.item(b, 0)
	if err != nil {
		return err
	}
	return trailing(rest)
}

func trailing(rest []byte) error {
	if len(rest) == 0 {
		return nil
	}
	return fmt.Errorf("%w: %d bytes follow the item", ErrValue, len(rest))
}

type scanner struct {
	items int // that may still come
}

var (
	errCut  = fmt.Errorf("%w: it is cut short", ErrValue)
	errHead = fmt.Errorf("%w: not well-formed CBOR", ErrValue)
	errUTF8 = fmt.Errorf("%w: text that is not UTF-8; send it as bytes", ErrValue)
	errMany = fmt.Errorf("%w: more than %d items; send numbers in bulk as bytes, or several messages", ErrValue, MaxItems)
)

// count takes one item off what may come.
func (s *scanner) count() error {
	if s.items--; s.items < 0 {
		return errMany
	}
	return nil
}

// item passes one item at the beginning of b and returns what follows it.
func (s *scanner) item(b []byte, depth int) (rest []byte, err error) {
	if err := s.count(); err != nil {
		return nil, err
	}
	h, ok := readHead(b)
	if !ok {
		if len(b) == 0 {
			return nil, errCut
		}
		return nil, errHead
	}
	b = b[h.size:]
	switch h.major {
	case majorBytes, majorText:
		if h.info == infoIndefinite {
			return s.chunks(b, h.major)
		}
		return passString(b, h)
	case majorArray, majorMap, majorTag:
		if depth == MaxDepth {
			return nil, errEndless
		}
		return s.inside(b, h, depth+1)
	case majorSimple:
		if h.info == infoIndefinite {
			return nil, errHead // a break with nothing to end
		}
	}
	return b, nil
}

// inside passes what is within an array, map or tag.
func (s *scanner) inside(b []byte, h head, depth int) (rest []byte, err error) {
	perElement := uint64(1)
	if h.major == majorMap {
		perElement = 2
	}
	if h.info == infoIndefinite {
		for {
			if len(b) > 0 && b[0] == cborBreak {
				return b[1:], nil
			}
			for range perElement {
				if b, err = s.item(b, depth); err != nil {
					return nil, err
				}
			}
		}
	}
	n := h.arg
	if h.major == majorTag {
		n = 1
	}
	if n > uint64(len(b)) { // every item takes a byte at least: do not even start
		return nil, errCut
	}
	for range n * perElement {
		if b, err = s.item(b, depth); err != nil {
			return nil, err
		}
	}
	return b, nil
}

// chunks passes the definite strings of a string of indefinite length.
func (s *scanner) chunks(b []byte, major byte) (rest []byte, err error) {
	for {
		if err := s.count(); err != nil {
			return nil, err
		}
		if len(b) > 0 && b[0] == cborBreak {
			return b[1:], nil
		}
		h, ok := readHead(b)
		if !ok || h.major != major || h.info == infoIndefinite {
			if len(b) == 0 {
				return nil, errCut
			}
			return nil, errHead
		}
		if b, err = passString(b[h.size:], h); err != nil {
			return nil, err
		}
	}
}

func passString(b []byte, h head) (rest []byte, err error) {
	if h.arg > uint64(len(b)) {
		return nil, errCut
	}
	if h.major == majorText && !utf8.Valid(b[:h.arg]) {
		return nil, errUTF8
	}
	return b[h.arg:], nil
}
