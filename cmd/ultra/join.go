package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"ultrasockets/mesh"
)

const joinHelp = `Take part in a mesh. The nodes of a mesh find each other by multicast DNS, or by --seed where multicast
does not work; alone, this one becomes the relay in about a second.`

const joinExamples = `  ultra join --name a                          type "b hello" to send "hello" to b
  ultra join --name log --stay </dev/null >log print what arrives, until interrupted
  sensor | sed 's/^/log /' | ultra join        send every line to log
  ultra join --name a --listen 127.0.0.1:7001 --bind 127.0.0.1
  ultra join --name b --seed 127.0.0.1:7001 --bind 127.0.0.1
  echo '{"to":"a","value":{"t":21.5}}' | ultra join --json`

func newJoin() *cobra.Command {
	f := &pipeFlags{}
	var role, listen string
	cmd := &cobra.Command{
		Use:     "join",
		Short:   "Take part in a mesh: lines in, messages out",
		Long:    joinHelp,
		Example: joinExamples,
		Args:    atMost(0, ""),
	}
	cmd.Flags().StringVar(&role, "role", "auto", "auto: may become the relay; server: is it, before all others; peer: never")
	cmd.Flags().StringVar(&listen, "listen", "", "HOST:PORT of this node's one port, for others to name as seed (default a free port)")
	f.addTo(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		r, err := parseRole(role)
		if err != nil {
			return err
		}
		if f.hostname != "" && (listen != "" || r == mesh.RoleServer) {
			return usageError{fmt.Errorf("with --hostname this node only dials the relay; leave out --listen and --role server")}
		}
		return f.run(cmd.Context(), func(ctx context.Context, cfg mesh.Config) (*mesh.Node, error) {
			cfg.Role, cfg.Listen = r, listen
			return f.meet(ctx, cfg)
		})
	}
	return cmd
}

func parseRole(text string) (mesh.Role, error) {
	for _, r := range []mesh.Role{mesh.RoleAuto, mesh.RoleServer, mesh.RolePeer} {
		if r.String() == text {
			return r, nil
		}
	}
	return 0, usageError{fmt.Errorf("--role is %q; it must be auto, server or peer", text)}
}
