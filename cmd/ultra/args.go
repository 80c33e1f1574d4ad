package main

import (
	"fmt"

	"github.com/spf13/cobra"
)

// atMost refuses more than n arguments, with a sentence that says what they are.
func atMost(n int, what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) <= n {
			return nil
		}
		if n == 0 {
			return usageError{fmt.Errorf("%s takes no arguments, but there is %q", cmd.Name(), args[0])}
		}
		return usageError{fmt.Errorf("%s takes only %s, but there is also %q; quote what belongs together", cmd.Name(), what, args[n])}
	}
}
