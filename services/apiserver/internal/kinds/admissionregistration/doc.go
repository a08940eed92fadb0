// Package admissionregistration holds the behaviour of the kinds of the
// admissionregistration.k8s.io API group.
package admissionregistration
