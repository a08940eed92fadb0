//go:build !linux

package conntrack

import "errors"

// Forget is Linux's.
func (s Stale) Forget() error { return errors.ErrUnsupported }
