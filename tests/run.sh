#!/bin/sh
# run.sh MODULE...: everything that can be tested on this machine. What cannot is
# skipped aloud. The last line is "N passed, N failed, N skipped": tests of all `go
# test` runs, and one for each other step that failed. The status is 0 if none did.
set -u
cd "$(dirname "$0")/.."
modules=$*
state=$PWD/.cache/test
rm -rf "$state"
mkdir -p "$state"
begin=$(date +%s)
# One way of compiling for executables, linters and tests, so that they share a cache.
CGO_ENABLED=0
export CGO_ENABLED

record() { echo "$1 passed, $2 failed, $3 skipped" >>"$state/counts"; }
elapsed() { echo $(($(date +%s) - begin)); }
# step NAME COMMAND...: shows what runs; a failure is counted and the rest goes on.
step() {
	echo
	echo "=== $1  [$(($(elapsed) / 60)) min $(($(elapsed) % 60)) s]"
	shift
	"$@" && return
	record 0 1 0
	echo "--- this step failed"
	return 1
}
# skip NAME REASON
skip() {
	echo
	echo "=== $1: SKIPPED: $2"
	record 0 0 1
}
# gotest FOLDER FLAGS... PACKAGES...: failed tests are counted one by one; it fails
# itself where the go command failed and no test did.
gotest() {
	folder=$1
	shift
	{
		(cd "$folder" && GOWORK=off go test -json "$@" </dev/null 2>"$state/stderr")
		echo $? >"$state/status"
	} | "$tally" -file "$state/counts"
	tallied=$?
	[ "$(cat "$state/status")" != 0 ] || return 0
	cat "$state/stderr"
	[ $tallied != 0 ]
}

tools() {
	tally=$(tools/tool.sh tally) && tools/tool.sh gofumpt && tools/tool.sh buf && tools/tool.sh golangci-lint &&
		tools/tool.sh grpcurl
}
# Files that are there, by content: the same before and after generating.
files() { git ls-files -co --exclude-standard | while read -r file; do [ ! -f "$file" ] || sha256sum "$file"; done; }
generated() {
	files >"$state/before"
	make --no-print-directory generate >"$state/generate.log" 2>&1 || {
		cat "$state/generate.log"
		return 1
	}
	files >"$state/after"
	diff "$state/before" "$state/after" && return
	echo "generated code is not current: run make generate and commit what it writes"
	git --no-pager diff --stat
	return 1
}
alone() {
	status=0
	for module in $modules; do
		echo "vet   $module"
		(cd "$module" && GOWORK=off go vet ./...) || status=1
	done
	return $status
}
# Unit tests of every module but tests/, which has the rest.
unit() {
	status=0
	for module in $modules tools/tally; do
		[ "$module" = tests ] || CGO_ENABLED=1 gotest "$module" -race -timeout 15m ./... || status=1
	done
	return $status
}
engine() { docker info >/dev/null 2>&1; }
lab() {
	# Nothing of an earlier lab must help, or hinder.
	lab/down.sh --keep-images >/dev/null 2>&1
	images/build.sh && lab/up.sh || return 1
	KUBECONFIG=$PWD/lab/.state/admin.kubeconfig
	export KUBECONFIG
	CORACLE_LAB=1 gotest tests -timeout 30m -count 1 -v ./lab/...
	unset KUBECONFIG
}

step "tools" tools || exit 1
step "generated code is current" generated
step "executables" images/compile.sh bin
step "each module builds alone; vet" alone
# shellcheck disable=SC2086 # a list of words
step "formatting and linters" tests/lint.sh $modules
step "unit tests, with the race detector" unit
step "end to end, in one process" gotest tests -timeout 20m -count 1 ./e2e/...
if [ -d ../shared/upstream ]; then
	# Those that send thousands of requests to both (docs/testing.md) are for releases.
	step "upstream's API server over our store" gotest tests -timeout 30m -count 1 \
		-run 'TestUpstreamAndWe|TestUpstreamRefuses|TestEncryption|TestAudit' ./oracle/...
else
	skip "upstream's API server over our store" "../shared/upstream is not here"
fi
if engine; then
	step "the lab" lab
	step "the lab is removed" lab/down.sh --keep-images
else
	skip "the lab" "no Docker Engine answers"
fi

echo
echo "=== finished in $(($(elapsed) / 60)) min $(($(elapsed) % 60)) s"
total=$("$tally" -sum -file "$state/counts")
status=$?
echo "$total" | tee "$state/total"
exit $status
