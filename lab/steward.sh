#!/bin/bash
# steward.sh: the lab's own hand. It pushes CoreDNS's image to the lab's registry,
# applies lab/manifests, and starts a node's agents whenever its machine comes up:
# they share the machine's namespaces and so end with it, and Docker gives up on a
# container whose namespaces are not there yet.
#
# It speaks the Engine's API without naming a version, so that any Engine will do.
set -eu

image=coredns/coredns:1.15.0
export KUBECONFIG=/run/kubeconfig
say() { echo "steward: $*"; }
engine() { curl -sS --unix-socket /var/run/docker.sock "$@"; }

# Image references go through the Engine that carries the lab: it built the image,
# and for it, too, the registry is on localhost.
push() {
	name=$REGISTRY/${image%:*}
	tag=${image#*:}
	engine -X POST "http://docker/images/coracle.local/coredns:lab/tag?repo=$name&tag=$tag"
	answer=$(engine -X POST -H 'X-Registry-Auth: e30=' "http://docker/images/$name/push?tag=$tag")
	case $answer in
	*'"error"'* | *'"message"'*)
		say "push of $image: ${answer##*$'\n'}"
		return 1
		;;
	esac
	engine -o /dev/null -X DELETE "http://docker/images/$name:$tag?noprune=1"
	say "$image is in the registry"
}

apply() {
	sed "s|server: .*|server: $API|" /lab/.state/admin.kubeconfig >$KUBECONFIG
	kubectl apply -f /lab/manifests && : >/run/applied && say "manifests applied"
}

# agents MACHINE: starts them, more than once: the machine may need a moment, and an
# agent that is about to end with the machine's last life still counts as running.
agents() {
	for _ in 1 2 3 4 5; do
		for agent in "$1-kubelet" "$1-kube-proxy"; do
			code=$(engine -o /dev/null -w '%{http_code}' -X POST "http://docker/containers/$agent/start") || code=000
			[ "$code" != 204 ] || say "started $agent"
		done
		sleep 1
	done
}

names() { sed -n 's/.*"name":"\([^"]*\)".*/\1/p'; }

ours="\"label\":[\"local.coracle=machine\",\"com.docker.compose.project=$PROJECT\"]"

watch_machines() {
	filters="{\"type\":[\"container\"],\"event\":[\"start\"],$ours}"
	engine -N -G --data-urlencode "filters=$filters" http://docker/events | while read -r event; do
		agents "$(echo "$event" | names)" &
	done
}

# Machines that came up while nobody looked.
catch_up() {
	filters="{\"status\":[\"running\"],$ours}"
	engine -G --data-urlencode "filters=$filters" http://docker/containers/json | grep -o '"Names":\["/[^"]*' | sed 's|.*/||' |
		while read -r name; do agents "$name" & done
}

(
	until push; do sleep 2; done
	until apply 2>/run/apply.err; do sleep 1; done
) &
while :; do
	watch_machines &
	watcher=$!
	sleep 1
	catch_up
	wait $watcher || true
	sleep 1
done
