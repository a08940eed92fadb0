// Package proto holds the contract between the components: the .proto files,
// the Go code of our own messages, and the descriptors of all of it.
package proto

import _ "embed"

// DescriptorSet is a serialized google.protobuf.FileDescriptorSet of every file
// of the contract and all that they import, imports first.
//
//go:embed coracle.binpb
var DescriptorSet []byte
