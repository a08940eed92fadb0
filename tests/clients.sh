#!/bin/sh
# clients.sh: other people's programs against Coracle, unmodified. From nothing it
# builds for about 20 minutes on 2 cores; with all built it takes two.
set -eu
cd "$(dirname "$0")/.."
dir=$PWD/.cache/clients
tests/clients/build.sh "$dir"
CORACLE_CLIENTS=$dir
export CORACLE_CLIENTS
if [ -x ../shared/upstream/build.sh ]; then
	CORACLE_UPSTREAM=${CORACLE_UPSTREAM:-$PWD/.cache/upstream}
	export CORACLE_UPSTREAM
	../shared/upstream/build.sh "$CORACLE_UPSTREAM" kube-controller-manager kube-scheduler
fi
cd tests && GOWORK=off go test -count=1 -v ./clients
