// Package certificates holds the behaviour of the kinds of the
// certificates.k8s.io API group.
package certificates
