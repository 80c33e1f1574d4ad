package main

import (
	"context"

	"github.com/spf13/cobra"

	"ultrasockets/mesh"
)

const dialHelp = `Join, as a light node, the mesh whose relay (or a node that may become it) listens at HOST:PORT: one link, no
discovery, no multicast. It follows the mesh to other relays; --seed names further nodes to ask for one.`

func newDial() *cobra.Command {
	f := &pipeFlags{}
	cmd := &cobra.Command{
		Use:     "dial HOST:PORT",
		Short:   "Join the mesh of a server by its address",
		Long:    dialHelp,
		Example: "  ultra dial 192.168.1.5:7000 --name client1",
		Args:    atMost(1, "HOST:PORT"),
	}
	f.addTo(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := f.unused("dial opens one link and no port", "bind"); err != nil {
			return err
		}
		hostname, err := f.address(args)
		if err != nil {
			return err
		}
		return f.run(cmd.Context(), func(ctx context.Context, cfg mesh.Config) (*mesh.Node, error) {
			return f.dial(ctx, hostname, cfg)
		})
	}
	return cmd
}
