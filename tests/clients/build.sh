#!/bin/sh
# build.sh DIR: builds the clients that clients_test.go runs, from the modules pinned
# in the folders beside this file. What is in DIR already is not built again; from
# nothing it takes about 10 minutes on 2 cores.
set -eu
cd "$(dirname "$0")"
mkdir -p "${1:?the folder for the executables}"
out=$(cd "$1" && pwd)
export GOWORK=off CGO_ENABLED=0

# build NAME FOLDER PACKAGE
build() {
	[ ! -x "$out/$1" ] || return 0
	echo "build $1"
	(cd "$2" && go build -buildvcs=false -ldflags '-s -w' -o "$out/$1" "$3")
}
build helm3 helm3 helm.sh/helm/v3/cmd/helm
build helm4 helm4 helm.sh/helm/v4/cmd/helm
build kwok kwok sigs.k8s.io/kwok/cmd/kwok
build kube-state-metrics kube-state-metrics k8s.io/kube-state-metrics/v2
build prometheus prometheus .
build sample-apiserver sample-apiserver k8s.io/sample-apiserver

# What kwok's nodes and pods go through is configured; these are its own settings.
stages=$(cd kwok && go list -m -f '{{.Dir}}' sigs.k8s.io/kwok)/kustomize/stage
for stage in node/fast/node-initialize pod/fast/pod-ready pod/fast/pod-complete pod/fast/pod-delete; do
	cat "$stages/$stage.yaml"
	echo ---
done >"$out/kwok.yaml"
