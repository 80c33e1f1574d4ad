package mesh

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// TestFifo: it does what a slice does.
func TestFifo(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var q fifo[*int]
		var want, popped []*int
		t.Repeat(map[string]func(*rapid.T){
			"push": func(t *rapid.T) {
				for range rapid.IntRange(1, 100).Draw(t, "n") {
					v := new(int)
					q.push(v)
					want, popped = append(want, v), nil
				}
			},
			"pop": func(t *rapid.T) {
				for range min(len(want), rapid.IntRange(1, 100).Draw(t, "n")) {
					popped = append(popped, q.pop())
					if popped[len(popped)-1] != want[0] {
						t.Fatal("popped another")
					}
					want = want[1:]
				}
			},
			"put back": func(t *rapid.T) {
				q.putBack(popped)
				want, popped = append(slices.Clone(popped), want...), nil
			},
			"insert": func(t *rapid.T) {
				i, v := rapid.IntRange(0, len(want)).Draw(t, "i"), new(int)
				q.insert(i, v)
				want, popped = slices.Insert(slices.Clone(want), i, v), nil
			},
			"remove": func(t *rapid.T) {
				if len(want) > 0 {
					i := rapid.IntRange(0, len(want)-1).Draw(t, "i")
					if q.remove(i) != want[i] {
						t.Fatal("removed another")
					}
					want, popped = slices.Delete(slices.Clone(want), i, i+1), nil
				}
			},
			"": func(t *rapid.T) {
				if q.len() != len(want) {
					t.Fatalf("%d, want %d", q.len(), len(want))
				}
				for i, v := range want {
					if *q.at(i) != v {
						t.Fatalf("another at %d", i)
					}
				}
				// What is not in it is not kept alive.
				alive := 0
				for _, p := range q.pieces {
					for _, v := range p {
						if v != nil {
							alive++
						}
					}
				}
				if alive != len(want) || len(q.pieces)*fifoPiece > len(want)+3*fifoPiece+100 {
					t.Fatalf("%d of %d alive in %d pieces", alive, len(want), len(q.pieces))
				}
			},
		})
	})
}
