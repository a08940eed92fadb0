// Package apps holds the behaviour of the kinds of the apps API group.
package apps
