#!/bin/sh
# nodes.sh N: writes lab/.state/nodes.yml, a compose file with nodes 3 to N by the
# pattern of node-2; with N below 3 there is none.
set -eu
cd "$(dirname "$0")/.."
count=${1:?the number of nodes}
file=lab/.state/nodes.yml
mkdir -p lab/.state
rm -f "$file"
[ "$count" -ge 3 ] || exit 0

{
	echo "# Written by lab/nodes.sh."
	sed -n '/^x-part/,/^services:/p' docker-compose.yml
	i=3
	while [ "$i" -le "$count" ]; do
		sed -n '/^  # node-2 begins/,/^  # node-2 ends/p' docker-compose.yml | sed -e "s/node-2/node-$i/g" \
			-e "s/SUBNET}\.22/SUBNET}.$((20 + i))/" \
			-e "s/10350:/$((10150 + 100 * i)):/" -e "s/10349:/$((10149 + 100 * i)):/"
		i=$((i + 1))
	done
	echo "volumes:"
	i=3
	while [ "$i" -le "$count" ]; do
		printf '  node-%s-docker:\n  node-%s-kubelet:\n' "$i" "$i"
		i=$((i + 1))
	done
} >"$file"
