// Package networking holds the behaviour of the kinds of the
// networking.k8s.io API group.
package networking
