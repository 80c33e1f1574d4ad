package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"ultrasockets/mesh"
)

const completionHelp = `Print a script for SHELL (bash, zsh, fish or powershell) that completes verbs, flags, and the names of the nodes
and groups that are in the mesh at the moment: "ultra ping <Tab>" asks the mesh, by multicast DNS or by the --seed,
--hostname, --mesh and --secret-file that are on the line or in the environment, for at most a second, and says nothing if
there is none.

bash needs the package bash-completion. For one session:
  bash:        source <(ultra completion bash)
  zsh:         source <(ultra completion zsh)       after: autoload -U compinit; compinit
  fish:        ultra completion fish | source
  powershell:  ultra completion powershell | Out-String | Invoke-Expression
For all sessions put the line into the shell's startup file, or the script where the shell looks for it.`

const completionExamples = `  echo 'source <(ultra completion bash)' >>~/.bashrc
  ultra completion bash | sudo tee /etc/bash_completion.d/ultra >/dev/null
  ultra completion zsh >"${fpath[1]}/_ultra"
  ultra completion fish >~/.config/fish/completions/ultra.fish`

// completionTime bounds what a Tab may wait for the mesh.
const completionTime = time.Second

func newCompletion() *cobra.Command {
	scripts := map[string]func(*cobra.Command, io.Writer) error{
		"bash":       func(root *cobra.Command, w io.Writer) error { return root.GenBashCompletionV2(w, true) },
		"zsh":        (*cobra.Command).GenZshCompletion,
		"fish":       func(root *cobra.Command, w io.Writer) error { return root.GenFishCompletion(w, true) },
		"powershell": (*cobra.Command).GenPowerShellCompletionWithDesc,
	}
	return &cobra.Command{
		Use:       "completion SHELL",
		Short:     "Print a script that completes verbs, flags and the names of nodes",
		Long:      completionHelp,
		Example:   completionExamples,
		ValidArgs: []string{"bash", "zsh", "fish", "powershell"},
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 || scripts[args[0]] == nil {
				return usageError{fmt.Errorf("for which shell? Write: ultra completion bash (or zsh, fish, powershell)")}
			}
			return atMost(1, "SHELL")(cmd, args)
		},
		RunE: func(cmd *cobra.Command, args []string) error { return scripts[args[0]](cmd.Root(), cmd.OutOrStdout()) },
	}
}

// completeNames completes the first argument of a verb with the names of nodes.
func (f *meshFlags) completeNames(cmd *cobra.Command) {
	cmd.ValidArgsFunction = func(cmd *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return cobra.NoFileCompletions(cmd, args, begun)
		}
		return f.peersOf(cmd, func(p mesh.Peer) []string { return []string{p.Name} })
	}
}

// completeFlags completes the values of a verb's flags: fixed ones, groups that are in use, and files only where a file
// is meant.
func (f *meshFlags) completeFlags(cmd *cobra.Command) {
	for name, values := range map[string][]string{
		"role": {"auto", "server", "peer"}, "log-level": logLevels, "log-format": {"text", "json"},
		"mesh": nil, "bind": nil, "seed": nil, "hostname": nil, "timeout": nil, "name": nil, "tag": nil, "listen": nil,
		"retention": nil, "connections": nil, "value": nil, "count": nil, "interval": nil,
	} {
		if cmd.Flags().Lookup(name) != nil {
			must(cmd.RegisterFlagCompletionFunc(name, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp)))
		}
	}
	if cmd.Flags().Lookup("group") != nil {
		must(cmd.RegisterFlagCompletionFunc("group", func(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
			return f.peersOf(cmd, func(p mesh.Peer) []string { return p.Groups })
		}))
	}
}

// peersOf gives something of each node of the mesh, sorted and each once; nothing if the mesh cannot be met in time. The
// shell picks what fits.
func (f *meshFlags) peersOf(cmd *cobra.Command, of func(mesh.Peer) []string) (all []string, _ cobra.ShellCompDirective) {
	const none = cobra.ShellCompDirectiveNoFileComp
	ctx, cancel := context.WithTimeout(cmd.Context(), completionTime)
	defer cancel()
	if cmd.PreRunE != nil && cmd.PreRunE(cmd, nil) != nil { // the environment
		return nil, none
	}
	f.timeout, f.verbose = completionTime, false
	node, err := f.visit(ctx)
	if err != nil {
		return nil, none
	}
	defer node.Close()
	for _, p := range node.Peers() {
		all = append(all, of(p)...)
	}
	slices.SortFunc(all, cmp.Compare)
	return slices.Compact(all), none
}

// must is for what only a mistake in this program makes fail.
func must(err error) {
	if err != nil {
		panic(err)
	}
}
