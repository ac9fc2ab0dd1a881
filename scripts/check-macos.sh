#!/usr/bin/env bash
# Type-checks the program for macOS, on any machine that has Rust's library for it. Nothing is linked and nothing is run: what C
# code the crates have is not compiled, as that would need Apple's headers.
set -euo pipefail
cd "$(dirname "$0")/.."

targets=${TARGETS:-aarch64-apple-darwin x86_64-apple-darwin}
libraries=$(rustc --print sysroot)/lib/rustlib
tools=$(mktemp -d)
trap 'rm -rf "$tools"' EXIT

# In the place of a C compiler and an archiver: makes the file that is asked for, and puts nothing in it.
cat >"$tools/nothing" <<'TOOL'
#!/bin/sh
out=
before=
for word; do
    [ "$before" = -o ] && out=$word
    before=$word
done
[ -z "$out" ] || : >"$out"
TOOL
chmod +x "$tools/nothing"

checked=
for target in $targets; do
    if [ ! -d "$libraries/$target" ]; then
        echo "skipped $target: Rust's library for it is not here; add it by: rustup target add $target"
        continue
    fi
    name=${target//-/_}
    env "CC_$name=$tools/nothing" "AR_$name=$tools/nothing" RUSTFLAGS=-Dwarnings \
        "${CARGO:-cargo}" check --locked --target "$target" --target-dir "${CARGO_TARGET_DIR:-target}/check-macos"
    checked="$checked $target"
done
[ -z "$checked" ] || echo "compiles, not run:$checked"
