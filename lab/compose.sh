#!/bin/sh
# compose.sh ARGS...: Docker Compose for the lab, by whichever name it is installed,
# with the file of further nodes where there is one. Installs Compose where it is
# missing, and says so.
set -eu
cd "$(dirname "$0")/.."

files="-f docker-compose.yml"
[ ! -f lab/.state/nodes.yml ] || files="$files -f lab/.state/nodes.yml"

if docker compose version >/dev/null 2>&1; then
	# shellcheck disable=SC2086 # a list of words
	exec docker compose $files "$@"
fi
if ! command -v docker-compose >/dev/null; then
	echo "lab: installing docker-compose with apt-get" >&2
	sudo=
	[ "$(id -u)" = 0 ] || sudo=sudo
	$sudo apt-get update -qq >&2
	$sudo apt-get install -qq -y --no-install-recommends docker-compose >&2
fi
# shellcheck disable=SC2086
exec docker-compose $files "$@"
