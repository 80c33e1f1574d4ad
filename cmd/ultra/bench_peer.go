package main

import (
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"ultrasockets/cmd/ultra/load"
)

// What ultra bench puts in between, each in a process of its own.
const (
	peerVerb   = "bench-peer"
	peerRelay  = "relay"
	peerSplice = "splice"
)

var benchPeers = map[string]func(load.PeerConfig) (addr string, stop func(), err error){
	peerRelay:  benchRelay,
	peerSplice: benchForwarder,
}

// newBenchPeer is the hidden verb that ultra bench starts. It ends with its standard input.
func newBenchPeer() *cobra.Command {
	return &cobra.Command{
		Use:    peerVerb + " " + peerRelay + "|" + peerSplice,
		Short:  "What ultra bench sends through; it starts this itself",
		Hidden: true,
		Args:   cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			start := benchPeers[args[0]]
			if start == nil {
				return usageError{fmt.Errorf("there is no %s %q", peerVerb, args[0])}
			}
			return load.BePeer(os.Stdin, os.Stdout, start)
		},
	}
}

func startBenchPeer(kind string, config load.PeerConfig) (*load.Peer, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(exe, peerVerb, kind)
	cmd.Env = slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, envPrefix) })
	return load.StartPeer(cmd, config)
}
