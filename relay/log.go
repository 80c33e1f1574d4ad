package relay

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

const (
	levelDebug = slog.LevelDebug
	levelWarn  = slog.LevelWarn

	maxLogLines = 10 // a second, of what strangers can cause
)

// limiter lets a few things happen per second, and counts the others. Safe for concurrent use.
type limiter struct {
	now clock // static

	// guarded by mu
	mu      sync.Mutex
	begun   time.Duration
	n       int
	skipped int
}

// allow tells whether another one may happen, and how many did not before it.
func (l *limiter) allow() (skipped int, ok bool) {
	now := l.now()
	l.mu.Lock()
	defer l.mu.Unlock()
	if now-l.begun >= time.Second {
		l.begun, l.n = now, 0
	}
	if l.n >= maxLogLines {
		l.skipped++
		return 0, false
	}
	l.n++
	skipped, l.skipped = l.skipped, 0
	return skipped, true
}

// logf logs what strangers can cause, so only so often.
func (h *Hub) logf(level slog.Level, msg string, args ...any) {
	if !h.log.Enabled(context.Background(), level) {
		return
	}
	skipped, ok := h.loglim.allow()
	if !ok {
		return
	}
	if skipped > 0 {
		args = append(args, "not_logged", skipped)
	}
	h.log.Log(context.Background(), level, msg, args...)
}
