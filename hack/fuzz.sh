#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Runs each fuzz target of the module for the given time.
set -euo pipefail
cd "$(dirname "$0")/.."

for package in $(go list ./...); do
	listed=$(go test -list '^Fuzz' "$package")
	for target in $(grep '^Fuzz' <<<"$listed" || true); do
		echo "$package $target"
		go test -run '^$' -fuzz "^$target\$" -fuzztime "${1:-30s}" -fuzzminimizetime 20x "$package"
	done
done
