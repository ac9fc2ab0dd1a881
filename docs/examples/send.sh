#!/bin/sh
# Sends files unattended, keeps a log of what became of each, and tries again where that may help.
#
#     send.sh LOG HOST[:PORT] FILE...
#
# Ends with the exit code of lanx. LANX names the program to run, LANX_TRIES how often to try (3), LANX_PAUSE how many
# seconds to wait in between (60).
set -u
if [ $# -lt 3 ]; then
    echo "usage: send.sh LOG HOST[:PORT] FILE..." >&2
    exit 2
fi
log=$1
host=$2
shift 2

# The field $2 of the event $1: one that is a number, or one that is text.
number() {
    printf '%s\n' "$1" | sed -n "s/.*\"$2\":\([0-9]*\).*/\1/p"
}
text() {
    printf '%s\n' "$1" | sed -n "s/.*\"$2\":\"\([^\"]*\)\".*/\1/p"
}

tries=${LANX_TRIES:-3}
while :; do
    # -q: what goes wrong stands in the events already.
    "${LANX:-lanx}" send --json -q "$@" "$host" >>"$log"
    code=$?
    tries=$((tries - 1))
    # Not reached, or lost: the next try goes on where this one ended. Nothing else gets better by itself.
    if [ "$code" -ne 3 ] || [ "$tries" -le 0 ]; then
        break
    fi
    sleep "${LANX_PAUSE:-60}"
done

last=$(tail -n 1 "$log")
case $(text "$last" event) in
done)
    echo "$(number "$last" files) in place, $(number "$last" identical) of them unchanged," \
        "$(number "$last" failed) failed: see $log"
    ;;
error) echo "failed: $(text "$last" message); $(text "$last" hint)" >&2 ;;
esac
exit "$code"
