package relay

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"testing"

	"ultrasockets/codec"
)

func secretOf(n byte) []byte { return bytes.Repeat([]byte{n}, secretSize) }

// keys is what one node has in one round of a change of keys.
type keys struct {
	secret []byte
	others [][]byte
}

// TestRotation walks a mesh through the three rounds of DialConfig.OldSecrets: at every moment some nodes are one round ahead of
// others, and all of them link to each other, whichever is the relay. Only the first state and the last do not meet.
func TestRotation(t *testing.T) {
	before, after := secretOf(1), secretOf(2)
	rounds := []keys{
		{before, nil},
		{before, [][]byte{after}},
		{after, [][]byte{before}},
		{after, nil},
	}
	for hub := range rounds {
		h, addr, _, _ := reignOn(t, HubConfig{Secret: rounds[hub].secret, OldSecrets: rounds[hub].others})
		for dialler := range rounds {
			k := rounds[dialler]
			old := h.Stats().OldSecret
			err := tryDial(t, addr, DialConfig{Hello: hello(fmt.Sprint("n", dialler)), Secret: k.secret, OldSecrets: k.others})
			apart := max(hub-dialler, dialler-hub)
			if apart < 3 && err != nil || apart == 3 && !errors.Is(err, ErrWrongSecret) {
				t.Errorf("relay in round %d, dialler in round %d: %v", hub, dialler, err)
			}
			// Who comes with a secret that is not the relay's own is counted, so that the last round is begun in time.
			if err == nil && h.Stats().OldSecret-old != b2n(!bytes.Equal(used(k, rounds[hub]), rounds[hub].secret)) {
				t.Errorf("relay in round %d, dialler in round %d: %d counted as old", hub, dialler, h.Stats().OldSecret-old)
			}
		}
	}
}

// used is the secret that a dialler with k links with to a hub with h: its first that the hub takes.
func used(k, h keys) []byte {
	for _, s := range append([][]byte{k.secret}, k.others...) {
		for _, o := range append([][]byte{h.secret}, h.others...) {
			if bytes.Equal(s, o) {
				return s
			}
		}
	}
	return nil
}

func b2n(b bool) uint64 {
	if b {
		return 1
	}
	return 0
}

// TestOldSecretsAreTried: one connection for each secret, in their order, the same one never twice, and the last word is ErrWrongSecret.
func TestOldSecretsAreTried(t *testing.T) {
	h, addr, _, _ := reignOn(t, HubConfig{Secret: secretOf(9)})
	dials := 0
	cfg := DialConfig{
		Hello: hello("a"), Secret: secretOf(1), OldSecrets: [][]byte{secretOf(2), secretOf(1), secretOf(3), secretOf(2)},
		Dial: func(ctx context.Context, network, addr string) (net.Conn, error) {
			dials++
			return new(net.Dialer).DialContext(ctx, network, addr)
		},
	}
	if err := tryDial(t, addr, cfg); !errors.Is(err, ErrWrongSecret) || dials != 3 {
		t.Fatalf("%v after %d connections", err, dials)
	}
	if s := h.Stats(); s.TurnedAway.BadSecret != 3 || s.Admitted != 0 {
		t.Fatalf("%+v", s)
	}
	// A relay without a secret, or one that is no relay, is not asked again.
	_, open, _, _ := reignOn(t, HubConfig{})
	dials = 0
	if err := tryDial(t, open, cfg); !errors.Is(err, ErrNoSecret) || dials != 1 {
		t.Fatalf("%v after %d connections", err, dials)
	}
	cfg.OldSecrets[3] = secretOf(9)
	dials = 0
	if err := tryDial(t, addr, cfg); err != nil || dials != 4 {
		t.Fatalf("%v after %d connections", err, dials)
	}
}

func TestBadOldSecrets(t *testing.T) {
	good := secretOf(1)
	for name, k := range map[string]keys{
		"old without own":   {nil, [][]byte{good}},
		"old that is nil":   {good, [][]byte{nil}},
		"old that is short": {good, [][]byte{good[1:]}},
		"old that is empty": {good, [][]byte{{}}},
		"own that is empty": {[]byte{}, [][]byte{good}},
		"too many":          {good, [][]byte{good, good, good, good, good}},
	} {
		t.Run(name, func(t *testing.T) {
			h := NewHub(HubConfig{Mesh: "lab", Own: hello("relay"), Secret: k.secret, OldSecrets: k.others})
			defer h.Close()
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			if err := h.Serve(l); !errors.Is(err, ErrBadSecret) {
				t.Errorf("Serve: %v", err)
			}
			cfg := DialConfig{Hello: hello("a"), Secret: k.secret, OldSecrets: k.others}
			if _, err := Dial(context.Background(), l.Addr().String(), cfg); !errors.Is(err, ErrBadSecret) {
				t.Errorf("Dial: %v", err)
			}
		})
	}
}

// BenchmarkOpenHello is what a dialler's first message costs the relay: the right secret at once, and none of five.
func BenchmarkOpenHello(b *testing.B) {
	prologue := make([]byte, 2*codec.PreambleSize)
	psks := [][]byte{secretOf(1), secretOf(2), secretOf(3), secretOf(4), secretOf(5)}
	for name, psk := range map[string][]byte{"right": psks[0], "the last of 5": psks[4], "none of 5": secretOf(6)} {
		hs, err := newHandshake(psk, prologue, true)
		if err != nil {
			b.Fatal(err)
		}
		msg, _, _, err := hs.WriteMessage(nil, nil)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				_, _, _ = openHello(msg, psks, prologue)
			}
		})
	}
}
