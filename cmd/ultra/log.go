package main

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
)

// logLevels are what --log-level may be.
var logLevels = []string{"off", "debug", "info", "warn", "error"}

// logTo is where the log goes, as --log-level, --log-format and --verbose have it; nil: it is not wanted.
func (f *meshFlags) logTo(w io.Writer) (slog.Handler, error) {
	level := f.logLevel
	switch {
	case level != "" && !slices.Contains(logLevels, level):
		return nil, usageError{fmt.Errorf("--log-level is %q; it must be one of %s", level, strings.Join(logLevels, ", "))}
	case f.logFormat != "" && f.logFormat != "text" && f.logFormat != "json":
		return nil, usageError{fmt.Errorf("--log-format is %q; it must be text or json", f.logFormat)}
	case level == "" || level == "off":
		if !f.verbose {
			return nil, nil
		}
		level = "debug"
	}
	var options slog.HandlerOptions
	var l slog.Level
	must(l.UnmarshalText([]byte(level)))
	options.Level = l
	if f.logFormat == "json" {
		return slog.NewJSONHandler(w, &options), nil
	}
	return slog.NewTextHandler(w, &options), nil
}

// tellTo is where sentences for people go: whole lines from any goroutine. With --log-format json they are objects too.
func (f *meshFlags) tellTo(w io.Writer) io.Writer {
	if f.logFormat == "json" {
		w = noteWriter{w, slog.New(slog.NewJSONHandler(w, nil))}
	}
	return &syncWriter{w: w}
}

// noteWriter makes a record of the log of each line that is no object already.
type noteWriter struct {
	w   io.Writer
	log *slog.Logger
}

func (n noteWriter) Write(line []byte) (int, error) {
	if bytes.HasPrefix(line, []byte("{")) {
		return n.w.Write(line)
	}
	text := strings.TrimSuffix(string(line), "\n")
	if failed, ok := strings.CutPrefix(text, "ultra: "); ok {
		n.log.Warn(failed)
	} else {
		n.log.Info(strings.TrimPrefix(text, "note: "))
	}
	return len(line), nil
}
