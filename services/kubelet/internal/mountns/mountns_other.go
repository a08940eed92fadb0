//go:build !linux

package mountns

import (
	"errors"
	"os"
)

// Mount namespaces are Linux's.

func (n Namespace) Do(func() error) error { return errors.ErrUnsupported }

func (n Namespace) Tmpfs(string, int64, os.FileMode, int64) error { return errors.ErrUnsupported }

func (n Namespace) Remove(string) error { return errors.ErrUnsupported }
