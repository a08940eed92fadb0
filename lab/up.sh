#!/bin/sh
# up.sh: starts the lab from the images that are there, waits until it is ready, and
# prints its nodes and where the administrator's kubeconfig is. NODES=n, default 2.
set -eu
cd "$(dirname "$0")/.."
[ -z "${NODES:-}" ] || export NODES
nodes=${NODES:-$(sed -n 's/^NODES=//p' .env)}
state=lab/.state
kubeconfig=$PWD/$state/admin.kubeconfig
limit=${LAB_TIMEOUT:-300}
start=$(date +%s)

say() { echo "lab: [$(($(date +%s) - start)) s] $*"; }
kubectl() { bin/kubectl --kubeconfig "$kubeconfig" --request-timeout 5s "$@"; }

lab/nodes.sh "$nodes"
say "starting the containers"
services=
[ "$nodes" -ge 2 ] || services=$(lab/compose.sh config --services | grep -v '^node-2')
# shellcheck disable=SC2086 # a list of words
if ! lab/compose.sh up -d --no-build --remove-orphans $services >$state/up.log 2>&1; then
	cat $state/up.log >&2
	exit 1
fi

# await WHAT COMMAND...: until it succeeds, showing that something goes on.
await() {
	what=$1
	shift
	say "waiting for $what"
	beats=0
	until "$@" >$state/await.log 2>&1; do
		if [ $(($(date +%s) - start)) -ge "$limit" ]; then
			say "gave up on $what after $limit s; the last answer and the state of the containers:"
			cat $state/await.log
			lab/compose.sh ps
			exit 1
		fi
		beats=$((beats + 1))
		[ $((beats % 15)) != 0 ] || say "  still waiting for $what"
		sleep 1
	done
}
ready_nodes() {
	kubectl get nodes --no-headers
	[ "$(kubectl get nodes --no-headers | awk '$2 == "Ready"' | wc -l)" -ge "$nodes" ]
}
names() {
	kubectl -n kube-system get deployment coredns -o 'jsonpath={.status.availableReplicas}' | grep -q '[1-9]'
}

# A lab that had more nodes is not to wait for their pods.
forget_gone() {
	gone=$(kubectl get nodes -o name | awk -F- -v nodes="$nodes" '/^node.node-[0-9]+$/ && $NF > nodes') || return
	# shellcheck disable=SC2086 # a list of words
	[ -z "$gone" ] || kubectl delete $gone
}

await "the API server" kubectl get --raw /readyz
await "word of the nodes" forget_gone
await "$nodes nodes" ready_nodes
await "CoreDNS" names
say "ready"
echo
kubectl get nodes -o wide
echo
echo "export KUBECONFIG=$kubeconfig"
