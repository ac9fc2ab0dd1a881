#!/usr/bin/env bash
# Puts what the given folders hold into one folder, release/, with one SHA256SUMS, and signs that by minisign. MINISIGN_KEY is the secret key as its file has
# it, MINISIGN_PASSWORD its password.
set -euo pipefail

: "${MINISIGN_KEY:?the secret key is missing; set MINISIGN_KEY to what the key file holds}"
command -v minisign >/dev/null || sudo apt-get install -qy minisign
rm -rf release
mkdir release
for folder; do
    find "$folder" -maxdepth 1 -type f ! -name SHA256SUMS -exec cp -t release {} +
done
cd release
sha256sum -- * >SHA256SUMS
key=$(mktemp)
trap 'rm -f "$key"' EXIT
chmod 600 "$key"
printf '%s\n' "$MINISIGN_KEY" >"$key"
printf '%s\n' "${MINISIGN_PASSWORD:-}" | minisign -S -s "$key" -m SHA256SUMS -t "lanx $(git describe --tags --always 2>/dev/null || echo)"
