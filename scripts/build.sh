#!/usr/bin/env bash
# Builds one binary and shows that something happens while it does.
#   scripts/build.sh MODULE PACKAGE OUTPUT DESCRIPTION
set -euo pipefail
cd "$(dirname "$0")/.."
module=$1 package=$2 output=$PWD/$3 description=$4

if ! command -v go >/dev/null; then
	echo "Go is not in PATH: install Go 1.26 (https://go.dev/dl)" >&2
	exit 1
fi

first=""
if [[ ! -e $output ]]; then
	first=" (the first time this takes minutes)"
fi
echo "build: $description$first"
mkdir -p "$(dirname "$output")"

# go build -v names each package that it compiles; a count of them is progress
# enough. Everything else it says, errors above all, is passed on.
go -C "$module" build -v -o "$output" "$package" 2>&1 | awk '
	/^go: downloading / {
		if (downloads++ % 50 == 0) { print "  downloading modules (" downloads " so far)"; fflush() }
		next
	}
	/^[^ :]+$/ {
		if (++compiled % 100 == 0) { print "  " compiled " packages compiled"; fflush() }
		next
	}
	{ print; fflush() }
'
