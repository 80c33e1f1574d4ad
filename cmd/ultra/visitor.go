package main

import (
	"context"
	"crypto/rand"
	"fmt"

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

// visitorName is one that nobody else has.
func visitorName() string {
	var b [3]byte
	rand.Read(b[:]) // never fails (crypto/rand)
	return fmt.Sprintf("visitor-%x", b)
}
