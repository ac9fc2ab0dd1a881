#!/usr/bin/env bash
# The end-to-end benchmark between two hosts on this machine: network namespaces joined by a link of a given rate, and
# where the kernel can (netem) of a given delay and loss. Needs root and iproute2. Say what to run with the variables of
# benches/end_to_end; LINKS="1000 10000 1000,10ms,0.1%" says over which links: Mbit/s, round trip, loss of packets.
set -euo pipefail
cd "$(dirname "$0")/.."

links=${LINKS:-1000 10000 1000,10ms,0.1%}
a=lanx-bench-a-$$ b=lanx-bench-b-$$

finish() {
    ip netns del "$a" 2>/dev/null || true
    ip netns del "$b" 2>/dev/null || true
}
trap finish EXIT

if [ "$(id -u)" -ne 0 ]; then
    echo "network namespaces need root: sudo make bench-net" >&2
    exit 1
fi

# link RATE_MBIT ROUND_TRIP LOSS
link() {
    finish
    ip netns add "$a"
    ip netns add "$b"
    ip link add lan0 netns "$a" type veth peer name lan0 netns "$b"
    local host address=1
    for host in "$a" "$b"; do
        ip -n "$host" addr add "10.77.0.$address/24" dev lan0
        ip -n "$host" link set lo up
        ip -n "$host" link set lan0 up
        address=$((address + 1))
        if [ -n "$2" ]; then
            # Half of the round trip in each direction.
            tc -n "$host" qdisc add dev lan0 root netem rate "$1mbit" delay "$(awk -v t="${2%ms}" 'BEGIN { print t / 2 }')ms" \
                loss "${3:-0%}" limit 100000
        else
            tc -n "$host" qdisc add dev lan0 root tbf rate "$1mbit" burst "$(($1 * 500 > 131072 ? $1 * 500 : 131072))" \
                latency 50ms
        fi
    done
}

for kind in $links; do
    IFS=, read -r rate round_trip loss <<<"$kind"
    if ! link "$rate" "$round_trip" "$loss" 2>/dev/null; then
        echo "this kernel cannot make a link of $kind (netem is missing?); left out" >&2
        continue
    fi
    printf '\n== %s Mbit/s%s%s\n' "$rate" "${round_trip:+, round trip $round_trip}" "${loss:+, $loss of packets lost}"
    BENCH_SENDER="ip netns exec $a" BENCH_RECEIVER="ip netns exec $b" BENCH_HOST=10.77.0.2 \
        BENCH_DIRS=${BENCH_DIRS:-/dev/shm} BENCH_WORKLOADS=${BENCH_WORKLOADS:-large,tree,tiny} \
        BENCH_JSON=$PWD/target/end_to_end-$rate${round_trip:+-$round_trip}.json \
        ${CARGO:-cargo} bench --locked --bench end_to_end
done
