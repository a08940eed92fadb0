//go:build tools

package proto

import (
	_ "google.golang.org/grpc/cmd/protoc-gen-go-grpc"
	_ "k8s.io/api/core/v1"
	_ "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	_ "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
)
