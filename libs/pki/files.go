package pki

import (
	"fmt"
	"os"
	"path/filepath"
)

const (
	publicMode  os.FileMode = 0o644
	privateMode os.FileMode = 0o600
)

// writeFile replaces a file in one step: a reader, or a crash, finds the old
// content or the new, never a half.
func writeFile(path string, data []byte, mode os.FileMode) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("make folder of %s: %w", path, err)
	}
	temporary, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	err = fill(temporary, data, mode)
	if err == nil {
		err = os.Rename(temporary.Name(), path)
	}
	if err != nil {
		_ = os.Remove(temporary.Name())
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

func fill(file *os.File, data []byte, mode os.FileMode) error {
	_, err := file.Write(data)
	if err == nil {
		err = file.Chmod(mode)
	}
	if closeErr := file.Close(); err == nil {
		err = closeErr
	}
	return err
}

// Save writes the authority to base.crt and base.key.
func (a *Authority) Save(base string) error { return savePair(base, a.CertPEM, a.KeyPEM) }

// Save writes the credential to base.crt and base.key.
func (c *Credential) Save(base string) error { return savePair(base, c.CertPEM, c.KeyPEM) }

func savePair(base string, certPEM, keyPEM []byte) error {
	// The key goes first: a certificate without its key is useless, and a
	// crash in between is mended by the next start.
	if err := writeFile(base+".key", keyPEM, privateMode); err != nil {
		return err
	}
	return writeFile(base+".crt", certPEM, publicMode)
}

// LoadAuthority reads an authority from base.crt and base.key.
func LoadAuthority(base string) (*Authority, error) {
	return loadPair(base, ParseAuthority)
}

// LoadCredential reads a credential from base.crt and base.key.
func LoadCredential(base string) (*Credential, error) {
	return loadPair(base, ParseCredential)
}

func loadPair[T any](base string, parse func(certPEM, keyPEM []byte) (T, error)) (T, error) {
	var zero T
	certPEM, err := os.ReadFile(base + ".crt")
	if err != nil {
		return zero, err
	}
	keyPEM, err := os.ReadFile(base + ".key")
	if err != nil {
		return zero, err
	}
	out, err := parse(certPEM, keyPEM)
	if err != nil {
		return zero, fmt.Errorf("read %s.crt and .key: %w", base, err)
	}
	return out, nil
}
