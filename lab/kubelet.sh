#!/bin/sh
# kubelet.sh: installs what a kubelet needs on the machine and runs it there.
set -eu
. /lab/agent.sh

until machine docker version >/dev/null 2>&1; do sleep 0.5; done
for plugin in /opt/cni/bin/*; do
	give "$plugin" "$plugin"
done
give /pki/ca.crt /etc/kubernetes/pki/ca.crt
give "/pki/$NODE.kubeconfig" /etc/kubernetes/kubelet.kubeconfig

run kubelet --kubeconfig=/etc/kubernetes/kubelet.kubeconfig \
	--client-ca-file=/etc/kubernetes/pki/ca.crt \
	--hostname-override="$NODE" \
	--root-dir=/var/lib/kubelet \
	--resolv-conf=/run/machine/resolv.conf \
	--cluster-dns=10.96.0.10 --cluster-domain=cluster.local
