// Package autoscaling holds the behaviour of the kinds of the autoscaling API
// group.
package autoscaling
