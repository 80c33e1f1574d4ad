package relay

import (
	"fmt"
	"testing"

	"ultrasockets/codec"
)

// BenchmarkRoster builds the roster that each newcomer to a mesh of 1,000 gets.
func BenchmarkRoster(b *testing.B) {
	h := NewHub(HubConfig{Mesh: "lab", Own: hello("relay")})
	for i := range 1000 {
		hi := hello(fmt.Sprintf("node%d", i))
		hi.Transforms = []string{"snappy"}
		h.names[hi.Name] = &peer{entry: entryOf(&hi, "127.0.0.1:1234"), seat: seat{name: hi.Name, listed: true}}
	}
	b.ReportAllocs()
	for b.Loop() {
		if frames := h.rosterFrames(); codec.Raw(frames).Kind() != codec.KindRoster {
			b.Fatal("no roster")
		}
	}
}
