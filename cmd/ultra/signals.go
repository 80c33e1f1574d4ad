package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// toldTwice is longer than one interrupt takes to come twice, and shorter than a person takes to press a key twice.
const toldTwice = 50 * time.Millisecond

// untilSignal gives a context that ends with the first SIGINT or SIGTERM, so that everything leaves in good order. The
// second ends the process at once; but the same one again within a moment is the first, told twice: timeout(1), for one,
// signals the process and then its group. A reader of standard output that goes away is an error of writing, not a signal.
func untilSignal(parent context.Context) (ctx context.Context, stop func()) {
	signal.Ignore(syscall.SIGPIPE)
	ctx, cancel := context.WithCancel(parent)
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() { // ends with the process
		first := <-signals
		began := time.Now()
		cancel()
		for s := range signals {
			if s != first || time.Since(began) > toldTwice {
				os.Exit(exitInterrupted)
			}
		}
	}()
	return ctx, cancel
}
