package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// flagError says what is wrong with a flag, and what would be right, in place of the words of the library that reads them.
func flagError(cmd *cobra.Command, err error) error {
	var unknown *pflag.NotExistError
	var valueless *pflag.ValueRequiredError
	switch {
	case errors.As(err, &unknown) && unknown.GetSpecifiedShortnames() != "":
		err = fmt.Errorf("unknown flag -%s; \"ultra help %s\" lists them", unknown.GetSpecifiedName(), verbOf(cmd))
	case errors.As(err, &unknown):
		meant := ""
		if name := nearestKey(cmd.Flags(), unknown.GetSpecifiedName()); name != "" {
			meant = " (did you mean --" + name + "?)"
		}
		err = fmt.Errorf("unknown flag --%s%s; \"ultra help %s\" lists them", unknown.GetSpecifiedName(), meant, verbOf(cmd))
	case errors.As(err, &valueless):
		err = fmt.Errorf("--%s needs a value: %s", valueless.GetFlag().Name, valueless.GetFlag().Usage)
	default:
		err = valueError(err)
	}
	return usageError{err}
}

// verbOf is what "ultra help" calls a command.
func verbOf(cmd *cobra.Command) string {
	if cmd.HasParent() {
		return cmd.Name()
	}
	return "VERB"
}

// valueError says of a value that a flag does not take what it does take. Other errors it gives back.
func valueError(err error) error {
	var invalid *pflag.InvalidValueError
	if !errors.As(err, &invalid) {
		return err
	}
	wants := map[string]string{
		"duration": "a time with its unit, such as 500ms, 5s or 2m",
		"int":      "a whole number",
		"bool":     "true or false",
	}[invalid.GetFlag().Value.Type()]
	if wants == "" {
		return err
	}
	return fmt.Errorf("--%s is %q; it must be %s", invalid.GetFlag().Name, invalid.GetValue(), wants)
}
