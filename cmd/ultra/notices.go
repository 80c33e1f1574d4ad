package main

import (
	"context"
	"log/slog"
	"slices"
	"sync"
)

// notices are the sentences in which discovery says what cannot work here. They are for people even without --verbose.
// Safe for concurrent use.
type notices struct {
	mu    sync.Mutex
	texts []string
	tell  func(text string) // nil: nobody listens yet
}

func (n *notices) add(text string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if slices.Contains(n.texts, text) {
		return
	}
	n.texts = append(n.texts, text)
	if n.tell != nil {
		n.tell(text)
	}
}

func (n *notices) all() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.texts)
}

// listen hands all notices to tell, those of the past at once.
func (n *notices) listen(tell func(text string)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.tell = tell
	for _, text := range n.texts {
		tell(text)
	}
}

// logHandler takes the notices out of the log, and hands the log on if the user wants to see it.
type logHandler struct {
	log     slog.Handler // nil: not wanted
	notices *notices
}

func (h logHandler) Enabled(ctx context.Context, level slog.Level) bool {
	return level >= slog.LevelWarn || h.log != nil && h.log.Enabled(ctx, level)
}

func (h logHandler) Handle(ctx context.Context, r slog.Record) error {
	if r.Level >= slog.LevelWarn {
		r.Attrs(func(a slog.Attr) bool {
			if a.Key == "problem" {
				h.notices.add(r.Message)
			}
			return true
		})
	}
	if h.log == nil {
		return nil
	}
	return h.log.Handle(ctx, r)
}

func (h logHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	if h.log != nil {
		h.log = h.log.WithAttrs(attrs)
	}
	return h
}

func (h logHandler) WithGroup(name string) slog.Handler {
	if h.log != nil {
		h.log = h.log.WithGroup(name)
	}
	return h
}
