package relay

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"ultrasockets/codec"
)

// TestFlood: one member sends as fast as it can.
func TestFlood(t *testing.T) {
	for _, name := range []string{
		"to one that reads", "with a limit", "to one that does not read", "to nobody", "to everybody", "pings", "updates",
	} {
		t.Run(name, func(t *testing.T) {
			cfg := HubConfig{Heartbeat: time.Minute} // nobody here pings
			if name == "with a limit" {
				cfg.Rate = Rate{Bytes: 2 << 20}
			}
			h, addr := hubOn(t, cfg)
			runIdle(t, h.Reign(Reign{}))
			flood := rawLink(t, addr, "flood", nil)
			before := h.Stats()
			var unit []byte
			var readers sync.WaitGroup
			drain := func(c net.Conn) { readers.Go(func() { io.Copy(io.Discard, c) }) }
			drain(flood)
			switch name {
			case "to one that reads", "with a limit":
				c := rawLink(t, addr, "reader", nil)
				drain(c)
				unit = data("flood", "reader", 1, 1, string(make([]byte, 128)))
			case "to one that does not read":
				rawLink(t, addr, "deaf", nil)
				unit = data("flood", "deaf", 1, 1, string(make([]byte, 128)))
			case "to nobody":
				unit = data("flood", "nobody", 1, 1, string(make([]byte, 128)))
			case "to everybody":
				for i := range 10 {
					drain(rawLink(t, addr, fmt.Sprint("reader", i), nil))
				}
				f := codec.Frame{Kind: codec.KindData, Flags: codec.FlagGroup, To: "nogroup", From: "flood", Payload: make([]byte, 128)}
				unit = f.Append(nil)
			case "pings":
				unit = pingFrame(make([]byte, 64))
			case "updates":
				for i := range 10 {
					l, err := Dial(context.Background(), addr, DialConfig{Hello: hello(fmt.Sprint("viewer", i))})
					if err != nil {
						t.Fatal(err)
					}
					runIdle(t, l)
				}
				u := codec.Update{Changes: []codec.Change{{Op: codec.Changed, Entry: codec.Entry{Tags: map[string]string{"a": "b"}}}}}
				f := codec.Frame{Kind: codec.KindUpdate, Payload: u.Append(nil)}
				unit = f.Append(nil)
			}
			var block []byte
			for len(block) < 60<<10 {
				block = append(block, unit...)
			}
			slows := name == "with a limit" || name == "updates"
			beside(t, addr, nil, func() {
				var writer sync.WaitGroup
				writer.Go(func() {
					for {
						if _, err := flood.Write(block); errors.Is(err, os.ErrDeadlineExceeded) {
							return
						} else if err != nil {
							t.Error(err)
							return
						}
					}
				})
				begun := time.Now()
				waitFor(t, h, "the end of the flood", func() bool {
					return time.Since(begun) > pick(500*time.Millisecond, 5*time.Second) && (!slows || h.Stats().Slowed > 0)
				})
				flood.SetWriteDeadline(time.Unix(1, 0)) // one that is slowed down waits
				writer.Wait()
			})
			s := h.Stats()
			t.Logf("%.2f million frames of the flood came in, %.2f million went out, %d pauses, dropped %+v",
				float64(s.FramesIn-before.FramesIn)/1e6, float64(s.FramesOut-before.FramesOut)/1e6, s.Slowed, s.Dropped)
			if s.FramesIn == before.FramesIn || (s.Slowed > 0) != slows {
				t.Errorf("%+v", s)
			}
			flood.Close()
			h.Close()
			readers.Wait()
		})
	}
}
