package main

import (
	"context"
	"errors"
	"strings"

	"github.com/spf13/cobra"

	"ultrasockets/mesh"
)

const serveHelp = `Be the server of a static mesh at HOST:PORT, which other nodes dial. Nobody is discovered and nobody else
becomes the relay, and multicast is not used. An empty HOST is --bind, or all networks; PORT 0 is a free one.
With --connections exactly that many nodes are taken; one more is refused with a sentence.`

func newServe() *cobra.Command {
	f := &pipeFlags{}
	var connections int
	var profile string
	cmd := &cobra.Command{
		Use:     "serve HOST:PORT",
		Short:   "Be the server of a static mesh",
		Long:    serveHelp,
		Example: "  ultra serve :7000 --name server --connections 2\n  ultra dial 192.168.1.5:7000 --name client1",
		Args:    atMost(1, "HOST:PORT"),
	}
	cmd.Flags().IntVar(&connections, "connections", 0, "how many other nodes it takes (default any number)")
	cmd.Flags().StringVar(&profile, "cpuprofile", "", "file for a CPU profile, written when it leaves")
	f.addTo(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := f.unused("serve waits for others and looks for nobody", "seed"); err != nil {
			return err
		}
		hostname, err := f.address(args)
		if err != nil {
			return err
		}
		if strings.HasPrefix(hostname, ":") && f.bind != "" {
			hostname = joinHost(f.bind, hostname)
		}
		return profiled(profile, func() error {
			return f.run(cmd.Context(), func(ctx context.Context, cfg mesh.Config) (*mesh.Node, error) {
				cfg.Connections, cfg.Seeds = connections, nil
				node, err := mesh.Listen(ctx, hostname, cfg)
				if err != nil {
					return nil, classify(err)
				}
				waitRoster(ctx, node)
				return node, nil
			})
		})
	}
	return cmd
}

// joinHost puts a host before a ":port".
func joinHost(host, port string) string {
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	return host + port
}

// address is HOST:PORT, of the argument or else of --hostname.
func (f *pipeFlags) address(args []string) (string, error) {
	switch {
	case len(args) > 0:
		return args[0], f.unused("HOST:PORT is given already", "hostname")
	case f.hostname != "":
		return f.hostname, nil
	}
	return "", usageError{errors.New("HOST:PORT is missing, such as 192.168.1.5:7000")}
}
