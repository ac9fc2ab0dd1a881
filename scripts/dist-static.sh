#!/usr/bin/env bash
# Builds programs for Linux that need nothing of the system they run on, and packs them as scripts/dist.sh does: target/dist has a
# tarball for each, a list of what is in the program (SBOM), and SHA256SUMS.
#
# TARGETS="x86_64 aarch64" says for which machines. Rust's library for each and a C compiler are added where they are missing.
set -euo pipefail
cd "$(dirname "$0")/.."

cargo=${CARGO:-cargo}
target=${CARGO_TARGET_DIR:-target}
own=$(uname -m)

as_root() {
    if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo "$@"; fi
}

# Makes sure that there is this command, from this package.
need() {
    command -v "$1" >/dev/null && return
    command -v apt-get >/dev/null || {
        echo "$1 is missing; install it (in Debian it is in $2)" >&2
        exit 1
    }
    as_root apt-get update -q
    as_root apt-get install -qy --no-install-recommends "$2"
}

need_library() {
    [ ! -d "$(rustc --print sysroot)/lib/rustlib/$1" ] || return 0
    rustup target add "$1"
}

built=()
for machine in ${TARGETS:-x86_64 aarch64}; do
    triple=$machine-unknown-linux-musl
    name=${triple//-/_}
    need_library "$triple"
    if [ "$machine" = "$own" ]; then
        need musl-gcc musl-tools
        export "CC_$name=musl-gcc"
    else
        # Its headers are those of another C library, so nothing that only that one has may be used: neither checks of its own nor
        # second names for files beyond 2 GiB, which have one name here.
        need "$machine-linux-gnu-gcc" "gcc-${machine//_/-}-linux-gnu"
        export "CC_$name=$machine-linux-gnu-gcc" "CFLAGS_$name=-U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=0 -DSQLITE_DISABLE_LFS"
        export "CARGO_TARGET_${name^^}_LINKER=$machine-linux-gnu-gcc"
    fi
    # Paths of this machine are no part of the program, so that it can be built again elsewhere and be the same.
    home=${CARGO_HOME:-$HOME/.cargo}
    RUSTFLAGS="-Ctarget-feature=+crt-static --remap-path-prefix=$PWD=. --remap-path-prefix=$home=cargo ${RUSTFLAGS:-}" \
        "$cargo" build --locked --release --target "$triple" --target-dir "$target/static"
    built+=("$triple")
done

# Manual pages and completions are the same for all; the first program that runs here writes them.
for triple in "${built[@]}"; do
    program=$target/static/$triple/release/lanx
    if "$program" --version >/dev/null 2>&1; then
        LANX=$program bash scripts/manual.sh
        break
    fi
done

rm -rf "$target/dist"
for triple in "${built[@]}"; do
    program=$target/static/$triple/release/lanx
    LANX=$program TRIPLE=$triple KEEP=1 bash scripts/dist.sh
    python3 scripts/sbom.py "$triple" >"$target/dist/lanx-$triple.cdx.json"
    if [ "${triple%%-*}" = "$own" ]; then
        bash scripts/empty-root.sh "$program"
    fi
done
(cd "$target/dist" && rm -f ./*.sha256 && sha256sum -- *.tar.gz *.cdx.json >SHA256SUMS && cat SHA256SUMS)
