// Package batch holds the behaviour of the kinds of the batch API group.
package batch
