package relay

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"ultrasockets/codec"
)

// TestWrongSecrets: who guesses gets nowhere, and costs little.
func TestWrongSecrets(t *testing.T) {
	secret := secretOf(7)
	s := besiege(t, secret)
	n := pick(500, 10_000)
	beside(t, s.addr, secret, func() {
		crowd(8, n, func(i int) {
			guess := secretOf(byte(i))
			guess[31]++
			if err := tryDial(t, s.addr, DialConfig{Hello: hello("guest"), Secret: guess}); !errors.Is(err, ErrWrongSecret) {
				t.Error(err)
			}
			s.count()
		})
	})
	s.hub.log.Info("the end")
	st := s.lifted()
	if st.Admitted != 2 || st.TurnedAway.BadSecret != uint64(n) {
		t.Errorf("%+v", st)
	}
}

// rubbish is what comes to a port on a LAN that is not meant for it.
func rubbish(i int, rnd *rand.Rand) []byte {
	random := make([]byte, 1+rnd.IntN(300))
	for k := range random {
		random[k] = byte(rnd.Uint32())
	}
	hi := hello("guest")
	good := codec.Frame{Kind: codec.KindHello, Payload: hi.Append(nil)}
	switch i % 8 {
	case 0:
		return []byte("GET /admin HTTP/1.1\r\nHost: relay\r\nUser-Agent: scanner\r\n\r\n")
	case 1: // a TLS 1.3 ClientHello, as far as anybody reads it
		return append([]byte{0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3}, random...)
	case 2:
		return random
	case 3:
		return append([]byte("ULTR"), random...)
	case 4: // the secure channel, with no secret behind it
		return append(append(preamble(1, codec.ModeSecret), 0, noiseHello), random...)
	case 5:
		return append(preamble(1, codec.ModeOpen), random...)
	case 6: // a Hello with a hole in it
		whole := good.Append(preamble(1, codec.ModeOpen))
		whole[codec.PreambleSize+rnd.IntN(len(whole)-codec.PreambleSize)] ^= 1 << rnd.IntN(8)
		return whole
	}
	return good.Append(preamble(1, codec.ModeOpen))[:rnd.IntN(60)] // and then nothing more
}

func TestRubbish(t *testing.T) {
	for _, secret := range [][]byte{nil, secretOf(7)} {
		t.Run(fmt.Sprint("secret=", secret != nil), func(t *testing.T) {
			s := besiege(t, secret)
			n := pick(800, 10_000)
			beside(t, s.addr, secret, func() {
				crowd(8, n, func(i int) {
					rnd := rand.New(rand.NewPCG(uint64(i), 1))
					c, err := net.Dial("tcp", s.addr)
					if err != nil {
						t.Error(err)
						return
					}
					defer c.Close()
					c.Write(rubbish(i, rnd))
					s.count()
					if i%8 != 7 && i%16 < 8 { // half of them listen for the answer
						c.SetReadDeadline(time.Now().Add(time.Second))
						io.Copy(io.Discard, c)
					}
				})
			})
			st := s.lifted()
			if st.Admitted-2 > uint64(n/8) { // of the holes, those that hit what nobody looks at
				t.Errorf("%+v", st)
			}
			if secret != nil && st.Admitted != 2 {
				t.Errorf("%+v", st)
			}
			t.Logf("turned away %+v, refused %v", st.TurnedAway, st.Refused)
		})
	}
}

// TestSlowloris: connections that say a byte a second, and come again when they are closed, do not keep an honest node out. (From
// loopback only a whole preamble helps against those that say a preamble and then nothing; see TestPerAddress for the others.)
func TestSlowloris(t *testing.T) {
	for _, secret := range [][]byte{nil, secretOf(7)} {
		t.Run(fmt.Sprint("secret=", secret != nil), func(t *testing.T) {
			s := besiege(t, secret)
			n := pick(300, 2000)
			hi := hello("guest")
			mode := codec.ModeOpen
			if secret != nil {
				mode = codec.ModeSecret
			}
			f := codec.Frame{Kind: codec.KindHello, Payload: hi.Append(nil)}
			words := f.Append(preamble(1, mode))
			stop := make(chan struct{})
			var slow sync.WaitGroup
			var dials atomic.Int64
			for i := range n {
				slow.Go(func() {
					at := i % codec.PreambleSize // some are well on their way
					for !isClosed(stop) {
						c, err := net.Dial("tcp", s.addr)
						if err != nil {
							t.Error(err)
							return
						}
						dials.Add(1)
						for k := at; err == nil && !isClosed(stop); k++ {
							said := words[:k]
							if k > at {
								said = words[k-1 : k]
							}
							if _, err = c.Write(said); err != nil {
								break
							}
							c.SetReadDeadline(time.Now().Add(time.Second))
							if _, e := c.Read(make([]byte, 64)); e != nil && !errors.Is(e, errTimeout) {
								err = e
							}
							s.count()
						}
						c.Close()
					}
				})
			}
			end := sync.OnceFunc(func() { close(stop); slow.Wait() })
			defer end()
			waitFor(t, s.hub, "all places to be taken", func() bool { return s.hub.Stats().Pending >= maxPlaces && dials.Load() >= int64(n) })
			for i := range 5 {
				begun := time.Now()
				var l *Link
				tries := 0
				for l == nil { // as a node does: on a busy machine its preamble may come too late to keep its place
					var err error
					tries++
					if l, err = Dial(context.Background(), s.addr, DialConfig{Hello: hello(fmt.Sprint("honest", i)), Secret: secret}); err != nil && time.Since(begun) > waitLimit {
						t.Fatal("after", time.Since(begun), err)
					}
				}
				took := time.Since(begun)
				t.Logf("joined within %v, with %d tries, among %d connections so far", took.Round(time.Microsecond), tries, dials.Load())
				if *long && took > 2*time.Second {
					t.Error("that was too long")
				}
				l.Close()
			}
			end()
			t.Logf("%+v", s.lifted().TurnedAway)
		})
	}
}
