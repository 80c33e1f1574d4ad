package codec_test

import (
	"errors"
	"fmt"
	"time"

	"ultrasockets/codec"
)

// Any value travels as one CBOR data item, and comes back as the Go type that fits it.
func ExampleAppendValue() {
	item, err := codec.AppendValue(nil, map[string]any{
		"celsius": 21.5,
		"at":      time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC),
		"raw":     []byte{1, 2},
	})
	if err != nil {
		panic(err)
	}
	fmt.Println(codec.Diagnose(item))
	value, err := codec.DecodeValue(item)
	fmt.Println(value, err)

	_, err = codec.AppendValue(nil, make(chan int))
	fmt.Println(errors.Is(err, codec.ErrValue), err)
	// Output:
	// {"at": 0("2026-11-22T12:00:00Z"), "raw": h'0102', "celsius": 21.5}
	// map[at:2026-11-22 12:00:00 +0000 UTC celsius:21.5 raw:[1 2]] <nil>
	// true bad value: a chan int; channels, functions and complex numbers stay at home
}

// A reader takes whole frames off what it has, and keeps the rest for the next read.
func ExampleNext() {
	item, _ := codec.AppendValue(nil, "hello")
	f := codec.Frame{Kind: codec.KindData, To: "hub", From: "board", Payload: item}
	read := f.Append(nil)
	read = append(read, f.Append(nil)[:10]...) // and the beginning of another

	for {
		frame, rest, err := codec.Next(read)
		if err != nil {
			panic(err) // close the connection
		}
		if frame == nil {
			fmt.Println(len(rest), "bytes of the next frame")
			break
		}
		text, _ := codec.AsText(frame.Payload())
		fmt.Printf("%v from %s to %s: %q, checksum %v\n", frame.Kind(), frame.From(), frame.To(), text, frame.Valid())
		read = rest
	}
	// Output:
	// Data from board to hub: "hello", checksum true
	// 10 bytes of the next frame
}

// What the sender packs for the receiver's list, the receiver unpacks.
func ExamplePacker() {
	receiver, err := codec.NewUnpacker([]codec.Transform{codec.Snappy()})
	if err != nil {
		panic(err)
	}
	sender, err := codec.NewPacker([]codec.Transform{codec.Snappy()}, receiver.Names(), receiver.Required())
	if err != nil {
		panic(err)
	}
	payload := make([]byte, 1000)
	packed, packing, err := sender.Pack(nil, payload)
	fmt.Println(len(packed) < 100, packing, err)
	plain, err := receiver.Unpack(nil, packed, packing)
	fmt.Println(len(plain), err)
	// Output:
	// true 1 <nil>
	// 1000 <nil>
}
