//go:build !linux

package file

const largeFile = 0
