package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"math/big"
	"strings"

	"ultrasockets/mesh"
)

// valueOfJSON reads exactly one JSON value as what is sent for it: integers stay integers, of any size.
func valueOfJSON(text []byte) (any, error) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var v any
	err := d.Decode(&v)
	if err == nil {
		if _, err = d.Token(); err == io.EOF {
			return numbers(v)
		}
		err = errors.New("something follows the value")
	}
	if err == io.EOF {
		err = errors.New("it is empty")
	}
	return nil, fmt.Errorf("not a JSON value: %w", err)
}

// numbers turns every json.Number in v into a number, in place where it can.
func numbers(v any) (any, error) {
	var err error
	switch v := v.(type) {
	case json.Number:
		return number(string(v))
	case []any:
		for i := range v {
			if v[i], err = numbers(v[i]); err != nil {
				return nil, err
			}
		}
	case map[string]any:
		for key := range v {
			if v[key], err = numbers(v[key]); err != nil {
				return nil, err
			}
		}
	}
	return v, nil
}

func number(text string) (any, error) {
	if strings.ContainsAny(text, ".eE") {
		f, err := json.Number(text).Float64()
		if err != nil {
			return nil, fmt.Errorf("the number %.40s is too large", text)
		}
		return f, nil
	}
	if len(text) > 1000 {
		return nil, fmt.Errorf("the number %.40s… is too long", text)
	}
	n, ok := new(big.Int).SetString(text, 10)
	switch {
	case !ok:
		return nil, fmt.Errorf("%.40s is no number", text)
	case n.IsInt64():
		return n.Int64(), nil
	case n.IsUint64():
		return n.Uint64(), nil
	}
	return n, nil
}

// jsonOfMessage is a message's value as JSON on one line. What JSON has no word for is a string in CBOR's notation.
func jsonOfMessage(m mesh.Message) json.RawMessage {
	v := m.Value()
	if v == nil && m.Text() != "null" {
		return jsonLine(m.Text())
	}
	text, err := encodeJSON(jsonable(v))
	if err != nil {
		return jsonLine(m.Text())
	}
	return text
}

// jsonable replaces what encoding/json refuses: floats that are no numbers, and keys that are not text.
func jsonable(v any) any {
	switch v := v.(type) {
	case float64:
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return fmt.Sprint(v)
		}
	case []any:
		for i := range v {
			v[i] = jsonable(v[i])
		}
	case map[string]any:
		for key := range v {
			v[key] = jsonable(v[key])
		}
	case map[any]any:
		out := make(map[string]any, len(v))
		for key, value := range v {
			out[fmt.Sprint(key)] = jsonable(value)
		}
		return out
	}
	return v
}

func encodeJSON(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// jsonLine is encodeJSON for what always can be encoded.
func jsonLine(v any) []byte {
	b, err := encodeJSON(v)
	if err != nil {
		panic(err)
	}
	return b
}
