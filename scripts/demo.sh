#!/usr/bin/env bash
# Sends one file of random bytes from this machine to itself, with the real program over a real socket, compares what
# arrived, and says what `cp` took for the same file. Needs a Rust toolchain and a C compiler. Leaves nothing behind
# but the build.
#
# DEMO_MIB is the size of the file in MiB, 1024 unless it is set.
set -euo pipefail
cd "$(dirname "$0")/.."

mib=${DEMO_MIB:-1024}
cargo=${CARGO:-cargo}
folder=
receiver=

fail() {
    echo "demo: $*" >&2
    exit 1
}

# Ends only what was started here.
clean_up() {
    if [ -n "$receiver" ] && kill -0 "$receiver" 2>/dev/null; then
        kill "$receiver" 2>/dev/null || true
        wait "$receiver" 2>/dev/null || true
    fi
    if [ -n "$folder" ]; then
        rm -rf "$folder"
    fi
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

free_mib() {
    df -Pk "$1" 2>/dev/null | awk 'NR == 2 { print int($4 / 1024) }'
}

# Of memory; 0 where the system does not say.
available_mib() {
    if [ -r /proc/meminfo ]; then
        awk '/^MemAvailable:/ { print int($2 / 1024) }' /proc/meminfo
    else
        echo 0
    fi
}

# In memory the demo shows what lanx can do and not what the disk can, so it goes there if two copies and their
# margin fit twice over; otherwise it goes to the usual place for temporary files.
choose_folder() {
    local needed=$((2 * mib + 64)) memory shm=0
    memory=$(available_mib)
    if [ -w /dev/shm ]; then
        shm=$(free_mib /dev/shm)
    fi
    if [ "${shm:-0}" -ge "$needed" ] && [ "$memory" -ge $((2 * needed)) ]; then
        folder=$(mktemp -d /dev/shm/lanx-demo.XXXXXX)
        return
    fi
    local base=${TMPDIR:-/tmp} free
    free=$(free_mib "$base")
    [ "${free:-0}" -ge "$needed" ] || fail "$base has $free MiB free and $needed are needed; set TMPDIR or DEMO_MIB"
    folder=$(mktemp -d "$base/lanx-demo.XXXXXX")
}

build() {
    local messages
    # The messages name the program wherever the build folder is.
    messages=$("$cargo" build --locked --release --message-format=json-render-diagnostics)
    lanx=$(printf '%s\n' "$messages" | sed -n 's/.*"executable":"\([^"]*\/lanx\)".*/\1/p' | tail -n 1)
    [ -x "$lanx" ] || fail "the build left no program"
}

# Starts the receiver and reads what it prints up to the port that it listens on.
start_receiver() {
    mkfifo "$folder/says"
    "$lanx" recv --once --listen 127.0.0.1:0 "$folder/in" >"$folder/says" 2>&1 &
    receiver=$!
    exec 3<"$folder/says"
    port=
    local line
    while [ -z "$port" ] && IFS= read -r -t 30 line <&3; do
        echo "  $line"
        case $line in
        "listening on "*) port=${line##*:} ;;
        esac
    done
    [ -n "$port" ] || fail "the receiver did not start"
}

# Touches as much memory as a copy takes and gives it back, as the benchmark does before each run. On a virtual machine
# the first touch of memory costs many times what it does later, and whoever came first would pay for all.
warm() {
    local touched=$((mib + 512)) half
    half=$(available_mib)
    half=$((half / 2))
    [ "$touched" -le "$half" ] || touched=$half
    # tail keeps all that it may have to print until it has read to the end.
    head -c "${touched}M" /dev/zero | tail -c "${touched}M" >/dev/null
}

# Runs a command and sets `seconds` to what it took.
timed() {
    local from to status=0
    from=$(date +%s%N)
    "$@" || status=$?
    to=$(date +%s%N)
    seconds=$(awk -v ns=$((to - from)) 'BEGIN { printf "%.2f", ns / 1e9 }')
    return "$status"
}

build
choose_folder
# An identity of its own, so that the demo neither needs nor changes the user's. The same one on both sides needs
# no code.
export LANX_CONFIG_DIR="$folder/config"
unset LANX_CODE RUST_LOG
sent="$folder/random-${mib}-MiB.bin"
echo "making $mib MiB of random bytes in $folder"
head -c "$((mib * 1024 * 1024))" /dev/urandom >"$sent"

# The same memory takes the copy first and what lanx receives afterwards.
warm
timed cp "$sent" "$folder/copy"
cp_seconds=$seconds
rm "$folder/copy"
warm

echo
echo "receiver: lanx recv --once --listen 127.0.0.1:0 DIR"
start_receiver
echo
echo "sender: lanx send FILE 127.0.0.1:$port"
timed "$lanx" send "$sent" "127.0.0.1:$port" || fail "the sender ended with exit code $?"
echo
echo "receiver:"
sed 's/^/  /' <&3
status=0
wait "$receiver" || status=$?
receiver=
[ "$status" -eq 0 ] || fail "the receiver ended with exit code $status"
echo
cmp "$sent" "$folder/in/${sent##*/}" || fail "what arrived is not what was sent"
echo "compared byte for byte: what arrived is what was sent"
echo "cp of the same file took $cp_seconds s; lanx took $seconds s, and hashed and encrypted every byte at both ends"
