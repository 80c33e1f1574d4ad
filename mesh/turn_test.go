package mesh

import (
	"context"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// TestTurnIsFair: one gets the turn, again and again, among any number of others who never answer and of whom new ones come all
// the time; also if it gives up waiting now and then, and comes again.
func TestTurnIsFair(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		var turn turn
		var others sync.WaitGroup
		for range 20 {
			others.Go(func() {
				for ctx.Err() == nil {
					within, cancel := context.WithCancel(ctx)
					mute := &ticket{hold: turnFirst, cancel: cancel}
					if turn.take(within, mute) == nil {
						<-within.Done()
						turn.leave(mute)
					}
					cancel()
				}
			})
		}
		time.Sleep(time.Second)
		k := &ticket{hold: turnFirst, cancel: func() {}}
		for range 10 {
			began := time.Now()
			for turn.take(ctx, k) != nil { // which it does after turnWait
				if time.Since(began) > time.Minute {
					t.Fatal("it has no turn")
				}
			}
			if took := time.Since(began); took > 21*turnFirst {
				t.Errorf("it waited %v for its turn", took)
			}
			turn.leave(k)
		}
		stop()
		others.Wait()
	})
}

// TestTurnIsOnes: whoever takes the turn, gives it back, goes while it waits or does not give way at once: one at a time has it,
// and nobody waits while nobody has it.
func TestTurnIsOnes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var turn turn
		var mu sync.Mutex
		var targets sync.WaitGroup
		has, turns, gone := 0, 0, 0
		for i := range 8 {
			targets.Go(func() {
				r := rand.New(rand.NewPCG(uint64(i), 0))
				k := &ticket{hold: turnFirst}
				for range 200 {
					ctx, cancel := context.WithTimeout(t.Context(), time.Duration(r.IntN(3000))*time.Millisecond)
					k.cancel = cancel
					if turn.take(ctx, k) != nil {
						mu.Lock()
						gone++
						mu.Unlock()
						cancel()
						continue
					}
					mu.Lock()
					if has, turns = has+1, turns+1; has > 1 {
						t.Error("two have the turn")
					}
					mu.Unlock()
					select {
					case <-ctx.Done():
					case <-time.After(time.Duration(r.IntN(500)) * time.Millisecond):
					}
					mu.Lock()
					has--
					mu.Unlock()
					turn.leave(k)
					turn.leave(k)
					cancel()
					time.Sleep(time.Duration(r.IntN(100)) * time.Millisecond)
				}
			})
		}
		targets.Wait()
		if turn.holder != nil || len(turn.waiting) > 0 || turns == 0 || gone == 0 {
			t.Errorf("%d turns, %d gone; left: %v, %d waiting", turns, gone, turn.holder, len(turn.waiting))
		}
	})
}
