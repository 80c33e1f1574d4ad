package main

import (
	"fmt"
	"io"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"ultrasockets/codec"
)

func newVersion() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Say which version this is",
		Long:  "Say which version this is, by which Go it was built, which wire it speaks, and for which platform.\nNodes that speak the same wire understand each other.",
		Args:  atMost(0, ""),
		RunE:  func(cmd *cobra.Command, _ []string) error { return printVersion(cmd.OutOrStdout()) },
	}
}

func printVersion(out io.Writer) error {
	info, _ := debug.ReadBuildInfo()
	_, err := fmt.Fprintf(out, "ultra %s, %s, wire %d, %s/%s\n", version(info), runtime.Version(), codec.Version, runtime.GOOS, runtime.GOARCH)
	return err
}

// version is that of the module, or the commit it was built from.
func version(info *debug.BuildInfo) string {
	if info == nil {
		return "(unknown)"
	}
	v := info.Main.Version
	if v == "" || v == "(devel)" {
		v = "(devel)"
		revision, dirty := "", ""
		for _, s := range info.Settings {
			switch {
			case s.Key == "vcs.revision":
				revision = s.Value[:min(len(s.Value), 12)]
			case s.Key == "vcs.modified" && s.Value == "true":
				dirty = "+dirty"
			}
		}
		if revision != "" {
			v = revision + dirty
		}
	}
	return v
}
