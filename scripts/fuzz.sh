#!/usr/bin/env bash
# Runs each fuzz target for FUZZ_SECONDS (10 unless it is set), from the corpus that is kept in fuzz/corpus. TARGETS names
# some of them. What ends a target is in fuzz/artifacts afterwards. With FUZZ_KEEP=1 what reached new code is added to the
# corpus.
#
# Needs a Rust toolchain and a C++ compiler, for libFuzzer; neither cargo-fuzz nor nightly. lanx has no unsafe code, so
# there is no sanitizer, only the coverage that libFuzzer is guided by, and the checks of a debug build.
set -euo pipefail
cd "$(dirname "$0")/../fuzz"

cargo=${CARGO:-cargo}
seconds=${FUZZ_SECONDS:-10}
host=$(rustc -vV | sed -n 's/^host: //p')
build=${CARGO_TARGET_DIR:-$PWD/target}
read -ra targets <<<"${TARGETS:-$(sed -n 's/^name = "\(.*\)"$/\1/p' Cargo.toml | grep -v '^lanx-fuzz$' | tr '\n' ' ')}"

# With --target the flags are not those of build scripts and macros.
RUSTFLAGS="--cfg fuzzing -Ccodegen-units=1 -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
-Cllvm-args=-sanitizer-coverage-trace-compares" \
    "$cargo" build --locked --release --target "$host" --target-dir "$build"

# Files are made and removed thousands of times a second, and what is found beside the kept corpus goes with them.
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export TMPDIR=$work
for target in "${targets[@]}"; do
    mkdir -p "artifacts/$target" "corpus/$target" "$work/corpus/$target"
    echo "== $target, $seconds s"
    "$build/$host/release/$target" -max_total_time="$seconds" -timeout=30 -rss_limit_mb=4096 -print_final_stats=1 \
        -artifact_prefix="artifacts/$target/" "$work/corpus/$target" "corpus/$target" >"$work/log" 2>&1 || {
        tail -n 60 "$work/log" >&2
        echo "$target: found something; play it again with $build/$host/release/$target fuzz/artifacts/$target/FILE" >&2
        exit 1
    }
    grep -E 'DONE +cov|^stat::number_of_executed_units' "$work/log"
    if [ -n "${FUZZ_KEEP:-}" ]; then
        "$build/$host/release/$target" -merge=1 "corpus/$target" "$work/corpus/$target" >"$work/log" 2>&1
    fi
done
