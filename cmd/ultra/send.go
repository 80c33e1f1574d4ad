package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"ultrasockets/mesh"
)

const sendHelp = `Send one message and wait until it is in the receiver's inbox; of --group or --all, of all that are in it
now. The sender is a visitor: nobody lists it. Without MESSAGE, or with -, standard input is sent whole, to
its last byte: as text if it is UTF-8, else as bytes. --value sends a JSON value as what it is, integers as
integers. Whoever is not here yet is waited for until --timeout; then the exit code is 1.`

const sendExamples = `  ultra send pc1 "good morning"
  ultra send pc1 --value '{"temperature": 21.5}'
  ultra send --group lab "lights out"
  ultra send pc1 - <picture.png`

type sendFlags struct {
	meshFlags
	value string
	group string
	all   bool
}

func newSend() *cobra.Command {
	f := &sendFlags{}
	cmd := &cobra.Command{
		Use:     "send NAME|--group G|--all [MESSAGE|-]",
		Short:   "Send one message and wait for its arrival",
		Long:    sendHelp,
		Example: sendExamples,
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringVar(&f.value, "value", "", "a JSON value to send, in place of MESSAGE")
	flags.StringVar(&f.group, "group", "", "send to all in this group, in place of NAME")
	flags.BoolVar(&f.all, "all", false, "send to all, in place of NAME")
	f.addTo(cmd)
	f.completeNames(cmd)
	cmd.Args = func(cmd *cobra.Command, args []string) error { _, err := f.split(cmd, args); return err }
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		to, err := f.split(cmd, args)
		if err != nil {
			return err
		}
		value, err := content(cmd, to.message, cmd.InOrStdin())
		if err != nil {
			return err
		}
		return f.run(cmd.Context(), to.address, value, cmd.OutOrStdout())
	}
	return cmd
}

// letter is what the arguments say: the address, and the message or "-".
type letter struct{ address, message string }

func (f *sendFlags) split(cmd *cobra.Command, args []string) (letter, error) {
	group, value := cmd.Flags().Changed("group"), cmd.Flags().Changed("value")
	l := letter{message: "-"}
	switch {
	case group && f.all:
		return l, usageError{errors.New("--group and --all exclude each other")}
	case group && f.group == "":
		return l, usageError{errors.New("--group is empty; --all sends to all")}
	case group:
		l.address = mesh.ToGroup(f.group)
	case f.all:
		l.address = mesh.ToAll
	case len(args) == 0 || args[0] == "":
		return l, usageError{errors.New("to whom? Give a NAME, --group or --all")}
	case strings.HasPrefix(args[0], mesh.ToAll):
		return l, usageError{fmt.Errorf("%q is no name; use --group or --all", args[0])}
	default:
		if err := checkName(args[0]); err != nil {
			return l, err
		}
		l.address, args = args[0], args[1:]
	}
	if len(args) > 0 && !value {
		l.message, args = args[0], args[1:]
	}
	if len(args) > 0 {
		return l, usageError{fmt.Errorf("there is one argument too many, %q; exactly one of NAME, --group and --all, and one of MESSAGE and --value; quote a MESSAGE of several words", args[0])}
	}
	return l, nil
}

// content is the value to send: of --value, if that is given; else a message, or for "-" what in holds.
func content(cmd *cobra.Command, message string, in io.Reader) (any, error) {
	if flag := cmd.Flags().Lookup("value"); flag.Changed {
		value, err := valueOfJSON([]byte(flag.Value.String()))
		if err != nil {
			return nil, usageError{fmt.Errorf("--value: %w; text needs quotes of its own: --value '\"text\"'", err)}
		}
		return value, nil
	}
	text := []byte(message)
	if message == "-" {
		if term.IsTerminal(int(os.Stdin.Fd())) {
			fmt.Fprintln(os.Stderr, "Type the message; Ctrl-D at the beginning of a line ends it.")
		}
		var err error
		if text, err = io.ReadAll(io.LimitReader(in, mesh.DefaultMaxMessage+1)); err != nil {
			return nil, fmt.Errorf("standard input: %w", err)
		}
	}
	if utf8.Valid(text) {
		return string(text), nil
	}
	return text, nil
}

func (f *sendFlags) run(ctx context.Context, to string, value any, out io.Writer) error {
	ctx, cancel := f.within(ctx)
	defer cancel()
	started := time.Now()
	node, err := f.visit(ctx)
	if err != nil {
		return err
	}
	defer node.Close()
	began := time.Now()
	names := []string{to}
	if group, ok := strings.CutPrefix(to, mesh.ToAll); ok {
		if names, err = waitMembers(ctx, node, group, started); err != nil {
			return err
		}
	}
	if err := node.Deliver(ctx, to, value); err != nil {
		return f.notDelivered(node, to, err, time.Since(started))
	}
	if !f.json {
		return nil
	}
	_, err = fmt.Fprintf(out, "%s\n", jsonLine(struct {
		To        string   `json:"to"`
		Delivered []string `json:"delivered"`
		Ms        float64  `json:"ms"`
	}{to, names, milliseconds(time.Since(began))}))
	return err
}

// waitMembers waits until somebody is in the group; "" is all.
func waitMembers(ctx context.Context, node *mesh.Node, group string, started time.Time) ([]string, error) {
	events, cancel := context.WithCancel(ctx)
	defer cancel()
	happened := node.Events(events)
	if names := membersOf(node, group); len(names) > 0 {
		return names, nil
	}
	for range happened {
		if names := membersOf(node, group); len(names) > 0 {
			return names, nil
		}
	}
	if errors.Is(ctx.Err(), context.Canceled) {
		return nil, errInterrupted
	}
	return nil, fmt.Errorf("%w (waited %v)", nobodyIn(group, node), roughly(time.Since(started)))
}

// notDelivered says why, for people.
func (f *sendFlags) notDelivered(node *mesh.Node, to string, err error, waited time.Duration) error {
	switch {
	case errors.Is(err, context.Canceled):
		return errInterrupted
	case errors.Is(err, mesh.ErrPaused):
		return fmt.Errorf("%s is paused and took nothing within %v; try again when it has resumed", to, f.timeout)
	case strings.HasPrefix(to, mesh.ToAll):
		return classify(err)
	case errors.Is(err, mesh.ErrNoPeer):
		return notHere(node, to, waited)
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%s is in mesh %q and did not acknowledge the message within %v; it may have arrived or not", to, node.Mesh(), f.timeout)
	}
	return classify(err)
}
