#!/bin/sh
# build.sh [NAME...]: makes the lab's images from the executables in bin/, all of them
# or those named, without compiling anything in Docker.
#
# The Dockerfiles are the ones that users build from source with. Each gets a context
# that holds only its own executables and is marked as compiled, so its first stage
# has nothing to do. What did not change comes from Docker's cache.
set -eu
cd "$(dirname "$0")/.."
[ $# -gt 0 ] || set -- coracle apiserver scheduler controller-manager kubelet kube-proxy etcd registry coredns machine

root=.cache/images
images/base/base.sh debian
for name; do
	case $name in
	coracle) dockerfile=cmd/coracle/Dockerfile executables=coracle ;;
	apiserver | scheduler | controller-manager)
		dockerfile=services/$name/Dockerfile executables="kube-$name probe"
		;;
	kubelet) dockerfile=services/kubelet/Dockerfile executables="kubelet cni probe" ;;
	kube-proxy) dockerfile=services/kube-proxy/Dockerfile executables="kube-proxy probe" ;;
	etcd | registry | coredns) dockerfile=images/$name/Dockerfile executables="$name probe" ;;
	machine) dockerfile=images/machine/Dockerfile executables="kubectl probe" ;;
	*)
		echo "images: none is called $name" >&2
		exit 2
		;;
	esac
	start=$(date +%s)
	context=$root/$name
	rm -rf "$context"
	mkdir -p "$context/bin" "$context/images/registry"
	touch "$context/compiled"
	cp images/compile.sh "$context/images/"
	cp images/registry/config.yml "$context/images/registry/"
	for executable in $executables; do
		cp -r "bin/$executable" "$context/bin/"
	done
	if ! docker build -t "coracle.local/$name:lab" -f "$dockerfile" --build-arg BUILD=debian:bookworm-slim \
		"$context" >"$root/$name.log" 2>&1; then
		cat "$root/$name.log" >&2
		exit 1
	fi
	rm -rf "$context"
	echo "images: $name $(($(date +%s) - start)) s"
done
# The first stages, which nothing names.
docker image prune -f --filter label=local.coracle=build >/dev/null
