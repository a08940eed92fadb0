#!/bin/sh
# base.sh debian|golang: sees to it that the image our Dockerfiles start from is here.
#
# It is pulled where it can be. Where no registry answers, debian:bookworm-slim is
# made by debootstrap, and golang:1.26-bookworm from that and this machine's own Go:
# its toolchain, CA bundle and settings, all read when this runs. The names are the
# public ones, so no Dockerfile knows the difference. Images made here carry the
# label local.coracle, by which lab-down finds them again.
set -eu
cd "$(dirname "$0")"
cache=$(cd ../.. && pwd)/.cache/base
debian=debian:bookworm-slim
golang=golang:1.26-bookworm

say() { echo "base: $*"; }
have() { docker image inspect "$1" >/dev/null 2>&1; }
pull() { timeout 300 docker pull "$1" >/dev/null 2>&1; }

# debootstrap needs root, for chroot and device nodes.
asroot() {
	if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

rootfs() {
	[ ! -s "$cache/debian.tar" ] || return 0
	if ! command -v debootstrap >/dev/null; then
		say "installing debootstrap with apt-get, to make $debian"
		asroot apt-get update -qq
		asroot apt-get install -qq -y --no-install-recommends debootstrap >/dev/null
	fi
	say "making $debian with debootstrap (half a minute, once)"
	mkdir -p "$cache"
	dir=$(mktemp -d)
	if ! asroot debootstrap --variant=minbase bookworm "$dir/root" >"$dir/log" 2>&1; then
		tail -n 20 "$dir/log" >&2
		exit 1
	fi
	# The published slim image has neither documentation nor package lists.
	asroot rm -rf "$dir/root/var/lib/apt/lists" "$dir/root/var/cache/apt" "$dir/root/usr/share/doc" \
		"$dir/root/usr/share/man" "$dir/root/usr/share/locale" "$dir/root/usr/share/info"
	asroot mkdir -p "$dir/root/var/lib/apt/lists/partial" "$dir/root/var/cache/apt/archives/partial"
	printf 'path-exclude /usr/share/doc/*\npath-exclude /usr/share/man/*\npath-exclude /usr/share/locale/*\n' |
		asroot tee "$dir/root/etc/dpkg/dpkg.cfg.d/slim" >/dev/null
	asroot tar -C "$dir/root" -cf - . >"$cache/debian.tar.part"
	mv "$cache/debian.tar.part" "$cache/debian.tar"
	asroot rm -rf "$dir"
}

make_debian() {
	rootfs
	docker import --change 'CMD ["bash"]' --change 'LABEL local.coracle=base' "$cache/debian.tar" $debian >/dev/null
	say "$debian made here"
}

# settings prints ENV lines for what differs from Go's defaults on this machine, so
# that modules are found inside the image as they are found outside of it.
settings() {
	for name in GOPROXY GONOPROXY GOSUMDB GONOSUMDB GOPRIVATE GOINSECURE GOFLAGS; do
		value=$(go env "$name")
		[ -z "$value" ] || printf 'ENV %s="%s"\n' "$name" "$value"
	done
}

make_golang() {
	have $debian || obtain $debian make_debian
	say "making $golang from this machine's Go (a minute, once)"
	dir=$(mktemp -d)
	bundle=${SSL_CERT_FILE:-/etc/ssl/certs/ca-certificates.crt}
	cp "$bundle" "$dir/ca-certificates.crt"
	# A toolchain needs neither its own tests nor its documentation.
	tar -C "$(go env GOROOT)" --exclude=./test --exclude=./doc --exclude=./api -cf "$dir/go.tar" .
	{
		echo "FROM $debian"
		echo 'LABEL local.coracle=base'
		echo 'COPY ca-certificates.crt /etc/ssl/certs/'
		echo 'ADD go.tar /usr/local/go/'
		echo 'ENV PATH=/go/bin:/usr/local/go/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin GOPATH=/go GOTOOLCHAIN=local'
		settings
		echo 'WORKDIR /go'
	} >"$dir/Dockerfile"
	DOCKER_BUILDKIT=0 docker build -q -t $golang "$dir" >/dev/null
	rm -rf "$dir"
	say "$golang made here"
}

# obtain IMAGE MAKE: the image, by whichever way works first.
obtain() {
	! have "$1" || return 0
	say "pulling $1"
	pull "$1" || "$2"
}

case ${1:-} in
debian) obtain $debian make_debian ;;
golang) obtain $golang make_golang ;;
*)
	echo "usage: base.sh debian|golang" >&2
	exit 2
	;;
esac
