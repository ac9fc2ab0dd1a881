//! The programs and their commands. What stands in braces is put in by `contestants.rs`, whose type says what
//! it means.

use crate::contestants::Contestant;

const BASE: Contestant = Contestant {
    name: "",
    server: None,
    client: "",
    server_ends: false,
    sends: true,
    encrypts: "no",
    verifies: "no",
    moves_files: true,
    resumes: None,
    needs: &[],
};

pub const LANX: Contestant = Contestant {
    name: "lanx",
    server: Some("exec '{lanx}' -q recv --listen '{host}:{port}' '{dst}'"),
    client: "exec '{lanx}' -q send '{sent}' '{host}:{port}'",
    encrypts: "yes",
    verifies: "BLAKE3",
    ..BASE
};

pub const LANX_OTHER: Contestant = Contestant {
    name: "lanx (other)",
    server: Some("exec \"$BENCH_LANX\" -q recv --listen '{host}:{port}' '{dst}'"),
    client: "exec \"$BENCH_LANX\" -q send '{sent}' '{host}:{port}'",
    ..LANX
};

/// What it compresses by itself and from the first byte on, beside each other.
pub const LANX_ZSTD: Contestant = Contestant {
    name: "lanx --compress zstd",
    client: "exec '{lanx}' -q send --compress zstd '{sent}' '{host}:{port}'",
    ..LANX
};

pub const LANX_PLAIN: Contestant = Contestant {
    name: "lanx --compress no",
    client: "exec '{lanx}' -q send --compress no '{sent}' '{host}:{port}'",
    ..LANX
};

/// The other door.
pub const LANX_QUIC: Contestant = Contestant {
    name: "lanx --quic",
    server: Some("exec '{lanx}' -q recv --quic --listen '{host}:{port}' '{dst}'"),
    client: "exec '{lanx}' -q send --quic '{sent}' '{host}:{port}'",
    ..LANX
};

/// What cannot be beaten, or only by doing less.
pub const CP: Contestant = Contestant { name: "cp", client: "exec cp -r '{sent}' '{dst}/'", ..BASE };

pub const IPERF3: Contestant = Contestant {
    name: "iperf3, 4 streams, no files",
    server: Some("exec iperf3 -s -1 -B {host} -p {port} >/dev/null"),
    client: "exec iperf3 -c {host} -p {port} -P 4 -n {mib}M >/dev/null",
    moves_files: false,
    needs: &["iperf3"],
    ..BASE
};

pub const PARTS: Contestant = Contestant {
    name: "sum of parts",
    server: Some("exec '{self}' --parts-receive {host}:{port} '{dst}/sent'"),
    client: "exec '{self}' --parts-send {host}:{port} '{sent}'",
    server_ends: true,
    encrypts: "yes",
    ..BASE
};

pub const NC: Contestant = Contestant {
    name: "nc",
    server: Some("exec nc -l -N {host} {port} > '{dst}/sent'"),
    client: "exec nc -N {host} {port} < '{sent}'",
    server_ends: true,
    needs: &["nc"],
    ..BASE
};

pub const TAR_NC: Contestant = Contestant {
    name: "tar | nc",
    server: Some("nc -l -N {host} {port} | tar xf - -C '{dst}'"),
    client: "tar cf - -C '{source}' sent | nc -N {host} {port}",
    needs: &["tar", "nc"],
    ..NC
};

/// What people type where a network is slow.
pub const ZSTD_NC: Contestant = Contestant {
    name: "zstd | nc",
    server: Some("nc -l -N {host} {port} | zstd -q -d > '{dst}/sent'"),
    client: "zstd -q -c '{sent}' | nc -N {host} {port}",
    verifies: "xxh64",
    needs: &["zstd", "nc"],
    ..NC
};

pub const TAR_ZSTD_NC: Contestant = Contestant {
    name: "tar | zstd | nc",
    server: Some("nc -l -N {host} {port} | zstd -q -d | tar xf - -C '{dst}'"),
    client: "tar cf - -C '{source}' sent | zstd -q -c | nc -N {host} {port}",
    needs: &["tar", "zstd", "nc"],
    ..ZSTD_NC
};

pub const SOCAT: Contestant = Contestant {
    name: "socat",
    server: Some("exec socat -u -b262144 TCP-LISTEN:{port},bind={host},reuseaddr CREATE:'{dst}/sent'"),
    client: "exec socat -u -b262144 OPEN:'{sent}' TCP:{host}:{port}",
    server_ends: true,
    needs: &["socat"],
    ..BASE
};

pub const TAR_SOCAT: Contestant = Contestant {
    name: "tar | socat",
    server: Some("socat -u -b262144 TCP-LISTEN:{port},bind={host},reuseaddr - | tar xf - -C '{dst}'"),
    client: "tar cf - -C '{source}' sent | socat -u -b262144 - TCP:{host}:{port}",
    needs: &["tar", "socat"],
    ..SOCAT
};

pub const MBUFFER: Contestant = Contestant {
    name: "mbuffer",
    server: Some("exec mbuffer -q -I {port} -o '{dst}/sent' 2>/dev/null"),
    client: "exec mbuffer -q -i '{sent}' -O {host}:{port} 2>/dev/null",
    server_ends: true,
    needs: &["mbuffer"],
    ..BASE
};

pub const WDT: Contestant = Contestant {
    name: "WDT",
    server: Some(
        "exec wdt -directory '{dst}' -start_port {port} -num_ports 8 -transfer_id bench -encryption_type none",
    ),
    client: "exec wdt -directory '{source}' -destination {host} -start_port {port} -num_ports 8 -transfer_id bench \
             -encryption_type none",
    server_ends: true,
    verifies: "crc32c",
    needs: &["wdt"],
    ..BASE
};

pub const RSYNCD: Contestant = Contestant {
    name: "rsync daemon",
    server: Some(
        "exec rsync --daemon --no-detach --port={port} --address={host} --config='{base}/rsyncd.conf'",
    ),
    client: "exec rsync -a '{sent}' 'rsync://{host}:{port}/all/{dst_name}/'",
    verifies: "xxh128",
    needs: &["rsync"],
    ..BASE
};

pub const RSYNCD_ZSTD: Contestant = Contestant {
    name: "rsync daemon -z, zstd",
    client: "exec rsync -a -z --compress-choice=zstd '{sent}' 'rsync://{host}:{port}/all/{dst_name}/'",
    ..RSYNCD
};

/// At both ends GLOBUS_HOSTNAME is that end's own address, as the name of the machine may stand for another.
/// It wants a name for each address, from `/etc/hosts` or DNS.
pub const GRIDFTP: Contestant = Contestant {
    name: "GridFTP, 4 streams",
    server: Some(
        "GLOBUS_HOSTNAME={host} exec globus-gridftp-server -aa -allow-root -anonymous-user $(id -un) -p {port} \
         -control-interface {host} -data-interface {host}",
    ),
    client: "GLOBUS_HOSTNAME={peer} exec globus-url-copy -p 4 -fast 'file://{sent}' 'ftp://{host}:{port}{dst}/sent'",
    needs: &["globus-gridftp-server", "globus-url-copy"],
    ..BASE
};

pub const GRIDFTP_TREE: Contestant = Contestant {
    client: "GLOBUS_HOSTNAME={peer} exec globus-url-copy -cd -r -cc 4 -fast 'file://{sent}/' 'ftp://{host}:{port}{dst}/sent/'",
    ..GRIDFTP
};

pub const ARIA2: Contestant = Contestant {
    name: "aria2, 8 ranges, from nginx",
    server: Some(
        "sed -i 's/listen [^;]*;/listen {host}:{port};/' '{base}/nginx.conf'; exec nginx -c '{base}/nginx.conf' 2>/dev/null",
    ),
    client: "exec aria2c -q -x8 -s8 -k1M --file-allocation=none -d '{dst}' http://{host}:{port}/sent",
    sends: false,
    needs: &["aria2c", "/usr/sbin/nginx"],
    ..BASE
};

pub const SSHD: &str = "/usr/sbin/sshd";

/// A key for both ends, and what they need to know. The remote shell gets our PATH, which is where `qcp` was
/// found.
pub const SSH_SETUP: &str = "ssh-keygen -q -t ed25519 -N '' -f '{base}/key' && ssh-keygen -q -t ed25519 -N '' -f '{base}/host' && \
     printf '%s\\n' 'HostKey {base}/host' 'AuthorizedKeysFile {base}/key.pub' 'StrictModes no' 'PidFile none' \
     'PermitRootLogin yes' 'UsePAM no' 'Subsystem sftp internal-sftp' \"SetEnv \\\"PATH=$PATH\\\"\" > '{base}/sshd.conf' && \
     printf '%s\\n' 'IdentityFile {base}/key' 'IdentitiesOnly yes' 'StrictHostKeyChecking no' \
     'UserKnownHostsFile /dev/null' 'LogLevel ERROR' > '{base}/ssh.conf'; mkdir -p /run/sshd 2>/dev/null; true";

pub const SCP: Contestant = Contestant {
    name: "scp",
    server: Some("exec /usr/sbin/sshd -D -e -f '{base}/sshd.conf' -p {port} 2>/dev/null"),
    client: "exec scp -q -r -P {port} -F '{base}/ssh.conf' '{sent}' '{host}:{dst}/'",
    encrypts: "yes",
    needs: &["scp", "ssh-keygen", SSHD],
    ..BASE
};

pub const SCP_C: Contestant = Contestant {
    name: "scp -C",
    client: "exec scp -C -q -r -P {port} -F '{base}/ssh.conf' '{sent}' '{host}:{dst}/'",
    ..SCP
};

/// After its documentation; not run.
pub const MSCP: Contestant = Contestant {
    name: "mscp",
    client: "exec mscp -q -P {port} -F '{base}/ssh.conf' -i '{base}/key' '{sent}' '{host}:{dst}/'",
    needs: &["mscp", "ssh-keygen", SSHD],
    ..SCP
};

/// It starts its remote end by ssh. Told nothing, it takes the link for one of 100 Mbit/s and 300 ms, and
/// sizes its window by that: this is a window for 10 Gbit/s and 10 ms.
pub const QCP: Contestant = Contestant {
    name: "qcp",
    client: "exec qcp -q --rx 1250M --rtt 10 --ssh-config '{base}/ssh.conf' -S -F -S '{base}/ssh.conf' -S -p -S {port} \
             '{sent}' '{host}:{dst}/'",
    needs: &["qcp", "ssh", "ssh-keygen", SSHD],
    ..SCP
};

/// Not for a single file, which with `-r` would arrive as `sent/sent`.
pub const QCP_TREE: Contestant = Contestant {
    client: "exec qcp -q -r --rx 1250M --rtt 10 --ssh-config '{base}/ssh.conf' -S -F -S '{base}/ssh.conf' -S -p -S {port} \
             '{sent}' '{host}:{dst}/'",
    ..QCP
};

/// It hashes all that it will send before it prints the ticket that the receiver needs, so the wait for that
/// is part of the time. The ticket has addresses only, as relays and names are on the internet.
pub const SENDME: Contestant = Contestant {
    name: "sendme",
    server: Some(
        "cd '{base}' && rm -rf .sendme-send-* && exec sendme send --no-progress --relay disabled --ticket-type addresses \
         --magic-ipv4-addr {host}:{port} '{sent}' > ticket 2>/dev/null",
    ),
    client: "cd '{dst}'; tries=0; until ticket=$(sed -n 's/^sendme receive //p' ../ticket); [ \"$ticket\" ]; do \
             tries=$((tries + 1)); [ $tries -lt 30000 ] || exit 1; sleep 0.01; done; \
             exec sendme receive --no-progress --relay disabled \"$ticket\" 2>/dev/null",
    sends: false,
    encrypts: "yes",
    verifies: "BLAKE3",
    needs: &["sendme"],
    ..BASE
};

/// The sender is its own relay. After its documentation; not run.
pub const CROC: Contestant = Contestant {
    name: "croc",
    server: Some(
        "CROC_SECRET=7269-lanx-bench exec croc --local --ignore-stdin --no-compress send --port {port} '{sent}' 2>/dev/null",
    ),
    client: "CROC_SECRET=7269-lanx-bench exec croc --yes --overwrite --ip {host}:{port} --out '{dst}' 2>/dev/null",
    sends: false,
    encrypts: "yes",
    verifies: "xxhash",
    needs: &["croc"],
    ..BASE
};

/// As it compresses by itself.
pub const CROC_C: Contestant = Contestant {
    name: "croc, compressing",
    server: Some(
        "CROC_SECRET=7269-lanx-bench exec croc --local --ignore-stdin send --port {port} '{sent}' 2>/dev/null",
    ),
    ..CROC
};
