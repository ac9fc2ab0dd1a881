#!/usr/bin/env bash
# Writes what other programs are told of lanx, from the program itself: manual pages and completions.
set -euo pipefail
cd "$(dirname "$0")/.."

target=${CARGO_TARGET_DIR:-target}
lanx=${LANX:-$target/release/lanx}
# What an older program wrote goes.
rm -rf "$target/man" "$target/completions"
mkdir -p "$target/completions"

"$lanx" man "$target/man"
"$lanx" completions bash >"$target/completions/lanx"
"$lanx" completions zsh >"$target/completions/_lanx"
"$lanx" completions fish >"$target/completions/lanx.fish"
pages=("$target"/man/*.1)
echo "$target/man: ${#pages[@]} pages; $target/completions: bash, zsh, fish"
