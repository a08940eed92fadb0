// Package cni pins the CNI plugins of a node's pod network, built unmodified
// from their module:
//
//	CGO_ENABLED=0 GOWORK=off go build -trimpath -o DIR tool
//
// puts bridge, host-local, loopback and portmap in DIR, which the kubelet is
// then given as --cni-bin-dir.
package cni
