#!/usr/bin/env bash
# Says where the CPU time of both ends goes, over the loopback: perf's reports, and flame graphs where the tools that make them
# are found (inferno, or FlameGraph's scripts). PROFILE_MIB says how much is sent, PROFILE_FLAGS how (`--quic`, `-c 8`).
set -euo pipefail
cd "$(dirname "$0")/.."

mib=${PROFILE_MIB:-1024}
read -r -a flags <<<"${PROFILE_FLAGS:-}"
lanx=${LANX:-$PWD/target/release/lanx}
out=${CARGO_TARGET_DIR:-$PWD/target}/profile
dir=$(mktemp -d)
receiver=
# shellcheck disable=SC2317 # it is called by the trap
finish() {
    [ -z "$receiver" ] || kill "$receiver" 2>/dev/null || true
    rm -rf "$dir"
}
trap finish EXIT
export LANX_CONFIG_DIR=$dir/config
command -v perf >/dev/null || { echo "perf is not here; install it (linux-perf, perf)" >&2; exit 1; }

mkdir -p "$dir/src" "$dir/dst" "$out"
dd if=/dev/urandom of="$dir/src/file" bs=1M count="$mib" status=none
quic=()
case " ${flags[*]} " in *" --quic "*) quic=(--quic) ;; esac
perf record --quiet -F 499 -g -o "$out/recv.data" -- \
    "$lanx" recv --once --no-announce --listen 127.0.0.1:0 "${quic[@]}" "$dir/dst" >"$dir/heard" 2>&1 &
receiver=$!
address=
for _ in $(seq 200); do
    address=$(sed -n 's/^listening on //p' "$dir/heard")
    [ -n "$address" ] && break
    sleep 0.05
done
[ -n "$address" ] || { cat "$dir/heard" >&2; exit 1; }
perf record --quiet -F 499 -g -o "$out/send.data" -- "$lanx" send "${flags[@]}" "$dir/src/file" "$address"
wait "$receiver"
receiver=

for end in send recv; do
    perf report -i "$out/$end.data" --stdio --no-children -g none 2>/dev/null >"$out/$end.txt"
    echo "$end: $out/$end.txt"
    grep -v '^#' "$out/$end.txt" | grep -m 8 . || true
    if command -v inferno-collapse-perf >/dev/null; then
        perf script -i "$out/$end.data" 2>/dev/null | inferno-collapse-perf | inferno-flamegraph >"$out/$end.svg"
    elif command -v stackcollapse-perf.pl >/dev/null; then
        perf script -i "$out/$end.data" 2>/dev/null | stackcollapse-perf.pl | flamegraph.pl >"$out/$end.svg"
    else
        continue
    fi
    echo "$end: $out/$end.svg"
done
