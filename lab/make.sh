#!/bin/sh
# make.sh: from the sources to a lab that is ready.
set -eu
cd "$(dirname "$0")/.."

if ! docker info >/dev/null 2>&1; then
	echo "lab: no Docker Engine answers; the lab needs one (make up does not)" >&2
	exit 1
fi
echo "lab: 1/3 compiling (minutes when nothing is compiled yet, then seconds)"
images/compile.sh bin
echo "lab: 2/3 making images"
images/build.sh
echo "lab: 3/3 starting"
exec lab/up.sh
