// Package storage holds the behaviour of the kinds of the storage.k8s.io API
// group.
package storage
