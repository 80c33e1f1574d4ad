package main

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"os"
	"runtime"

	"ultrasockets/mesh"
)

// readSecret reads what keygen wrote. A file that others may read is refused: it is no secret any more.
func readSecret(file string) ([]byte, error) {
	info, err := os.Stat(file)
	if err != nil {
		return nil, fmt.Errorf("--secret-file: %w; make one with \"ultra keygen %s\"", err, file)
	}
	if runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0 { // Windows keeps no such bits
		return nil, fmt.Errorf("--secret-file: others than you may read %s; run: chmod 600 %s", file, file)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("--secret-file: %w", err)
	}
	secret, err := hex.DecodeString(string(bytes.TrimSpace(text)))
	if err != nil || len(secret) != mesh.SecretSize {
		return nil, fmt.Errorf("--secret-file: %s does not hold %d hex digits; make one with \"ultra keygen FILE\"", file, 2*mesh.SecretSize)
	}
	return secret, nil
}
