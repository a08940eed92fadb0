#!/bin/sh
# lint.sh MODULE...: formatting, the linters of .golangci.yml in each module, and buf
# over the wire contract. Says all that is wrong, then fails.
set -u
cd "$(dirname "$0")/.."
failed=0

tool() { tools/tool.sh "$1" || exit 1; }
# check NAME COMMAND...: a command that must succeed and print nothing.
check() {
	name=$1
	shift
	said=$("$@" 2>&1)
	status=$?
	if [ $status = 0 ] && [ -z "$said" ]; then
		echo "ok    $name"
	else
		echo "FAIL  $name"
		echo "$said"
		failed=1
	fi
}

golangci=$(tool golangci-lint)
gofumpt=$(tool gofumpt)
buf=$(tool buf)
GOLANGCI_LINT_CACHE=$PWD/.cache/golangci-lint
CGO_ENABLED=0
export GOLANGCI_LINT_CACHE CGO_ENABLED

check gofmt gofmt -l "$@" images tools
check gofumpt "$gofumpt" -l "$@" images tools
config=$PWD/.golangci.yml
for module in "$@" images/probe tools/tally; do
	[ -f "$module/go.mod" ] || continue
	lint() {
		(cd "$module" && GOWORK=off "$golangci" run --config "$config" --path-mode abs --allow-parallel-runners \
			--show-stats=false --concurrency 2 ./...)
	}
	check "golangci-lint $module" lint
done
check "buf lint" "$buf" lint proto/coracle.binpb --config tools/buf/buf.yaml
# A break that is meant is accepted by making the baseline anew:
# $buf build proto/coracle.binpb --exclude-source-info -o tools/buf/baseline.binpb.gz
check "buf breaking" "$buf" breaking proto/coracle.binpb --config tools/buf/buf.yaml \
	--against tools/buf/baseline.binpb.gz --against-config tools/buf/buf.yaml
exit $failed
