# agent.sh: what the kubelet's and kube-proxy's containers have in common; sourced.
#
# They share the machine's PID and network namespaces, and here they enter its mounts
# too, as a program installed on the machine would. For what the kubelet mounts must
# be there for the machine's Docker Engine, and what one container mounts another does
# not see. The program itself stays in its image: by way of /proc, the files of this
# container can be reached from the machine's.

here=/proc/$$/root

machine() { nsenter --target 1 --mount -- "$@"; }

# give FILE PATH: puts a file of this container's on the machine.
give() {
	machine mkdir -p "$(dirname "$2")"
	machine cp "$here$1" "$2"
}

# run PROGRAM FLAGS...: until it ends, passing on the signal to stop.
run() {
	program=$1
	shift
	nsenter --target 1 --mount -- "$here/usr/local/bin/$program" "$@" &
	child=$!
	trap 'kill -TERM $child 2>/dev/null' TERM INT
	status=0
	# A trapped signal ends a wait before the program has ended.
	while kill -0 $child 2>/dev/null; do
		wait $child && status=0 || status=$?
	done
	exit $status
}
