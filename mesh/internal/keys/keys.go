// Package keys derives keys from the secret of a mesh, for package mesh and those beside it that speak with its nodes.
package keys

import (
	"crypto/hkdf"
	"crypto/sha256"
)

// Gossip derives the key of gossip, 32 bytes, from a secret (HKDF, RFC 5869).
func Gossip(secret []byte) ([]byte, error) {
	return hkdf.Key(sha256.New, secret, nil, "ultrasockets gossip 1", 32)
}
