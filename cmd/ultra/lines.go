package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"ultrasockets/mesh"
)

// maxLine bounds a line of input: one more byte cannot be sent anyway.
const maxLine = mesh.DefaultMaxMessage + 1<<10

var errLongLine = fmt.Errorf("it is longer than %d MiB, the largest message", mesh.DefaultMaxMessage>>20)

// line is one line of input, without its end.
type line struct {
	number int // from 1
	text   string
	err    error // why there is no text
}

// readLines gives every line of r to yield, until that returns false or r ends.
func readLines(r io.Reader, limit int, yield func(line) bool) error {
	in := bufio.NewReaderSize(r, 64<<10)
	for number := 1; ; number++ {
		text, err := readLine(in, limit)
		if err != nil && err != errLongLine {
			if err == io.EOF {
				return nil
			}
			return err
		}
		if !yield(line{number, text, err}) {
			return nil
		}
	}
}

// readLine reads up to a line feed, which may lack after the last line; a carriage return before it goes as well.
func readLine(in *bufio.Reader, limit int) (string, error) {
	var text []byte
	long := false
	for {
		part, err := in.ReadSlice('\n')
		if long = long || len(text)+len(part) > limit; long {
			text = text[:0]
		} else {
			text = append(text, part...)
		}
		switch {
		case err == bufio.ErrBufferFull:
			continue
		case err == io.EOF && len(text) == 0 && !long, err != nil && err != io.EOF:
			return "", err
		case long:
			return "", errLongLine
		}
		return strings.TrimSuffix(strings.TrimSuffix(string(text), "\n"), "\r"), nil
	}
}

// order is what a line asks for.
type order struct {
	to    string
	value any
}

// parseText reads "NAME message". The message is everything after one space or tab.
func parseText(text string) (order, error) {
	text = strings.TrimLeft(text, " \t")
	i := strings.IndexAny(text, " \t")
	if i < 0 {
		return order{}, fmt.Errorf("there is no message after %.80q; write: NAME message", text)
	}
	return order{text[:i], text[i+1:]}, nil
}

// parseJSON reads {"to":…,"value":…} or {"to":…,"bytes":…}; what else the object has means nothing.
func parseJSON(text string) (order, error) {
	var object struct {
		To    string          `json:"to"`
		Value json.RawMessage `json:"value"`
		Bytes *[]byte         `json:"bytes"`
	}
	if err := json.Unmarshal([]byte(text), &object); err != nil {
		return order{}, fmt.Errorf("it is not {\"to\":NAME,\"value\":…} (%w)", err)
	}
	switch {
	case object.To == "":
		return order{}, errors.New("it does not say to whom; write {\"to\":NAME,\"value\":…}")
	case object.Value == nil && object.Bytes == nil:
		return order{}, errors.New("there is nothing to send; write {\"to\":NAME,\"value\":…}")
	case object.Value != nil && object.Bytes != nil:
		return order{}, errors.New("it has both \"value\" and \"bytes\"; write one of them")
	case object.Bytes != nil:
		return order{object.To, *object.Bytes}, nil
	}
	value, err := valueOfJSON(object.Value)
	return order{object.To, value}, err
}
