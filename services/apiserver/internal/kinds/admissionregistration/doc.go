// Package admissionregistration holds the behaviour of the kinds of the
// admissionregistration.k8s.io API group. It does not compile the expressions
// in them: whoever evaluates them does.
package admissionregistration
