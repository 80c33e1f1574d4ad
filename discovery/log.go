package discovery

import (
	"bytes"
	"log"
	"log/slog"
	"strings"
)

// libraryLog returns a logger for a library: whatever it says, at whatever level it thinks, is debug to us, since
// strangers on the network can make it say things.
func libraryLog(to *slog.Logger, name string) *log.Logger {
	return log.New(libraryWriter{to.With("library", name)}, "", 0)
}

type libraryWriter struct{ to *slog.Logger }

func (w libraryWriter) Write(line []byte) (int, error) {
	text := string(bytes.TrimSpace(line))
	if _, rest, ok := strings.Cut(text, "] "); ok && strings.HasPrefix(text, "[") {
		text = rest
	}
	w.to.Debug(text)
	return len(line), nil
}
