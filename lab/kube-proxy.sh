#!/bin/sh
# kube-proxy.sh: runs kube-proxy on the machine.
set -eu
. /lab/agent.sh

give /pki/ca.crt /etc/kubernetes/pki/ca.crt
give /pki/kube-proxy.kubeconfig /etc/kubernetes/kube-proxy.kubeconfig

run kube-proxy --kubeconfig=/etc/kubernetes/kube-proxy.kubeconfig \
	--hostname-override="$NODE" --cluster-cidr=10.244.0.0/16
