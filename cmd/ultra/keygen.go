package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"ultrasockets/mesh"
)

const keygenHelp = `Make a new secret for a mesh: 64 hex digits, on standard output or in FILE, which only its owner can
read. All nodes of a mesh need the same one (--secret-file); then everything they say is encrypted, and
whoever does not have it is not let in. An existing FILE is left as it is.`

func newKeygen() *cobra.Command {
	return &cobra.Command{
		Use:     "keygen [FILE]",
		Short:   "Make a new secret for a mesh",
		Long:    keygenHelp,
		Example: "  ultra keygen lab.secret\n  ultra join --name a --secret-file lab.secret",
		Args:    atMost(1, "FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			line := fmt.Sprintf("%x\n", mesh.NewSecret())
			if len(args) == 0 {
				_, err := fmt.Fprint(cmd.OutOrStdout(), line)
				return err
			}
			return writeSecret(args[0], line)
		},
	}
}

func writeSecret(file, line string) error {
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, os.ErrExist) {
		return fmt.Errorf("%s exists already; choose another file, or remove it first", file)
	}
	if err != nil {
		return err
	}
	_, err = f.WriteString(line)
	return errors.Join(err, f.Close())
}
