#!/usr/bin/env bash
# Checks the crates in Cargo.lock against deny.toml: licences, versions, where they come from, and known weaknesses where
# the list of them can be had. cargo-deny is built into target/tools where it is missing: a minute on two cores.
set -euo pipefail
cd "$(dirname "$0")/.."

version=0.20.2
tools=${CARGO_TARGET_DIR:-$PWD/target}/tools
cargo=${CARGO:-cargo}
deny=$tools/bin/cargo-deny

if [ "$("$deny" --version 2>/dev/null)" != "cargo-deny $version" ]; then
    # Not optimised, as it looks for a second only.
    "$cargo" install --locked --debug --quiet --version "$version" --root "$tools" --target-dir "$tools/build" cargo-deny
    rm -rf "$tools/build"
fi

"$deny" --color never check --hide-inclusion-graph licenses bans sources
if timeout 30 "$deny" --log-level off fetch db >/dev/null 2>&1; then
    "$deny" --offline --color never check advisories
else
    echo "advisories: skipped, as the list of known weaknesses cannot be had here"
fi
