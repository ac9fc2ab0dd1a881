#!/usr/bin/env bash
# Packs the program with its documents: target/dist/lanx-VERSION-TRIPLE.tar.gz and its SHA-256 sum.
#
# The same program gives the same tarball: names in order, no owners, and for all files the time of the last commit
# (SOURCE_DATE_EPOCH says another one). LANX and TRIPLE name another program than that of `make build`, and KEEP=1 keeps what was
# packed before.
set -euo pipefail
cd "$(dirname "$0")/.."

target=${CARGO_TARGET_DIR:-target}
lanx=${LANX:-$target/release/lanx}
# Not from the program, which may be one for another machine.
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' Cargo.toml | head -n 1)
triple=${TRIPLE:-$(rustc -vV | sed -n 's/^host: //p')}
name=lanx-$version-$triple
epoch=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || echo 0)}

out=$target/dist
[ -n "${KEEP:-}" ] || rm -rf "$out"
tree=$out/$name
mkdir -p "$tree/docs/examples" "$tree/contrib" "$tree/man/man1" "$tree/completions"
install -m 755 "$lanx" "$tree/lanx"
# All documents, in their folders, as they point at each other.
install -m 644 ./*.md LICENSE-MIT LICENSE-APACHE "$tree"
install -m 644 contrib/lanx* "$tree/contrib"
install -m 644 docs/*.md docs/*.json docs/*.svg docs/*.png "$tree/docs"
install -m 755 docs/examples/*.sh "$tree/docs/examples"
install -m 644 docs/examples/*.yaml "$tree/docs/examples"
install -m 644 "$target"/man/*.1 "$tree/man/man1"
install -m 644 "$target"/completions/* "$tree/completions"

tar --sort=name --mtime="@$epoch" --owner=0 --group=0 --numeric-owner --format=gnu -C "$out" -c "$name" |
    gzip -n -9 >"$out/$name.tar.gz"
rm -rf "$tree"
(cd "$out" && sha256sum "$name.tar.gz" >"$name.tar.gz.sha256")
cat "$out/$name.tar.gz.sha256"
