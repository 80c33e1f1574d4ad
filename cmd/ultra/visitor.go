package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"time"

	"ultrasockets/codec"
	"ultrasockets/mesh"
)

// visit meets the mesh as a visitor, whom nobody lists and counts.
func (f *meshFlags) visit(ctx context.Context) (*mesh.Node, error) {
	cfg, err := f.config(visitorName())
	if err != nil {
		return nil, err
	}
	cfg.Visitor = true
	return f.meet(ctx, cfg)
}

// visitName is visit, and waits until the node of that name is here; both within --timeout.
func (f *meshFlags) visitName(ctx context.Context, name string) (*mesh.Node, error) {
	if err := checkName(name); err != nil {
		return nil, err
	}
	within, cancel := f.within(ctx)
	defer cancel()
	began := time.Now()
	node, err := f.visit(within)
	if err != nil {
		return nil, err
	}
	if err := node.WaitFor(within, name); err != nil {
		defer node.Close()
		if errors.Is(ctx.Err(), context.Canceled) {
			return nil, errInterrupted
		}
		if errors.Is(err, mesh.ErrNoPeer) {
			return nil, notHere(node, name, time.Since(began))
		}
		return nil, classify(err)
	}
	return node, nil
}

// checkName refuses what cannot be the name of a node.
func checkName(name string) error {
	if strings.HasPrefix(name, mesh.ToAll) {
		return usageError{fmt.Errorf("%q is a group; this verb takes the NAME of one node", name)}
	}
	if err := codec.CheckName(name); err != nil {
		return usageError{err}
	}
	return nil
}

// notHere says that a name did not come while it was waited for.
func notHere(node *mesh.Node, name string, waited time.Duration) error {
	return fmt.Errorf("no node %q in mesh %q (waited %v); here: %s", name, node.Mesh(), roughly(waited), here(node))
}

// roughly is a time without the digits that nobody reads.
func roughly(d time.Duration) time.Duration {
	if d < time.Second {
		return d.Round(10 * time.Millisecond)
	}
	return d.Round(100 * time.Millisecond)
}

// visitorName is one that nobody else has.
func visitorName() string {
	var b [3]byte
	rand.Read(b[:]) // never fails (crypto/rand)
	return fmt.Sprintf("visitor-%x", b)
}
