#!/usr/bin/env bash
# Checks every module of go.work, and goes on after a fault so that one run names
# them all. Usage: local/lint.sh <folder of quad, golangci-lint and govulncheck>
set -uo pipefail
cd "$(dirname "$0")/.."
bin=$(realpath "$1")
status=0

unformatted=$(gofmt -l $(git ls-files '*.go'))
if [[ -n $unformatted ]]; then
	echo "not formatted (run gofmt -w):" $unformatted
	status=1
fi

echo "lint events/proto"
"$bin/quad" proto check || status=1

for module in $(go work edit -json | sed -n 's/.*"DiskPath": "\(.*\)".*/\1/p'); do
	echo "lint $module"
	(
		cd "$module" || exit 1
		failed=0
		go vet ./... || failed=1
		"$bin/golangci-lint" run --allow-parallel-runners --config "$OLDPWD/.golangci.yml" ./... || failed=1
		"$bin/govulncheck" ./...
		case $? in
			0) ;;
			3) failed=1 ;; # it found something
			*) echo "NOT CHECKED for known vulnerabilities: the database can't be reached" ;;
		esac
		exit $failed
	) || status=1
done
exit $status
