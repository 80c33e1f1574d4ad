package codec_test

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"errors"
	"fmt"

	"ultrasockets/codec"
)

// seal encrypts payloads under a key that two nodes share and the relay has not: AES-256-GCM with a random nonce in front,
// so no more than 2^32 payloads under one key (NIST SP 800-38D). Who passes frames on sees names, sizes and
// numbers, and no content. It can still keep a frame back, or send an old one again under another number: an application that
// minds puts a number of its own into its messages.
type seal struct{ aead cipher.AEAD }

func newSeal(key []byte) (codec.Transform, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, err
	}
	return codec.Required(seal{aead}), nil // never skipped: nothing is sent, or taken, without it
}

func (seal) Name() string { return "aes256gcm" }

// Overhead is for the packer: messages are cut so that they fit a frame when they are sealed.
func (s seal) Overhead() int { return s.aead.Overhead() }

func (s seal) Encode(dst, src []byte) ([]byte, error) {
	return s.aead.Seal(dst[:0], nil, src, nil), nil
}

func (s seal) Decode(dst, src []byte, limit int) ([]byte, error) {
	if len(src)-s.aead.Overhead() > limit {
		return nil, errors.New("aes256gcm: too long")
	}
	return s.aead.Open(dst[:0], nil, src, nil)
}

// An own transform that encrypts: give it to both nodes in Config.Transforms.
func ExampleTransform_encryption() {
	key := []byte("thirty-two bytes, from crypto/ra") // of the two nodes alone
	mine, err := newSeal(key)
	if err != nil {
		panic(err)
	}
	receiver, err := codec.NewUnpacker([]codec.Transform{mine})
	if err != nil {
		panic(err)
	}
	sender, err := codec.NewPacker([]codec.Transform{mine}, receiver.Names(), receiver.Required())
	if err != nil {
		panic(err)
	}

	payload, packing, err := sender.Pack(nil, []byte("meet me at nine"))
	f := codec.Frame{Kind: codec.KindData, To: "bob", From: "alice", Payload: payload, Packing: packing}
	frame := f.Append(nil) // what the relay sees
	fmt.Println("readable:", bytes.Contains(frame, []byte("nine")), err)

	plain, err := receiver.Unpack(nil, payload, packing)
	fmt.Println(string(plain), err)

	payload[len(payload)-1] ^= 1
	_, err = receiver.Unpack(nil, payload, packing)
	fmt.Println("changed on the way:", errors.Is(err, codec.ErrPacking))
	_, err = receiver.Unpack(nil, []byte("meet me at ten"), 0)
	fmt.Println("not encrypted:", errors.Is(err, codec.ErrPacking))
	_, err = codec.NewPacker([]codec.Transform{mine}, []string{"snappy"}, 0)
	fmt.Println("to a node without it:", errors.Is(err, codec.ErrNoCommonTransform))
	// Output:
	// readable: false <nil>
	// meet me at nine <nil>
	// changed on the way: true
	// not encrypted: true
	// to a node without it: true
}
