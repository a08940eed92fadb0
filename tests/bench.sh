#!/bin/sh
# bench.sh [SERIES...]: measures `coracle up` and upstream's control plane side by side
# with the harness in ../shared/bench, and prints the tables of both. Without it, it
# says so and runs nothing. RUNS=1 times each series, by default those of
# docs/benchmarks.md; an hour is soon gone.
set -eu
cd "$(dirname "$0")/.."
shared=$(cd .. && pwd)/shared
if [ ! -d "$shared/bench" ]; then
	echo "bench: skipped: $shared/bench, the harness, is not here"
	exit 0
fi
[ $# -gt 0 ] || set -- startup create list watch

mkdir -p .cache/bench/upstream .cache/bench/results
work=$PWD/.cache/bench
export BIN="${BIN:-$work/upstream}" BENCH="$work/bench" RUNS="${RUNS:-1}" QUIET="${QUIET:-1m}"
echo "bench: building the harness, and upstream where it is not built (16 minutes)"
(cd "$shared/bench" && GOWORK=off go build -o "$BENCH" .)
"$shared/upstream/build.sh" "$BIN" kubectl kube-apiserver kube-controller-manager kube-scheduler etcd

LABEL=upstream DIR="$work/upstream-run" "$shared/bench/measure.sh" "$work/results" "$@"
LABEL=coracle DIR="$work/coracle-run" UP="$PWD/tests/bench/up.sh" DOWN="$PWD/tests/bench/down.sh" \
	"$shared/bench/measure.sh" "$work/results" "$@"
"$BENCH" report "$work"/results/*.json
