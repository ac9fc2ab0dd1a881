#!/usr/bin/env bash
# Has real engines drive lanx on this machine: Slurm with four nodes, GNU parallel and fpsync. Nodes and receivers go down on the way.
# Everything runs as one ordinary user; called by root, it becomes one. LANX names the program. What is missing is installed with apt-get where
# that can be had, and otherwise the script says what it skips.
set -euo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)
lanx=${LANX:-$here/target/debug/lanx}

as_root() {
    if [ "$(id -u)" -eq 0 ]; then "$@"; elif command -v sudo >/dev/null; then sudo -n "$@"; else false; fi
}

missing() {
    local program
    for program in slurmctld:slurm-wlm slurmd:slurm-wlm sbatch:slurm-wlm munged:munge fpart:fpart fpsync:fpart parallel:parallel; do
        PATH=$PATH:/usr/sbin command -v "${program%%:*}" >/dev/null || echo "${program##*:}"
    done | sort -u
}

if [ -z "${LANX_SLURM_USER:-}" ]; then
    lacks=$(missing)
    if [ -n "$lacks" ] && command -v apt-get >/dev/null; then
        # shellcheck disable=SC2086 # these are words
        { as_root apt-get update -q && as_root env DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends $lacks; } \
            >/dev/null 2>&1 || true
        lacks=$(missing)
    fi
    if [ -n "$lacks" ]; then
        echo "skipped: these packages cannot be had here: $(echo $lacks)"
        exit 0
    fi
    place=$(mktemp -d)
    trap 'rm -rf "$place"' EXIT
    # The user need not see where this stands.
    cp "$lanx" "$place/lanx"
    cp "$0" "$place/test-slurm.sh"
    cp "$here"/docs/examples/*.sh "$place"
    user=$(id -un)
    if [ "$(id -u)" -eq 0 ]; then
        user=games
        chown -R "$user:" "$place"
        set -- runuser -u "$user" --
    else
        set --
    fi
    chmod 755 "$place"
    cd "$place"
    "$@" env -i PATH="$PATH:/usr/sbin" HOME="$place" LANX_SLURM_USER="$user" bash "$place/test-slurm.sh"
    exit
fi

# From here on as the user, in a folder of its own.
place=$(dirname "$0")
user=$LANX_SLURM_USER
nodes=4
export LANX=$place/lanx LANX_CONFIG_DIR=$place/config LANX_PAUSE=1
children=()
zombie=

start() {
    local log=$1
    shift
    "$@" >"$place/$log" 2>&1 &
    children+=("$!")
}

# Slurm's own children first, so that it does not start anything anew.
finish() {
    local code=$? pid
    if [ "$code" -ne 0 ]; then
        echo "failed after $SECONDS s; the logs:" >&2
        tail -n 15 "$place"/*.log "$place"/run/*.out >&2 2>/dev/null || true
    fi
    scancel --quiet --signal=KILL --user="$user" 2>/dev/null || true
    # The one whose node is gone is nobody's child any more.
    [ -z "$zombie" ] || kill -KILL "$zombie" 2>/dev/null || true
    for pid in "${children[@]}"; do kill -CONT "$pid" 2>/dev/null && kill "$pid" 2>/dev/null || true; done
    wait 2>/dev/null || true
}
trap finish EXIT

step() { printf '%3s s  %s\n' "$SECONDS" "$*"; }
fail() {
    echo "$*" >&2
    exit 1
}
# Waits until a command succeeds, for as many seconds as the first word says.
until_it() {
    local end=$((SECONDS + $1)) what=$2
    shift 2
    until "$@" >/dev/null 2>&1; do
        [ "$SECONDS" -lt "$end" ] || fail "waited in vain until $what"
        sleep 0.1
    done
}

# ---- the cluster ----

# A port that nobody has, and the ones behind it.
free_port() {
    local port free
    while :; do
        port=$((20000 + RANDOM % 10000)) free=1
        for at in $(seq "$port" $((port + nodes))); do
            ! (exec 3<>"/dev/tcp/127.0.0.1/$at") 2>/dev/null || free=
        done
        [ -z "$free" ] || break
    done
    echo "$port"
}

configure() {
    local port=$1 host n
    host=$(hostname -s)
    mkdir -p "$place"/{state,spool,munge,run}
    chmod 755 "$place/munge"
    (umask 077 && head -c 128 /dev/urandom >"$place/munge.key")
    cat >"$place/slurm.conf" <<CONF
ClusterName=lanx
SlurmctldHost=$host(127.0.0.1)
SlurmUser=$user
SlurmdUser=$user
SlurmctldPort=$port
AuthInfo=socket=$place/munge/socket
StateSaveLocation=$place/state
SlurmdSpoolDir=$place/spool/%n
SlurmctldPidFile=$place/slurmctld.pid
SlurmdPidFile=$place/slurmd.%n.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
ReturnToService=0
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=sched_min_interval=0,sched_interval=1,bf_interval=1,batch_sched_delay=0
SlurmdTimeout=300
KillWait=2
JobRequeue=1
SlurmdParameters=config_overrides
CONF
    for n in $(seq "$nodes"); do
        echo "NodeName=n$n NodeHostname=$host NodeAddr=127.0.0.1 Port=$((port + n)) CPUs=2 RealMemory=500"
    done >>"$place/slurm.conf"
    echo "PartitionName=movers Nodes=n[1-$nodes] Default=YES MaxTime=INFINITE State=UP" >>"$place/slurm.conf"
}

idle() { [ "$(sinfo -h -t idle -o %D)" = "$1" ]; }

start_node() {
    start "slurmd-n$1.log" slurmd -D -N "n$1" -f "$SLURM_CONF"
    node_pids[$1]=$!
}

up() {
    configure "$(free_port)"
    export SLURM_CONF=$place/slurm.conf
    start munged.log munged --foreground --key-file="$place/munge.key" --socket="$place/munge/socket" \
        --pid-file="$place/munge/pid" --log-file="$place/munge/log" --seed-file="$place/munge/seed"
    until_it 10 "munged listens" test -S "$place/munge/socket"
    start slurmctld.log slurmctld -D -f "$SLURM_CONF"
    for n in $(seq "$nodes"); do start_node "$n"; done
    until_it 20 "all nodes are idle" idle "$nodes"
}

job() { sbatch --parsable --requeue --output="$place/run/%A_%a.out" --export=ALL --chdir="$place" "$@"; }
ended() { ! squeue -h -j "$1" -o %T 2>/dev/null | grep -q .; }
state_of() { scontrol show job "$1" -o | sed -n 's/.*JobState=\([A-Z_]*\).*/\1/p' | sort -u; }
all_well() { [ "$(state_of "$1")" = COMPLETED ] || fail "job $1: $(scontrol show job "$1" -o)"; }
waits() { [ "$(state_of "$1")" = PENDING ]; }
gone() { ! kill -0 "$1"; }

# ---- the receiver ----

listen=127.0.0.1:0
receive() {
    : >"$place/receiver.log"
    start receiver.log "$LANX" recv --overwrite --no-announce --listen "$listen" "$place/there"
    receiver=$!
    until_it 10 "the receiver listens" grep -q '^listening on ' "$place/receiver.log"
    # Whoever looks for it again finds it there.
    listen=$(sed -n 's/^listening on //p' "$place/receiver.log")
}

same() {
    "$LANX" manifest "$place/data" -o "$place/of-data" >/dev/null
    "$LANX" verify "$place/of-data" "$place/there$1" >/dev/null || fail "what arrived in there$1 is not what was sent"
}

again() {
    rm -rf "$place/there" "$place/run"
    mkdir "$place/there" "$place/run"
    (cd "$place/data" && fpart -0 -zz -n "$1" -o "$place/run/shard" . >/dev/null 2>&1)
}

declare -A node_pids
mkdir -p "$place"/data/{a/b,c,empty}
for n in $(seq 60); do head -c $((n * 700)) /dev/urandom >"$place/data/a/file $n"; done
for n in $(seq 60); do echo "$n" >"$place/data/a/b/$n"; done
head -c 30000000 /dev/urandom >"$place/data/c/large"
echo x >"$place/data/c/"$'two\nlines'
touch -d '2020-02-02' "$place/data/a/b" "$place/data/c" "$place/data/empty"
mkdir "$place/there"
receive
step "a receiver listens on $listen"
up
step "munged, slurmctld and $nodes nodes are up as $user"

# ---- shards ----

again 6
array=$(job --array=1-6 "$place/slurm-shard.sh" "$place/run" "$place/data" "$listen")
last=$(job --dependency="afterany:$array" "$place/slurm-last.sh" "$place/run" "$place/data" "$listen")
until_it 30 "the array and the last step have ended" ended "$array,$last"
all_well "$array"
all_well "$last"
"$LANX" verify "$place/run/manifest" "$place/there" >/dev/null
same ""
[ "$(stat -c %Y "$place/there/a/b")" = "$(stat -c %Y "$place/data/a/b")" ] || fail "the time of a folder is wrong"
step "fpart, an array of 6 shards, the last step and verify"

# ---- the receiver goes down on the way ----

again 3
export LANX_SEND_LIMIT=8M
array=$(job --array=1-3 "$place/slurm-shard.sh" "$place/run" "$place/data" "$listen")
unset LANX_SEND_LIMIT
until_it 20 "something is on its way" compgen -G "$place/there/c/.large*.lanx-part"
kill -KILL "$receiver"
wait "$receiver" 2>/dev/null || true
sleep 1
receive
until_it 40 "the array has ended" ended "$array"
all_well "$array"
step "a receiver that was killed and started again"

# ---- a node dies, and the sender on it lives on ----

again 1
export LANX_SEND_LIMIT=4M
moved=$(job --array=1-1 "$place/slurm-shard.sh" "$place/run" "$place/data" "$listen")
unset LANX_SEND_LIMIT
until_it 20 "something is on its way" compgen -G "$place/there/c/.large*.lanx-part"
zombie=$(pgrep -u "$user" -f "^$LANX send --json -q --files-from $place/run/shard.1 " | head -n 1)
kill -STOP "$zombie"
node=$(squeue -h -j "$moved" -o %N)
kill -KILL "${node_pids[${node#n}]}"
wait "${node_pids[${node#n}]}" 2>/dev/null || true
scontrol update nodename="$node" state=down reason=killed
# What the old one read is no more what is to arrive.
head -c 30000000 /dev/urandom >"$place/new"
mv "$place/new" "$place/data/c/large"
touch -d '2020-02-02' "$place/data/c"
until_it 20 "it waits for another node" waits "$moved"
scontrol update jobid="$moved" starttime=now
until_it 60 "the other node has sent it" ended "$moved"
all_well "$moved"
kill -CONT "$zombie"
until_it 30 "the old sender has ended" gone "$zombie"
zombie=
cmp "$place/data/c/large" "$place/there/c/large" || fail "the old sender replaced what is newer"
"$LANX" send -q "$place/data/" "$listen"
same ""
start_node "${node#n}"
scontrol update nodename="$node" state=resume
step "a node that died with its sender still there: what that one had is nowhere"

# ---- a node is taken out of service ----

until_it 20 "all nodes are idle" idle "$nodes"
again 1
export LANX_SEND_LIMIT=4M
moved=$(job --array=1-1 "$place/slurm-shard.sh" "$place/run" "$place/data" "$listen")
unset LANX_SEND_LIMIT
until_it 20 "something is on its way" compgen -G "$place/there/c/.large*.lanx-part"
node=$(squeue -h -j "$moved" -o %N)
scontrol update nodename="$node" state=down reason=service
until_it 20 "it waits for another node" waits "$moved"
scontrol update jobid="$moved" starttime=now
until_it 60 "the other node has sent it" ended "$moved"
all_well "$moved"
scontrol update nodename="$node" state=resume
same ""
step "a node that was taken out of service"

# ---- others ----

again 4
parallel --will-cite -j 4 --retries 3 \
    "$LANX" send -q --files-from {} --from0 "$place/data/" "$listen" ::: "$place"/run/shard.* </dev/null
"$LANX" send -q "$place/data/" "$listen"
same ""
step "GNU parallel"
again 1
fpsync -n 2 -f 40 -T "$place/fpsync-lanx.sh" -t "$place/run" "$place/data" "rsync://$listen/sets/data/" >"$place/fpsync.log" 2>&1 \
    || fail "fpsync ended with $?"
"$LANX" send -q --into sets/data "$place/data/" "$listen"
same /sets/data
step "fpsync"
