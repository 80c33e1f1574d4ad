package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"

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
	"raise Connections on", "raise --connections on", "within Retention", "within --retention",
	"--force (Options.Force)", "--force", mesh.ErrBadConfig.Error()+": ", "", // the exit code says so
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
	if op != nil && op.Op == "listen" {
		return cannotListen(op)
	}
	return err
}

// cannotListen says why a port of this machine cannot be had, and what to do.
func cannotListen(op *net.OpError) error {
	var name *net.DNSError
	switch {
	case errors.As(op, &name):
		return fmt.Errorf("cannot listen on %s: it has no address here (%w); give an IP address of this machine", name.Name, name)
	case errors.Is(op, syscall.EADDRNOTAVAIL):
		return fmt.Errorf("cannot listen on %v: that is no address of this machine; it has %s", op.Addr, ownAddresses())
	case errors.Is(op, syscall.EADDRINUSE):
		return fmt.Errorf("cannot listen on %v: another program has that port; stop it, or choose another port, or 0 for a free one", op.Addr)
	}
	where := ""
	if op.Addr != nil {
		where = " on " + op.Addr.String()
	}
	return fmt.Errorf("cannot listen%s: %w; choose another port, or 0 for a free one", where, op.Err)
}

// ownAddresses are the first addresses of this machine that can be listened on without naming an interface.
func ownAddresses() string {
	addrs, _ := net.InterfaceAddrs()
	var own []string
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok && !n.IP.IsLinkLocalUnicast() && len(own) < 8 {
			own = append(own, n.IP.String())
		}
	}
	if len(own) == 0 {
		return "none"
	}
	return strings.Join(own, ", ")
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
