#!/bin/sh
# One task of a Slurm array: sends one shard of a folder.
#
#     sbatch --array=1-N --requeue slurm-shard.sh RUN ROOT HOST[:PORT]
#
# RUN is a folder that all nodes see. RUN/shard.1 to RUN/shard.N are lists with a NUL byte behind each path, as fpart makes them; a report
# of each comes beside it. LANX names the program to run, LANX_TRIES how often to try (5), LANX_PAUSE how many seconds to wait in between (10).
set -u
run=$1
root=$2
host=$3
shard=$run/shard.$SLURM_ARRAY_TASK_ID
tries=${LANX_TRIES:-5}
while :; do
    # The last event says whether the same command may do better by itself.
    last=$("${LANX:-lanx}" send --json -q --files-from "$shard" --from0 --report "$shard.report" "$root/" "$host" | tail -n 1)
    code=$(printf '%s\n' "$last" | sed -n 's/.*"code":\([0-9]*\).*/\1/p')
    printf '%s\n' "$last"
    tries=$((tries - 1))
    case $last in
    *'"retryable":true'*) [ "$tries" -gt 0 ] || break ;;
    *) break ;;
    esac
    sleep "${LANX_PAUSE:-10}"
done
# Without an event it was killed.
exit "${code:-1}"
