//! What `--help` shows below the options: how the commands are used.

/// Of `lanx` itself.
pub const LANX: &str = "\
Examples:
  lanx recv ~/incoming            on the machine that gets the files
  lanx send photos                on the other: pick a receiver from the list
  lanx send photos 192.168.1.20   the same, to an address

More: `lanx help COMMAND`, `lanx help exit-codes`, `lanx help json` (events for
scripts) and `lanx help config` (options in a file).";

pub const SEND: &str = "\
Examples:
  lanx send photos                          pick a receiver from the list
  lanx send disk.img notes.txt 192.168.1.20
  lanx send --archive --exclude '*.o' project/ nas:9000
  lanx send nas --name shop.sql -- pg_dump shop
  lanx send nas --name s.gz -- bash -o pipefail -c 'pg_dump s | gzip'";

pub const RECV: &str = "\
Examples:
  lanx recv ~/incoming
  lanx recv --once --json --listen '[::]:0' /srv/in
  lanx recv - | tar x";

pub const SERVE: &str = "\
Examples:
  lanx serve photos
  lanx serve --listen 127.0.0.1:8080 --open .
  LANX_TOKEN=correct-horse lanx serve disk.img notes.txt";

pub const GET: &str = "\
Examples:
  lanx get https://mirror.example/disk.iso
  lanx get -o downloads/ --sha256 9f86d0... https://mirror.example/disk.iso
  LANX_TOKEN=correct-horse lanx get 'https://nas:7270/disk.img#sha256=...'
  LANX_TOKEN=correct-horse lanx get -r http://nas:7270/photos/";

pub const LIST: &str = "\
Examples:
  lanx list
  lanx list --json --wait 5";

pub const MANIFEST: &str = "\
Examples:
  lanx manifest /data/run42 -o run42.manifest
  lanx send --report shard1.report --files-from shard1 /data/run42/ nas
  lanx manifest *.report -o run42.manifest";

pub const VERIFY: &str = "\
Examples:
  lanx verify run42.manifest /srv/in
  lanx verify --limit 100M run42.manifest /mnt/archive/run42";

pub const DOCTOR: &str = "\
Examples:
  lanx doctor
  lanx doctor --dir /srv/in 192.168.1.20";

pub const TRUST: &str = "\
Examples:
  lanx trust
  lanx trust name SHA256:8fJq2m workstation
  lanx trust set workstation --into backups --overwrite no --quota 500G
  lanx trust prune --older 30d
  lanx trust remove nas:7269";

pub const CACHE: &str = "\
Examples:
  lanx cache
  lanx cache prune --older 30d
  lanx cache forget";

pub const CONFIG: &str = "\
Examples:
  lanx config
  lanx config --json send
  lanx config send --limit 50M

`lanx help config` describes the file.";

pub const COMPLETIONS: &str = "\
Examples:
  lanx completions bash > ~/.local/share/bash-completion/completions/lanx
  lanx completions zsh > ~/.zfunc/_lanx
  lanx completions fish > ~/.config/fish/completions/lanx.fish";

pub const HELP: &str = "\
Examples:
  lanx help send
  lanx help exit-codes";
