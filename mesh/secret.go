package mesh

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime"
)

// LoadSecret reads a secret for Config.Secret from a file: 64 hex digits, with white space around them or not, as `ultra
// keygen FILE` writes them. Errors: why the file cannot be read (fs.ErrNotExist and the like), and ErrBadConfig if others than
// its owner may read or change it (not on Windows, which keeps no such bits), or if it holds something else.
func LoadSecret(file string) ([]byte, error) {
	f, err := os.Open(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w; make one with \"ultra keygen %s\"", err, file)
	} else if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat() // of what is read, whatever the name means a moment later
	if err != nil {
		return nil, err
	}
	if runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("%w: others than its owner may read %s (mode %04o), so it is no secret; run: chmod 600 %s", ErrBadConfig, file, info.Mode().Perm(), file)
	}
	const most = 1 << 10
	text, err := io.ReadAll(io.LimitReader(f, most+1))
	if err != nil {
		return nil, err
	}
	secret, err := hex.DecodeString(string(bytes.TrimSpace(text)))
	if err != nil || len(secret) != SecretSize || len(text) > most {
		return nil, fmt.Errorf("%w: %s does not hold %d hex digits; make one with \"ultra keygen FILE\"", ErrBadConfig, file, 2*SecretSize)
	}
	return secret, nil
}
