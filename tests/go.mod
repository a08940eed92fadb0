module coracle.local/tests

go 1.26.0

require (
	coracle.local/libs v0.0.0
	coracle.local/proto v0.0.0
	coracle.local/services/apiserver v0.0.0
	coracle.local/services/controller-manager v0.0.0
	coracle.local/services/kube-proxy v0.0.0
	coracle.local/services/kubelet v0.0.0
	coracle.local/services/scheduler v0.0.0
	google.golang.org/grpc v1.83.2
	google.golang.org/protobuf v1.36.12
	k8s.io/api v0.37.2
	k8s.io/apimachinery v0.37.2
	k8s.io/client-go v0.37.2
)

require (
	github.com/google/go-cmp v0.7.0 // indirect
	go.uber.org/multierr v1.10.0 // indirect
	go.uber.org/zap v1.27.1 // indirect
	go.yaml.in/yaml/v2 v2.4.4 // indirect
	sigs.k8s.io/yaml v1.6.0 // indirect
)

replace (
	coracle.local/cmd/coracle => ../cmd/coracle
	coracle.local/libs => ../libs
	coracle.local/proto => ../proto
	coracle.local/services/apiserver => ../services/apiserver
	coracle.local/services/controller-manager => ../services/controller-manager
	coracle.local/services/kube-proxy => ../services/kube-proxy
	coracle.local/services/kubelet => ../services/kubelet
	coracle.local/services/scheduler => ../services/scheduler
)
