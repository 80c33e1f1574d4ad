package load

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"
)

// dialling is how many links are opened at a time.
const dialling = 16

// idle opens links, leaves them alone for a time, and measures what they cost the process in between.
func idle(ctx context.Context, way *Way, links int, d time.Duration) (m Measure, err error) {
	if way.Usage == nil {
		return m, ErrSkip
	}
	before, err := way.Usage(true)
	if err != nil {
		return m, err
	}
	driver := Used(false)
	closers, err := open(ctx, way, links)
	defer closeAll(closers)
	if err != nil {
		return m, err
	}
	raw, err := way.Usage(false)
	if err != nil {
		return m, err
	}
	settled, err := way.Usage(true)
	if err != nil {
		return m, err
	}
	began := time.Now()
	select {
	case <-time.After(d):
	case <-ctx.Done():
		return m, ctx.Err()
	}
	took := time.Since(began).Seconds()
	after, err := way.Usage(false)
	if err != nil {
		return m, err
	}
	per := func(after, before uint64) float64 { return (float64(after) - float64(before)) / float64(links) }
	spent := spentBetween(settled, after)
	m = Measure{Seconds: took, Relay: &spent, Driver: spentBetween(driver, Used(false))}
	m.Idle = &Idle{
		Links: links, RSSPerLink: per(settled.RSS, before.RSS), RawPerLink: per(raw.RSS, before.RSS),
		HeapPerLink: per(settled.Heap, before.Heap), CPU: spent.CPU / took,
	}
	return m, nil
}

// open opens links, several at a time. What it has opened it gives also with an error.
func open(ctx context.Context, way *Way, links int) ([]io.Closer, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var (
		all     sync.WaitGroup
		mu      sync.Mutex
		closers []io.Closer
		errs    []error
		next    int
	)
	for range min(dialling, links) {
		all.Go(func() {
			for {
				mu.Lock()
				i := next
				next++
				mu.Unlock()
				if i >= links || ctx.Err() != nil {
					return
				}
				c, err := way.Link(ctx, i)
				mu.Lock()
				if err != nil {
					errs = append(errs, err)
					cancel()
				} else {
					closers = append(closers, c)
				}
				mu.Unlock()
			}
		})
	}
	all.Wait()
	if len(errs) > 0 {
		return closers, errs[0]
	}
	if len(closers) < links {
		return closers, errors.Join(ctx.Err(), context.Canceled)
	}
	return closers, nil
}

func closeAll(closers []io.Closer) {
	var all sync.WaitGroup
	defer all.Wait()
	for i := range dialling {
		all.Go(func() {
			for j := i; j < len(closers); j += dialling {
				_ = closers[j].Close() // nothing was under way
			}
		})
	}
}
