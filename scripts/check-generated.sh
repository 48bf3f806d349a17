#!/usr/bin/env bash
# Fails when a generated file differs from what its generator writes now. It
# leaves the new files in place, to be committed.
set -euo pipefail
cd "$(dirname "$0")/.."

state() { git ls-files --cached --others --exclude-standard -z | xargs -0 -r sha256sum 2>/dev/null || true; }

before=$(state)
go generate ./...
after=$(state)
if [[ $before != "$after" ]]; then
	echo "generated files were out of date; these are new now, look at them and commit them:" >&2
	{ diff <(echo "$before") <(echo "$after") || true; } | sed -n 's/^> [0-9a-f]* */  /p' >&2
	exit 1
fi
