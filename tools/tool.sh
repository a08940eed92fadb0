#!/bin/sh
# tool.sh NAME: builds the tool pinned in tools/NAME into .cache/tools, unless it is
# there already, and prints its path.
set -eu
cd "$(dirname "$0")"
name=${1:?the name of a folder of tools/}
mkdir -p ../.cache/tools
bin=$(cd ../.cache/tools && pwd)
stamp=$({ go version; cat "$name/go.mod" "$name"/*.go "$name/go.sum" 2>/dev/null || true; } | sha256sum)

if [ ! -x "$bin/$name" ] || [ "$stamp" != "$(cat "$bin/$name.sum" 2>/dev/null)" ]; then
	echo "tools: building $name" >&2
	package=tool
	[ ! -f "$name/main.go" ] || package=.
	(cd "$name" && CGO_ENABLED=0 GOWORK=off go build -buildvcs=false -ldflags "-s -w" -o "$bin/$name" "$package")
	echo "$stamp" >"$bin/$name.sum"
fi
echo "$bin/$name"
