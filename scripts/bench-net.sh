#!/usr/bin/env bash
# The end-to-end benchmark between two hosts on this machine: network namespaces joined by a link of a given rate, delay and
# loss. Needs root and iproute2. Say what to run with the variables of benches/end_to_end;
# LINKS="100 1000 10000 1000,10ms,0.1%" says over which links: Mbit/s, round trip, loss of packets.
set -euo pipefail
cd "$(dirname "$0")/.."

links=${LINKS:-100 1000 10000 1000,10ms,0.1%}
a=lanx-bench-a-$$ b=lanx-bench-b-$$

if [ "$(id -u)" -ne 0 ]; then
    echo "network namespaces need root: sudo make bench-net" >&2
    exit 1
fi

finish() {
    # The benchmark, which removes its files, and the user-space link.
    pkill -P $$ || true
    wait
    local host
    for host in "$a" "$b"; do
        ip netns pids "$host" 2>/dev/null | xargs -r kill 2>/dev/null || true
        ip netns del "$host" 2>/dev/null || true
        rm -rf "/etc/netns/$host"
    done
    rmdir --ignore-fail-on-non-empty /etc/netns 2>/dev/null || true
}
trap finish EXIT

# veth COMMAND OF A QDISC... A cable, and at each end what makes it slow.
veth() {
    ip link add lan0 netns "$a" type veth peer name lan0 netns "$b"
    tc -n "$a" qdisc add dev lan0 root "$@"
    tc -n "$b" qdisc add dev lan0 root "$@"
}

# link RATE_MBIT ROUND_TRIP_MS LOSS_PERCENT; sets `made_by`.
link() {
    finish
    ip netns add "$a"
    ip netns add "$b"
    if [ -z "$2" ]; then
        made_by=tbf
        veth tbf rate "$1mbit" burst "$(($1 * 500 > 131072 ? $1 * 500 : 131072))" latency 50ms
    elif tc -n "$a" qdisc add dev lo root netem delay 1ms 2>/dev/null; then
        made_by=netem
        tc -n "$a" qdisc del dev lo root
        # Half of the round trip in each direction.
        veth netem rate "$1mbit" delay "$(awk -v t="$2" 'BEGIN { print t / 2 }')ms" loss "$3%" limit 100000
    else
        made_by="benches/end_to_end/link.rs, as this kernel has no netem"
        coproc user_space { exec "$bench" --link "$a" "$b" "$1" "$2" "$3"; }
        read -r <&"${user_space[0]}"
    fi
    local host address=1
    for host in "$a" "$b"; do
        # GridFTP looks for the names of addresses. `ip netns exec` puts this in the place of /etc/hosts.
        mkdir -p "/etc/netns/$host"
        printf '%s\n' '127.0.0.1 localhost' '10.77.0.1 sender' '10.77.0.2 receiver' >"/etc/netns/$host/hosts"
        ip -n "$host" addr add "10.77.0.$address/24" dev lan0
        ip -n "$host" link set lo up
        ip -n "$host" link set lan0 up
        address=$((address + 1))
    done
}

bench=$(${CARGO:-cargo} bench --locked --bench end_to_end --no-run --message-format=json |
    sed -n 's/.*"name":"end_to_end".*"executable":"\([^"]*\)".*/\1/p')

for kind in $links; do
    IFS=, read -r rate round_trip loss <<<"$kind"
    link "$rate" "${round_trip%ms}" "$(tr -d % <<<"${loss:-0}")"
    # Half a minute for the large file at most.
    mib=$((rate < 400 ? rate * 6 / 10 : 1024))
    printf '\n== %s Mbit/s%s%s (%s)\n' "$rate" "${round_trip:+, round trip $round_trip}" "${loss:+, $loss of packets lost}" "$made_by"
    BENCH_SENDER="ip netns exec $a" BENCH_SENDER_HOST=10.77.0.1 BENCH_RECEIVER="ip netns exec $b" BENCH_HOST=10.77.0.2 \
        BENCH_DIRS=${BENCH_DIRS:-/dev/shm} BENCH_WORKLOADS=${BENCH_WORKLOADS:-large,tree,tiny,source,log} BENCH_MIB=${BENCH_MIB:-$mib} \
        BENCH_JSON=$PWD/target/end_to_end-$rate${round_trip:+-$round_trip}.json \
        "$bench"
done
