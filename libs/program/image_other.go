//go:build !linux

package program

func unmapImage() error { return nil }
