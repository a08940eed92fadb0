// Package core holds the behaviour of the kinds of the core API group, and
// the rules for pod templates that other groups share.
package core
