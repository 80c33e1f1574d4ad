package main

import (
	"fmt"

	"ultrasockets/mesh"
)

// readSecret reads what keygen wrote.
func readSecret(file string) ([]byte, error) {
	secret, err := mesh.LoadSecret(file)
	if err != nil {
		return nil, fmt.Errorf("--secret-file: %w", err)
	}
	return secret, nil
}
