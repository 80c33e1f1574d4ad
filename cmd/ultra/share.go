package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"ultrasockets/mesh"
	"ultrasockets/mesh/file"
)

const shareHelp = `
With --share DIR the others may copy files into DIR and out of it ("ultra cp"); nothing outside DIR is touched, and no
link is followed out of it. Whoever is in the mesh may: share what is meant for all of them, or give it a secret.`

// shareFlags let others copy files.
type shareFlags struct{ dir string }

func (f *shareFlags) addTo(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.dir, "share", "", "folder that others may copy files into and out of")
	must(cmd.MarkFlagDirname("share"))
}

// open opens the folder, before the mesh is met; nil: there is none.
func (f *shareFlags) open(tell func(tale)) (*file.Server, error) {
	if f.dir == "" {
		return nil, nil
	}
	switch info, err := os.Stat(f.dir); {
	case errors.Is(err, fs.ErrNotExist):
		return nil, usageError{fmt.Errorf("--share: there is no folder %s; make it first", f.dir)}
	case err == nil && !info.IsDir():
		return nil, usageError{fmt.Errorf("--share: %s is not a folder", f.dir)}
	}
	server, err := file.NewServer(f.dir, file.ServeOptions{Done: func(t file.Transfer) {
		event := taleGot
		if t.Write {
			event = talePut
		}
		tell(tale{Event: event, Name: t.From, Path: t.Path, Bytes: t.Size})
	}})
	if err != nil {
		return nil, usageError{fmt.Errorf("--share: %w", err)}
	}
	return server, nil
}

// share answers "ultra cp" to a node: with the folder, or by saying what is missing.
func share(node *mesh.Node, server *file.Server) {
	if server == nil {
		file.Refuse(node)
		return
	}
	server.Serve(node)
}
