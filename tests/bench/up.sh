#!/bin/sh
# up.sh DIR: starts `coracle up` with its data in DIR and prints its kubeconfig's path,
# for the measuring harness. DIR/pids names the process. PKI_ONLY=1 leaves only the
# keys and the kubeconfig.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "${1:?DIR}"
dir=$(cd "$1" && pwd)
kubeconfig=$dir/admin.kubeconfig

[ ! -s "$dir/pids" ] || { echo "$dir/pids exists: run down.sh first" >&2; exit 1; }
if [ -z "${PKI_ONLY:-}" ] || [ ! -f "$kubeconfig" ]; then
	setsid "$here/../../bin/coracle" up --data-dir "$dir/data" --kubeconfig "$kubeconfig" \
		--secure-port "${PORT:-26500}" --grpc-port "$((${PORT:-26500} + 1))" >"$dir/log" 2>&1 </dev/null &
	echo "coracle=$!" >"$dir/pids"
fi
if [ -n "${PKI_ONLY:-}" ] && [ -s "$dir/pids" ]; then
	until [ -f "$kubeconfig" ]; do sleep 0.1; done
	"$here/down.sh" "$dir"
fi
# The kubeconfig is written before anything listens; the caller times the rest.
until [ -f "$kubeconfig" ]; do sleep 0.01; done
echo "$kubeconfig"
