#!/bin/sh
# Receives one transfer into DIR, and runs COMMAND with the path of each file that arrived.
#
#     receive.sh DIR COMMAND [ARGUMENT...]
#
# Prints `port N` once senders may come. Ends with the exit code of lanx, or with 1 where COMMAND failed.
# LANX names the program to run, LANX_LISTEN where to listen.
set -u
if [ $# -lt 2 ]; then
    echo "usage: receive.sh DIR COMMAND [ARGUMENT...]" >&2
    exit 2
fi
dir=$1
shift

# The field $2 of the event $1: one that is a number, or one that is text. JSON writes a quote in a name as \", so that
# no name can look like a field.
number() {
    printf '%s\n' "$1" | sed -n "s/.*\"$2\":\([0-9]*\).*/\1/p"
}
text() {
    printf '%s\n' "$1" | sed -n "s/.*\"$2\":\"\([^\"]*\)\".*/\1/p"
}

# The name in the field $2 of the event $1, as it is on the disk, and a dot, as $() drops line ends. Fails for one that
# has JSON escapes in it, which take a JSON parser.
name() {
    bytes=$(text "$1" "$2_bytes")
    if [ -n "$bytes" ]; then
        printf %s "$bytes" | base64 -d
    else
        plain=$(text "$1" "$2")
        case $plain in *\\*) return 1 ;; esac
        printf %s "$plain"
    fi
    printf .
}

scratch=$(mktemp -d) || exit 1
trap 'rm -rf "$scratch"' EXIT
mkfifo "$scratch/events" || exit 1
"${LANX:-lanx}" recv --once --json --listen "${LANX_LISTEN:-[::]:0}" "$dir" >"$scratch/events" &
lanx=$!
# Whoever ends this script ends the receiver.
trap 'kill "$lanx" 2>/dev/null; exit 130' INT TERM

failed=0
while IFS= read -r event; do
    case $(text "$event" event) in
    listening) echo "port $(number "$event" port)" ;;
    file)
        path=path
        case $(text "$event" status) in
        sent | identical) ;;
        renamed) path=new_path ;;
        *) continue ;;
        esac
        if file=$(name "$event" "$path"); then
            "$@" "$dir/${file%.}" </dev/null || failed=1
        else
            echo "left alone, as its name takes a JSON parser: $event" >&2
            failed=1
        fi
        ;;
    esac
done <"$scratch/events"

wait "$lanx"
code=$?
[ "$code" -ne 0 ] || code=$failed
exit "$code"
