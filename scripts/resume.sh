#!/usr/bin/env bash
# Measures what resuming costs: a whole transfer, and one of which 90 % is there already, in turns, over loopback.
# TMPDIR says where (make it a memory file system); RESUME_MIB how much; RESUME_TURNS how often. WARM names a command
# that is run before each timed transfer with a number of MiB, to make that much memory ready for use.
set -euo pipefail
cd "$(dirname "$0")/.."

mib=${RESUME_MIB:-4096}
turns=${RESUME_TURNS:-5}
warm=${WARM:-true}
lanx=${LANX:-$PWD/target/release/lanx}
dir=$(mktemp -d)
receiver=
# shellcheck disable=SC2317 # it is called by the trap
finish() {
    [ -z "$receiver" ] || kill "$receiver" 2>/dev/null || true
    rm -rf "$dir"
}
trap finish EXIT
export LANX_CONFIG_DIR=$dir/config

mkdir "$dir/src" "$dir/dst"
dd if=/dev/urandom of="$dir/src/file" bs=1M count="$mib" status=none

# Sends the file and prints the seconds that it took.
send() {
    rm -f "$dir/heard"
    "$lanx" recv --once --listen 127.0.0.1:0 "$dir/dst" >"$dir/heard" 2>&1 &
    receiver=$!
    local address=
    while [ -z "$address" ]; do
        kill -0 "$receiver"
        sleep 0.01
        address=$(sed -n 's/^listening on //p' "$dir/heard" 2>/dev/null || true)
    done
    "$warm" "$((2 * mib))"
    local from to
    from=$(date +%s.%N)
    "$lanx" -q send "$dir/src/file" "$address" >"$dir/said" 2>&1 || cat "$dir/said" >&2
    to=$(date +%s.%N)
    wait "$receiver"
    receiver=
    cmp "$dir/src/file" "$dir/dst/file"
    rm "$dir/dst/file"
    awk -v a="$from" -v b="$to" 'BEGIN { printf "%.3f\n", b - a }'
}

# The first 90 % of the file.
begun() {
    head -c "$((mib * 1048576 / 10 * 9))" "$dir/src/file" >"$dir/dst/.file.lanx-part"
}

# All but one MiB in each ten.
torn() {
    truncate -s "$((mib * 1048576))" "$dir/dst/.file.lanx-part"
    local at
    for ((at = 0; at < mib; at += 10)); do
        dd if="$dir/src/file" of="$dir/dst/.file.lanx-part" bs=1M skip="$at" seek="$at" count=9 conv=notrunc status=none
    done
    truncate -s "$((mib * 1048576))" "$dir/dst/.file.lanx-part"
}

median() {
    sort -n | awk '{ t[NR] = $1 } END { print (NR % 2) ? t[(NR + 1) / 2] : (t[NR / 2] + t[NR / 2 + 1]) / 2 }'
}

for ((turn = 1; turn <= turns; turn++)); do
    full=$(send)
    begun
    resumed=$(send)
    torn
    holes=$(send)
    echo "$full" >>"$dir/full"
    echo "$resumed" >>"$dir/resumed"
    echo "$holes" >>"$dir/holes"
    echo "turn $turn: whole $full s, 90 % there $resumed s, 90 % there in pieces $holes s"
done
full=$(median <"$dir/full")
for kind in resumed holes; do
    this=$(median <"$dir/$kind")
    awk -v f="$full" -v t="$this" -v k="$kind" 'BEGIN { printf "median %s %.3f s of %.3f s: %.2f\n", k, t, f, t / f }'
done
