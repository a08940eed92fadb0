module coracle.local/tests

go 1.26.0

require (
	coracle.local/proto v0.0.0
	coracle.local/libs v0.0.0
	coracle.local/services/apiserver v0.0.0
	coracle.local/services/scheduler v0.0.0
	coracle.local/services/controller-manager v0.0.0
	coracle.local/services/kubelet v0.0.0
	coracle.local/services/kube-proxy v0.0.0
	k8s.io/api v0.37.2
	k8s.io/apimachinery v0.37.2
	google.golang.org/grpc v1.83.2
	google.golang.org/protobuf v1.36.12-0.20260120151049-f2248ac996af
	k8s.io/client-go v0.37.2
)

replace (
	coracle.local/cmd/coracle => ../cmd/coracle
	coracle.local/proto => ../proto
	coracle.local/libs => ../libs
	coracle.local/services/apiserver => ../services/apiserver
	coracle.local/services/scheduler => ../services/scheduler
	coracle.local/services/controller-manager => ../services/controller-manager
	coracle.local/services/kubelet => ../services/kubelet
	coracle.local/services/kube-proxy => ../services/kube-proxy
)
