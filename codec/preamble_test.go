package codec

import (
	"errors"
	"testing"
	"time"
)

func TestPreamble(t *testing.T) {
	for _, want := range []Preamble{{Version, ModeOpen}, {Version, ModeSecret}, {9, 7}} {
		b := want.Append(nil)
		if len(b) != PreambleSize {
			t.Fatalf("%d bytes", len(b))
		}
		got, err := ParsePreamble(append(b, "and the Hello at once"...))
		if err != nil || got != want {
			t.Errorf("got %v, %v; want %v", got, err, want)
		}
		for n := range b {
			if _, err := ParsePreamble(b[:n]); !errors.Is(err, ErrPreamble) {
				t.Errorf("cut at %d: %v", n, err)
			}
		}
	}
	for _, junk := range []string{"GET / HTTP/1.1", "ultr\x01\x00\x00\x00", "\x16\x03\x01\x02\x00\x01\x00\x01"} {
		if _, err := ParsePreamble([]byte(junk)); !errors.Is(err, ErrPreamble) {
			t.Errorf("%q: %v, want ErrPreamble", junk, err)
		}
	}
}

func TestAnswer(t *testing.T) {
	for _, c := range []struct{ sent, want Answer }{
		{Answer{Version, StatusGoOn, 0}, Answer{Version, StatusGoOn, 0}},
		{Answer{Version, StatusWait, 1500 * time.Millisecond}, Answer{Version, StatusWait, 1500 * time.Millisecond}},
		{Answer{Version, StatusWait, time.Microsecond}, Answer{Version, StatusWait, time.Millisecond}},
		{Answer{Version, StatusWait, time.Hour}, Answer{Version, StatusWait, MaxWait}},
		{Answer{Version, StatusWait, -time.Second}, Answer{Version, StatusWait, 0}},
		{Answer{Version, StatusVersion, time.Second}, Answer{Version, StatusVersion, 0}},
		{Answer{Version, 77, 0}, Answer{Version, 77, 0}},
	} {
		b := c.sent.Append(nil)
		if got, err := ParseAnswer(b); err != nil || got != c.want {
			t.Errorf("%v: got %v, %v; want %v", c.sent, got, err, c.want)
		}
		for n := range b {
			if _, err := ParseAnswer(b[:n]); !errors.Is(err, ErrPreamble) {
				t.Errorf("cut at %d: %v", n, err)
			}
		}
	}
}

func TestStatusAndModeNames(t *testing.T) {
	for got, want := range map[string]string{
		StatusGoOn.String(): "go on", StatusJunk.String(): "this is no preamble", Status(9).String(): "Status(9)",
		ModeOpen.String(): "open", ModeSecret.String(): "secret", Mode(9).String(): "Mode(9)",
	} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
