//go:build !linux

package network

import (
	"errors"
	"net/netip"
)

// Pods' routes are Linux's.
func syncRoutes(map[netip.Prefix]netip.Addr) error { return errors.ErrUnsupported }

func uplinkMTU() int { return 0 }
