#!/bin/sh
# down.sh DIR [--wipe]: ends what up.sh started; --wipe forgets the cluster's objects
# and keeps its keys.
set -eu
dir=${1:?DIR}
if [ -s "$dir/pids" ]; then
	pid=$(sed 's/.*=//' "$dir/pids")
	kill "$pid" 2>/dev/null || true
	tries=0
	while kill -0 "$pid" 2>/dev/null; do
		tries=$((tries + 1))
		[ $tries -lt 200 ] || kill -KILL "$pid"
		sleep 0.1
	done
	rm -f "$dir/pids"
fi
[ "${2:-}" != --wipe ] || rm -rf "$dir/data/etcd"
