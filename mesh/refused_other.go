//go:build !unix && !windows

package mesh

// isRefused cannot be told here: the relay then counts as lost only by votes or gossip.
func isRefused(error) bool { return false }
