// Package packets holds tests that ask what happens to a packet, in network
// namespaces of their own.
package packets
