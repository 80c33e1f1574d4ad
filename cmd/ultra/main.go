// Command ultra puts this machine into a mesh of UltraSockets from a shell: every verb has a file of its own, and does
// nothing that a program could not do with package mesh.
//
// Exit codes: 0 done, 1 failed, 2 usage, 130 a second interrupt. Errors are one sentence on standard error.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
)

const (
	exitDone        = 0
	exitFailed      = 1
	exitUsage       = 2
	exitInterrupted = 130
)

func main() { os.Exit(run(os.Args[1:], os.Stderr)) }

// run is main without the exit.
func run(args []string, stderr io.Writer) int {
	ctx, stop := untilSignal(context.Background())
	defer stop()
	started := false // the verb has begun: what fails before that is usage
	root := newRoot()
	root.PersistentPreRun = func(*cobra.Command, []string) { started = true }
	root.SetArgs(args)
	err := checkVerb(root, args)
	if err == nil {
		err = root.ExecuteContext(ctx)
	}
	var usage usageError
	switch {
	case err == nil:
		return exitDone
	case errors.Is(err, errTold):
		return exitFailed
	case errors.As(err, &usage), !started:
		fmt.Fprintf(stderr, "ultra: %s\n", oneLine(err))
		return exitUsage
	}
	fmt.Fprintf(stderr, "ultra: %s\n", oneLine(err))
	return exitFailed
}

const rootHelp = `Give every device on the network a name, and send anything to any name.

Nodes of a mesh find each other by multicast DNS; no address is typed. One of them is the relay
through which messages go; when it is lost, another takes its place and nothing is lost with it.

Exit codes: 0 done, 1 failed, 2 wrong usage. Errors are one sentence on standard error.`

const rootExamples = `  ultra demo                      watch a mesh at work, on this machine only
  ultra join --name a             take part; type "b hello" to send "hello" to b
  ultra send b hello              send one message and wait until it has arrived
  ultra cp photo.jpg b:           copy a file to b, which shares a folder: ultra join --name b --share DIR
  ultra nodes                     who is here`

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:           "ultra VERB",
		Short:         "Give every device on the network a name, and send anything to any name",
		Long:          rootHelp,
		Example:       rootExamples,
		SilenceErrors: true,
		SilenceUsage:  true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if cmd.Flags().Changed("version") {
				return printVersion(cmd.OutOrStdout())
			}
			cmd.SetOut(cmd.ErrOrStderr())
			if err := cmd.Help(); err != nil {
				return err
			}
			return usageError{errors.New("a verb is missing")}
		},
	}
	root.SetFlagErrorFunc(flagError)
	root.Flags().Bool("version", false, "as the verb version") // many try it
	root.CompletionOptions.DisableDefaultCmd = true
	root.SuggestionsMinimumDistance = 2
	cobra.EnableCommandSorting = false
	root.SetUsageTemplate(usageWords.Replace(root.UsageTemplate()))
	root.AddCommand(
		newDemo(), newJoin(), newServe(), newDial(), newSend(), newCp(), newRequest(), newNodes(), newPing(), newWatch(), newDoctor(), newBenchVerb(), newKeygen(), newCompletion(), newVersion(), newBenchPeer(),
	)
	root.InitDefaultHelpCmd()
	for _, cmd := range root.Commands() {
		if cmd.Name() == "help" {
			cmd.Use, cmd.Short, cmd.Long = "help [VERB]", "Say all about a verb", "Say all about a verb: what it does, its flags, and examples."
			cmd.DisableFlagsInUseLine = true
		}
	}
	return root
}

// usageWords turns the words of the template of all help into those of the rest of it.
var usageWords = strings.NewReplacer(
	"\n  {{.CommandPath}} [command]", "", "Available Commands:", "Verbs:",
	`Use "{{.CommandPath}} [command] --help" for more information about a command.`, `"{{.CommandPath}} help VERB" says the rest.`,
)

// checkVerb names a verb that does not exist before its flags are looked at, which do not exist either.
func checkVerb(root *cobra.Command, args []string) error {
	root.InitDefaultHelpCmd()
	if len(args) > 1 && args[0] == "help" {
		args = args[1:]
	}
	if len(args) == 0 || strings.HasPrefix(args[0], "-") || strings.HasPrefix(args[0], "__") {
		return nil
	}
	if cmd, _, _ := root.Find(args[:1]); cmd != root {
		return nil
	}
	meant := ""
	for _, name := range root.SuggestionsFor(args[0]) {
		meant += fmt.Sprintf(" or %q", name)
	}
	if meant != "" {
		meant = " (did you mean " + strings.TrimPrefix(meant, " or ") + "?)"
	}
	return usageError{fmt.Errorf("there is no verb %q%s; %q lists them", args[0], meant, "ultra help")}
}
