#!/bin/sh
# down.sh [--keep-images]: removes the lab: its containers, networks, volumes, keys
# and images, the base images that were made here among them.
set -eu
cd "$(dirname "$0")/.."

lab/compose.sh down --volumes --remove-orphans --timeout 10
# A checkout's owner may not own what containers wrote.
if [ -d lab/.state ] && ! rm -rf lab/.state 2>/dev/null; then
	docker run --rm -v "$PWD/lab:/lab" debian:bookworm-slim rm -rf /lab/.state
fi
[ "${1:-}" != --keep-images ] || exit 0
for image in $(docker images --filter label=local.coracle --format '{{.Repository}}:{{.Tag}}' | grep -v '<none>'); do
	docker rmi "$image" >/dev/null || true
done
docker image prune -f --filter label=local.coracle >/dev/null
echo "lab: nothing is left"
