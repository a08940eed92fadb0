#!/bin/sh
# pki.sh: makes the lab's keys, certificates and kubeconfigs in lab/.state. What is
# there is kept, so that a lab that starts again is the same cluster.
set -eu
state=/lab/.state
mkdir -p "$state"
# 10.96.0.1 is the kubernetes Service, by which pods come.
coracle pki "$state" --nodes "$NODES" --dns apiserver --dns localhost \
	--address 127.0.0.1 --address "$ADDRESS" --address 10.96.0.1

# The administrator comes by the port published on this machine, the components by
# the lab's network, each in the words of their own kubeconfig.
for file in "$state"/*.kubeconfig; do
	case $file in
	*/admin.kubeconfig) server=$PUBLISHED ;;
	*) server=$API ;;
	esac
	sed -i "s|server: .*|server: $server|" "$file"
done
# Whoever owns the checkout may use and remove what is made here.
chown -R --reference=/lab "$state"
