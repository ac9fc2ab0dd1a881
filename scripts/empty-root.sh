#!/usr/bin/env bash
# Runs a static program in a root folder that holds nothing else, and sends a file there from one to the other: what it would need
# of a system is missing there. As root; otherwise it is left out.
set -euo pipefail

program=$1
if [ "$(id -u)" -ne 0 ]; then
    echo "$program: not tried in an empty root, as that needs root"
    exit 0
fi
root=$(mktemp -d)
receiver=
finish() {
    [ -z "$receiver" ] || kill "$receiver" 2>/dev/null || true
    rm -rf "$root"
}
trap finish EXIT

install -m 755 "$program" "$root/lanx"
mkdir "$root/in" "$root/config"
chmod 700 "$root/config"
head -c 3000000 /dev/urandom >"$root/file"
# It stands where ordinary users do not look.
chroot=$(PATH=$PATH:/usr/sbin:/sbin command -v chroot)
inside() {
    env -i LANX_CONFIG_DIR=/config TMPDIR=/ "$chroot" "$root" /lanx "$@"
}

inside --version
inside recv --once --no-announce --listen 127.0.0.1:0 /in >"$root/said" 2>&1 &
receiver=$!
port=
for _ in $(seq 600); do
    port=$(sed -n 's/.*listening on 127\.0\.0\.1:\([0-9]*\)$/\1/p' "$root/said")
    [ -z "$port" ] || break
    kill -0 "$receiver" 2>/dev/null || break
    sleep 0.05
done
[ -n "$port" ] || {
    echo "no receiver in the empty root:" >&2
    cat "$root/said" >&2
    exit 1
}
inside send /file "127.0.0.1:$port"
wait "$receiver"
receiver=
cmp "$root/file" "$root/in/file"
echo "$program: runs in an empty root"
