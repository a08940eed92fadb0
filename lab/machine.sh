#!/bin/bash
# machine.sh: what a lab machine does when it is switched on. It makes the kernel's
# files writable, as they are on a real machine, sees to name resolution and to the
# way to the lab's registry, and runs the Docker Engine until it is switched off.
#
# It runs without --privileged: that needs CAP_SYS_RESOURCE, which not every Docker
# host can give. What is refused is said and lived without.
set -eu

say() { echo "machine: $*" >&2; }
try() { "$@" 2>/dev/null || say "refused here, going on without: $*"; }

# Docker mounts these read-only into a container that is not privileged.
kernel_files() {
	mount -o remount,rw /proc/sys
	mount -o remount,rw /sys
	awk '$5 ~ "^/sys/fs/cgroup" { print $5 }' /proc/self/mountinfo | while read -r path; do
		mount -o remount,bind,rw "$path"
	done
	# What the kubelet mounts shall be seen in containers that ask for it.
	mount --make-rshared /
}

# With cgroup v2 a group that hands out controllers may hold no process itself, so
# those that are here move one level down.
cgroup_v2() {
	[ -f /sys/fs/cgroup/cgroup.controllers ] || return 0
	mkdir -p /sys/fs/cgroup/machine
	while read -r pid; do
		echo "$pid" >/sys/fs/cgroup/machine/cgroup.procs 2>/dev/null || true
	done </sys/fs/cgroup/cgroup.procs
	for controller in $(cat /sys/fs/cgroup/cgroup.controllers); do
		try sh -c "echo +$controller >/sys/fs/cgroup/cgroup.subtree_control"
	done
}

forwarding() {
	try sysctl -qw net.ipv4.ip_forward=1
	# Packets between two pods of this machine must pass kube-proxy's rules too.
	try sysctl -qw net.bridge.bridge-nf-call-iptables=1
}

# Docker's name server listens on this machine's loopback, out of the pods' reach.
# So a forwarder answers on the machine's address, and pods that want the machine's
# resolver (CoreDNS is one) are given a resolv.conf that names it.
names() {
	mkdir -p /run/machine
	cp /etc/resolv.conf /run/machine/resolv.conf
	grep -q '^nameserver 127\.' /etc/resolv.conf || return 0
	address=$(ip -4 -o addr show dev eth0 | awk '{ sub("/.*", "", $4); print $4; exit }')
	dnsmasq --no-hosts --no-resolv --user=root --pid-file=/run/machine/dnsmasq.pid \
		--server="$(awk '$1 == "nameserver" { print $2; exit }' /etc/resolv.conf)" \
		--listen-address="$address" --bind-interfaces
	sed -i "s/^nameserver .*/nameserver $address/" /run/machine/resolv.conf
}

# An image pushed as localhost:5000/NAME has the same name here.
registry() {
	socat TCP-LISTEN:5000,bind=127.0.0.1,fork,reuseaddr TCP:registry:5000 &
}

# No bridge and no rules of Docker's own: the pods' network is the kubelet's work.
# Scores below zero need CAP_SYS_RESOURCE.
engine() {
	rm -f /var/run/docker.pid
	dockerd --bridge=none --iptables=false --userland-proxy=false --oom-score-adjust=0 \
		--exec-opt native.cgroupdriver=cgroupfs \
		--registry-mirror=http://registry:5000 --insecure-registry=registry:5000 \
		--log-level=warn --log-opt max-size=10m --log-opt max-file=2 &
	dockerd=$!
	# Containers are given time to end, as when a machine is shut down in an orderly way.
	trap 'kill -TERM $dockerd' TERM INT
	status=0
	while kill -0 $dockerd 2>/dev/null; do
		wait $dockerd && status=0 || status=$?
	done
	exit $status
}

kernel_files
cgroup_v2
forwarding
names
registry
engine
