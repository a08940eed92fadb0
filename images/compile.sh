#!/bin/sh
# compile.sh DIR [NAME...]: puts executables into DIR, all of them or those named.
# They are static, so that they run in any image and on any machine.
#
# Both `make build` and the first stage of every Dockerfile call this. That stage is
# the same text everywhere, so Docker runs it once and all images share it. Where the
# build context comes with executables already made (images/build.sh lays such a
# context, marked by a file called compiled), there is nothing left to do.
set -eu
cd "$(dirname "$0")/.."
[ ! -e compiled ] || exit 0

ours="coracle kube-apiserver kube-scheduler kube-controller-manager kubelet kube-proxy"
theirs="probe etcd registry coredns kubectl cni"
mkdir -p "${1:?the folder for the executables}"
out=$(cd "$1" && pwd)
shift
# shellcheck disable=SC2086 # a list of words
[ $# -gt 0 ] || set -- $ours $theirs

kubernetes=v1.37.2
stamp="-X k8s.io/component-base/version.gitVersion=$kubernetes -X k8s.io/component-base/version.gitMajor=1 \
-X k8s.io/component-base/version.gitMinor=37 -X k8s.io/component-base/version.gitTreeState=clean \
-X k8s.io/client-go/pkg/version.gitVersion=$kubernetes"
CGO_ENABLED=0 GOWORK=${GOWORK:-off}
export CGO_ENABLED GOWORK

# gobuild FOLDER PACKAGE [FLAGS...]: each module builds alone, by its own go.sum.
gobuild() {
	(cd "$1" && go build -buildvcs=false -ldflags "-s -w $stamp" -o "$out/$name" "$2")
}

for name; do
	start=$(date +%s)
	case $name in
	coracle) gobuild cmd/coracle . ;;
	kube-apiserver | kube-scheduler | kube-controller-manager) gobuild "services/${name#kube-}" . ;;
	kubelet | kube-proxy) gobuild "services/$name" . ;;
	probe) gobuild images/probe . ;;
	etcd) gobuild images/etcd go.etcd.io/etcd/server/v3 ;;
	registry) gobuild images/registry github.com/distribution/distribution/v3/cmd/registry ;;
	coredns) gobuild images/coredns github.com/coredns/coredns ;;
	kubectl) gobuild tools/kubectl . ;;
	cni)
		mkdir -p "$out/cni"
		for name in bridge host-local loopback portmap; do
			case $name in host-local) kind=ipam ;; portmap) kind=meta ;; *) kind=main ;; esac
			plugin=$name; name=cni/$plugin; gobuild images/cni "github.com/containernetworking/plugins/plugins/$kind/$plugin"
		done
		name=cni
		;;
	*)
		echo "compile: no executable is called $name" >&2
		exit 2
		;;
	esac
	echo "compile: $name $(($(date +%s) - start)) s"
done
