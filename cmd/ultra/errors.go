package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"

	"ultrasockets/mesh"
)

// errTold fails a verb that has said on standard error already what went wrong.
var errTold = errors.New("told already")

var errInterrupted = errors.New("interrupted")

// usageError is the user's to mend in the command line: exit code 2.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// fieldNames turns the library's words for what the user gave into those of the command line.
var fieldNames = strings.NewReplacer(
	"Config.Name", "--name", "Config.Mesh", "--mesh", "Config.Groups", "--group", "Config.Bind", "--bind",
	"Config.Listen", "--listen", "Config.Seeds", "--seed", "Config.Connections", "--connections",
	"Config.Retention", "--retention", "Config.Tags", "--tag", "Config.Secret", "--secret-file",
)

// oneLine makes one sentence of an error, also of several joined ones.
func oneLine(err error) string {
	var lines []string
	for line := range strings.Lines(err.Error()) {
		line = strings.TrimSpace(line)
		if line != "" && line != context.DeadlineExceeded.Error() && line != context.Canceled.Error() {
			line = strings.TrimSuffix(line, ": "+context.DeadlineExceeded.Error())
			lines = append(lines, strings.TrimSuffix(line, ": "+context.Canceled.Error()))
		}
	}
	return fieldNames.Replace(strings.Join(lines, "; "))
}

// classify makes the library's errors about what the user typed usage errors. A port in use is none.
func classify(err error) error {
	var op *net.OpError
	var system *os.SyscallError
	isSystem := errors.As(err, &op) || errors.As(err, &system)
	if errors.Is(err, mesh.ErrBadName) || errors.Is(err, mesh.ErrBadConfig) && !isSystem {
		return usageError{err}
	}
	return err
}

// undelivered is the sentence about messages that were given up.
func undelivered(e *mesh.UndeliveredError) string {
	messages := fmt.Sprintf("%d messages", e.Count)
	if e.Count == 1 {
		messages = "1 message"
	}
	unknown := ""
	if sent := e.Count - e.Unsent; sent > 0 {
		unknown = fmt.Sprintf(" (%d had been sent, with unknown outcome)", sent)
	}
	return fmt.Sprintf("%s to %q not delivered%s: %s", messages, e.To, unknown, oneLine(e.Reason))
}
