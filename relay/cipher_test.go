package relay

import (
	"fmt"
	"testing"

	"github.com/flynn/noise"
)

// The two ciphers that Noise has, as far as they make a difference to a link: one record there and back. WIRE.md section
// 10 says which it is to be, and why. With -tags purego the benchmark shows a processor without instructions for either.

var cipherSuites = []struct {
	name  string
	suite noise.CipherSuite
}{
	{"AESGCM", noise.NewCipherSuite(noise.DH25519, noise.CipherAESGCM, noise.HashSHA256)},
	{"ChaChaPoly", noise.NewCipherSuite(noise.DH25519, noise.CipherChaChaPoly, noise.HashSHA256)},
}

func BenchmarkCipher(b *testing.B) {
	for _, size := range []int{64, 256, 1 << 10, 16 << 10, maxRecord - recordTag} {
		for _, c := range cipherSuites {
			b.Run(fmt.Sprintf("%s/%dB", c.name, size), func(b *testing.B) {
				enc, dec := noise.UnsafeNewCipherState(c.suite, [32]byte{1}, 0), noise.UnsafeNewCipherState(c.suite, [32]byte{1}, 0)
				buf := make([]byte, size, size+recordTag)
				b.SetBytes(int64(size))
				b.ReportAllocs()
				for b.Loop() {
					sealed, err := enc.Encrypt(buf[:0], nil, buf[:size])
					if err != nil {
						b.Fatal(err)
					}
					if _, err = dec.Decrypt(sealed[:0], nil, sealed); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// BenchmarkNoiseHandshake is both sides of one handshake without its messages' ways.
func BenchmarkNoiseHandshake(b *testing.B) {
	for _, c := range cipherSuites {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				var sides [2]*noise.HandshakeState
				for i := range sides {
					var err error
					if sides[i], err = noise.NewHandshakeState(noise.Config{
						CipherSuite: c.suite, Pattern: noise.HandshakeNN, Initiator: i == 0, PresharedKey: secretOf(1), PresharedKeyPlacement: 0,
					}); err != nil {
						b.Fatal(err)
					}
				}
				for i := range sides {
					msg, _, _, err := sides[i].WriteMessage(nil, nil)
					if err != nil {
						b.Fatal(err)
					}
					if _, _, _, err := sides[1-i].ReadMessage(nil, msg); err != nil {
						b.Fatal(err)
					}
				}
			}
		})
	}
}
