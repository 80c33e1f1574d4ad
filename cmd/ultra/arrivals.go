package main

import (
	"encoding/json"
	"fmt"
	"strconv"
	"time"
	"unicode"

	"ultrasockets/mesh"
)

// arrival is a message as --json prints it.
type arrival struct {
	From   string    `json:"from"`
	Serial uint64    `json:"serial"`
	Time   time.Time `json:"time"`
	To     string    `json:"to"`
	jsonContent
}

// jsonContent is what a message says. Exactly one of Value and Bytes is there.
type jsonContent struct {
	Value json.RawMessage `json:"value,omitempty"`
	Bytes *[]byte         `json:"bytes,omitempty"`
}

func contentOf(m mesh.Message) jsonContent {
	if b, ok := m.Value().([]byte); ok {
		return jsonContent{Bytes: &b}
	}
	return jsonContent{Value: jsonOfMessage(m)}
}

func appendArrivalJSON(dst []byte, m mesh.Message) []byte {
	a := arrival{m.From, m.Serial, m.Time, m.To, contentOf(m)}
	return append(append(dst, jsonLine(a)...), '\n')
}

// appendArrivalText appends FROM<tab>SERIAL<tab>message.
func appendArrivalText(dst []byte, m mesh.Message) []byte {
	dst = append(dst, m.From...)
	dst = append(dst, '\t')
	dst = strconv.AppendUint(dst, m.Serial, 10)
	dst = append(dst, '\t')
	if text, ok := m.Value().(string); ok {
		dst = appendEscaped(dst, text)
	} else {
		dst = append(dst, jsonOfMessage(m)...)
	}
	return append(dst, '\n')
}

// appendEscaped keeps text on one line, and a terminal from obeying what is in it.
func appendEscaped(dst []byte, text string) []byte {
	for _, r := range text {
		switch {
		case r == '\t':
			dst = append(dst, `\t`...)
		case r == '\n':
			dst = append(dst, `\n`...)
		case r == '\r':
			dst = append(dst, `\r`...)
		case r == '\\':
			dst = append(dst, `\\`...)
		case unicode.IsControl(r):
			dst = fmt.Appendf(dst, `\u%04x`, r)
		default:
			dst = append(dst, string(r)...)
		}
	}
	return dst
}
