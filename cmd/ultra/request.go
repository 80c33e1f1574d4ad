package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"ultrasockets/mesh"
)

const requestHelp = `Send a request to the node NAME and print the reply of its program: a text with a line feed after it, bytes as
they are, any other value as JSON. MESSAGE and --value are as with ultra send. NAME is waited for until
--timeout, and so is the reply; a request that was sent may have been handled also if no reply came. What answers is
a program with a handler (Node.Handle and Node.HandleKind in package mesh); ultra join has none.

Exit code 1: the handler returned an error (which is printed), there is none, or no reply came.
With --json: {"from","ms","value"}, or "bytes" (base64) for "value".`

const requestExamples = `  ultra request lamp on
  ultra request thermostat --value '{"kind":"set","value":21.5}' --json | jq .value
  ultra request camera snapshot --timeout 1m >picture.png
  ultra request judge - <program.py`

type requestFlags struct {
	meshFlags
	value string
}

func newRequest() *cobra.Command {
	f := &requestFlags{}
	cmd := &cobra.Command{
		Use:     "request NAME [MESSAGE|-]",
		Short:   "Ask a node, and print its reply",
		Long:    requestHelp,
		Example: requestExamples,
		Args: func(cmd *cobra.Command, args []string) error {
			rest := 2
			switch {
			case len(args) == 0 || args[0] == "":
				return usageError{errors.New("whom? Write: ultra request NAME MESSAGE")}
			case cmd.Flags().Changed("value"):
				rest = 1
			}
			return atMost(rest, "NAME and one of MESSAGE and --value")(cmd, args)
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringVar(&f.value, "value", "", "a JSON value to send, in place of MESSAGE")
	f.addTo(cmd)
	f.completeNames(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		name, message := args[0], "-"
		if len(args) > 1 {
			message = args[1]
		}
		if err := checkName(name); err != nil {
			return err
		}
		value, err := content(cmd, message, cmd.InOrStdin())
		if err != nil {
			return err
		}
		return f.run(cmd.Context(), name, value, cmd.OutOrStdout())
	}
	return cmd
}

func (f *requestFlags) run(ctx context.Context, name string, value any, out io.Writer) error {
	node, err := f.visitName(ctx, name)
	if err != nil {
		return err
	}
	defer node.Close()
	within, cancel := f.within(ctx)
	defer cancel()
	began := time.Now()
	reply, err := node.Request(within, name, value)
	if err != nil {
		return f.notAnswered(ctx, name, err)
	}
	if f.json {
		return printReplyJSON(out, reply, time.Since(began))
	}
	return printReply(out, reply, term.IsTerminal(int(os.Stdout.Fd())))
}

// notAnswered says why, for people.
func (f *requestFlags) notAnswered(ctx context.Context, name string, err error) error {
	var remote *mesh.RemoteError
	switch {
	case errors.As(err, &remote):
		return fmt.Errorf("%s answered with an error: %s", name, appendEscaped(nil, remote.Text))
	case errors.Is(ctx.Err(), context.Canceled):
		return errInterrupted
	case errors.Is(err, mesh.ErrNoHandler):
		return fmt.Errorf("%s answers no requests: its program registered no handler (\"ultra send\" sends it a message)", name)
	case errors.Is(err, mesh.ErrOutcomeUnknown):
		return fmt.Errorf("%s was lost or restarted before it answered; the request may have been handled or not", name)
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%s did not answer within %v (--timeout); the request may be handled yet", name, f.timeout)
	}
	return classify(err)
}

// printReply prints a reply for people and programs. Control characters do not reach a terminal.
func printReply(out io.Writer, m mesh.Message, terminal bool) error {
	var text []byte
	switch v := m.Value().(type) {
	case []byte:
		text = v
		if terminal {
			text = append(jsonOfMessage(m), '\n')
		}
	case string:
		text = append([]byte(v), '\n')
		if terminal {
			text = append(appendEscaped(nil, v), '\n')
		}
	default:
		text = append(jsonOfMessage(m), '\n')
	}
	_, err := out.Write(text)
	return err
}

func printReplyJSON(out io.Writer, m mesh.Message, took time.Duration) error {
	_, err := fmt.Fprintf(out, "%s\n", jsonLine(struct {
		From string  `json:"from"`
		Ms   float64 `json:"ms"`
		jsonContent
	}{m.From, milliseconds(took), contentOf(m)}))
	return err
}
