//! Who takes part: how each is started at both ends, and what it does for its time.

use std::path::{Path, PathBuf};

use crate::site::Site;

/// What is sent.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Workload {
    /// One large file.
    Large,
    /// The same, of which 90 % are there.
    Resume,
    /// 10,000 files of 16 KiB in 100 folders.
    Tree,
    /// One file of 1 KiB.
    Tiny,
}

impl Workload {
    pub const ALL: [Workload; 4] = [Workload::Large, Workload::Resume, Workload::Tree, Workload::Tiny];

    pub fn name(self) -> &'static str {
        match self {
            Workload::Large => "large",
            Workload::Resume => "resume",
            Workload::Tree => "tree",
            Workload::Tiny => "tiny",
        }
    }
}

/// A program and how it is used. In its commands, which a shell runs, `{sent}` is what is sent, `{source}` the folder that is
/// in, `{dst}` where it goes, `{base}` the folder of all that, `{host}` and `{port}` where the server listens, `{self}` this
/// benchmark, `{mib}` the size.
#[derive(Clone)]
pub struct Contestant {
    pub name: &'static str,
    /// Started first and stopped last; `None` for what needs none.
    server: Option<&'static str>,
    client: &'static str,
    /// Whether the run is over when the server ends by itself, rather than the client.
    pub server_ends: bool,
    /// Whether what is sent is at the client; otherwise the client fetches it.
    pub sends: bool,
    pub encrypts: &'static str,
    pub verifies: &'static str,
    pub moves_files: bool,
    /// The name under which the first 90 % are there.
    pub resumes: Option<&'static str>,
    /// Programs without which it cannot take part.
    needs: &'static [&'static str],
}

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

const LANX: Contestant = Contestant {
    name: "lanx",
    server: Some("exec '{lanx}' -q recv --listen '{host}:{port}' '{dst}'"),
    client: "exec '{lanx}' -q send '{sent}' '{host}:{port}'",
    encrypts: "yes",
    verifies: "BLAKE3",
    ..BASE
};

const LANX_OTHER: Contestant = Contestant {
    name: "lanx (other)",
    server: Some("exec \"$BENCH_LANX\" -q recv --listen '{host}:{port}' '{dst}'"),
    client: "exec \"$BENCH_LANX\" -q send '{sent}' '{host}:{port}'",
    ..LANX
};

const RSYNCD: Contestant = Contestant {
    name: "rsync daemon",
    server: Some(
        "exec rsync --daemon --no-detach --port={port} --address={host} --config='{base}/rsyncd.conf'",
    ),
    client: "exec rsync -a '{sent}' 'rsync://{host}:{port}/all/{dst_name}/'",
    verifies: "xxh128",
    needs: &["rsync"],
    ..BASE
};

const SCP: Contestant = Contestant {
    name: "scp",
    server: Some(
        "exec $(command -v sshd || echo /usr/sbin/sshd) -D -e -f '{base}/sshd.conf' -p {port} 2>/dev/null",
    ),
    client: "exec scp -q -r -P {port} -F none -i '{base}/key' -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null \
             -o LogLevel=ERROR '{sent}' '{host}:{dst_escaped}/'",
    encrypts: "yes",
    needs: &["scp", "ssh-keygen", "/usr/sbin/sshd"],
    ..BASE
};

const GRIDFTP: Contestant = Contestant {
    name: "GridFTP, 4 streams",
    server: Some(
        "GLOBUS_HOSTNAME=localhost exec globus-gridftp-server -aa -allow-root -anonymous-user $(id -un) -p {port} -control-interface {host} -data-interface {host}",
    ),
    client: "GLOBUS_HOSTNAME=localhost exec globus-url-copy -p 4 -fast 'file://{sent}' 'ftp://{host}:{port}{dst_url}/sent'",
    needs: &["globus-gridftp-server", "globus-url-copy"],
    ..BASE
};

const NC: Contestant = Contestant {
    name: "nc",
    server: Some("exec nc -l -N {host} {port} > '{dst}/sent'"),
    client: "exec nc -N {host} {port} < '{sent}'",
    server_ends: true,
    needs: &["nc"],
    ..BASE
};

const SOCAT: Contestant = Contestant {
    name: "socat",
    server: Some("exec socat -u -b262144 TCP-LISTEN:{port},bind={host},reuseaddr CREATE:'{dst}/sent'"),
    client: "exec socat -u -b262144 OPEN:'{sent}' TCP:{host}:{port}",
    server_ends: true,
    needs: &["socat"],
    ..BASE
};

const ARIA2: Contestant = Contestant {
    name: "aria2, 8 ranges, from nginx",
    server: Some(
        "sed -i 's/listen [^;]*;/listen {host}:{port};/' '{base}/nginx.conf'; exec nginx -c '{base}/nginx.conf' 2>/dev/null",
    ),
    client: "exec aria2c -q -x8 -s8 -k1M --file-allocation=none -d '{dst}' http://{host}:{port}/sent",
    sends: false,
    needs: &["aria2c", "/usr/sbin/nginx"],
    ..BASE
};

/// What cannot be beaten, or only by doing less.
const CP: Contestant = Contestant { name: "cp", client: "exec cp -r '{sent}' '{dst}/'", ..BASE };

const IPERF3: Contestant = Contestant {
    name: "iperf3, 4 streams, no files",
    server: Some("exec iperf3 -s -1 -B {host} -p {port} >/dev/null"),
    client: "exec iperf3 -c {host} -p {port} -P 4 -n {mib}M >/dev/null",
    moves_files: false,
    needs: &["iperf3"],
    ..BASE
};

const PARTS: Contestant = Contestant {
    name: "sum of parts",
    server: Some("exec '{self}' --parts-receive {host}:{port} '{dst}/sent'"),
    client: "exec '{self}' --parts-send {host}:{port} '{sent}'",
    server_ends: true,
    encrypts: "yes",
    verifies: "no",
    ..BASE
};

fn all(workload: Workload) -> Vec<Contestant> {
    let mbuffer = Contestant {
        name: "mbuffer",
        server: Some("exec mbuffer -q -I {host}:{port} -o '{dst}/sent' 2>/dev/null"),
        client: "exec mbuffer -q -i '{sent}' -O {host}:{port} 2>/dev/null",
        needs: &["mbuffer"],
        ..NC
    };
    let wdt = Contestant {
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
    let tar = |name, server, client, needs| Contestant {
        name,
        server: Some(server),
        client,
        server_ends: true,
        needs,
        ..BASE
    };
    match workload {
        Workload::Large => {
            vec![LANX, LANX_OTHER, CP, IPERF3, PARTS, mbuffer, SOCAT, GRIDFTP, wdt, NC, RSYNCD, ARIA2, SCP]
        }
        Workload::Resume => vec![
            Contestant { name: "lanx, nothing there", ..LANX },
            Contestant { name: "lanx", resumes: Some(".sent.lanx-part"), ..LANX },
            Contestant {
                name: "rsync daemon, in place",
                client: "exec rsync -a --inplace --no-whole-file '{sent}' 'rsync://{host}:{port}/all/{dst_name}/'",
                resumes: Some("sent"),
                ..RSYNCD
            },
        ],
        Workload::Tree => vec![
            LANX,
            LANX_OTHER,
            CP,
            tar(
                "tar | nc",
                "nc -l -N {host} {port} | tar xf - -C '{dst}'",
                "tar cf - -C '{source}' sent | nc -N {host} {port}",
                &["tar", "nc"],
            ),
            tar(
                "tar | socat",
                "socat -u -b262144 TCP-LISTEN:{port},bind={host},reuseaddr - | tar xf - -C '{dst}'",
                "tar cf - -C '{source}' sent | socat -u -b262144 - TCP:{host}:{port}",
                &["tar", "socat"],
            ),
            wdt,
            RSYNCD,
            Contestant {
                client: "GLOBUS_HOSTNAME=localhost exec globus-url-copy -cd -r -cc 4 -fast 'file://{sent}/' 'ftp://{host}:{port}{dst_url}/sent/'",
                ..GRIDFTP
            },
            SCP,
        ],
        Workload::Tiny => vec![LANX, LANX_OTHER, CP, NC, SOCAT, GRIDFTP, wdt, RSYNCD, SCP],
    }
}

/// Those that can take part here, of those whose names are in `only`.
pub fn found(workload: Workload, only: &str) -> Vec<Contestant> {
    let wanted = |name: &str| only.is_empty() || only.split(',').any(|one| name.starts_with(one.trim()));
    let mut found = all(workload);
    found.retain(|contestant| {
        let ours = contestant.name.starts_with("lanx");
        let other = contestant.name == LANX_OTHER.name;
        (ours && !other
            || other && std::env::var_os("BENCH_LANX").is_some()
            || !ours && wanted(contestant.name))
            && contestant.needs.iter().all(|program| is_there(program))
    });
    found
}

fn is_there(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    Path::new(program).is_absolute() && Path::new(program).exists()
        || std::env::split_paths(&path).any(|dir| dir.join(program).exists())
}

impl Contestant {
    pub fn server(&self, site: &Site) -> Option<String> {
        let runner = if self.sends { "BENCH_RECEIVER" } else { "BENCH_SENDER" };
        self.server.map(|text| filled(text, runner, site))
    }

    pub fn client(&self, site: &Site) -> String {
        filled(self.client, if self.sends { "BENCH_SENDER" } else { "BENCH_RECEIVER" }, site)
    }

    /// What must be there before the server can start.
    pub fn prepare(&self, site: &Site) {
        if self.name == SCP.name && !site.path("sshd.conf").exists() {
            let made =
                std::process::Command::new("sh").arg("-c").arg(filled(SSHD, "", site)).status().unwrap();
            assert!(made.success(), "keys for scp can be made");
        }
    }
}

const SSHD: &str = "ssh-keygen -q -t ed25519 -N '' -f '{base}/key' && ssh-keygen -q -t ed25519 -N '' -f '{base}/host' && \
     printf 'HostKey {base}/host\\nAuthorizedKeysFile {base}/key.pub\\nStrictModes no\\nPidFile none\\n\
     PermitRootLogin yes\\nUsePAM no\\nSubsystem sftp internal-sftp\\n' > '{base}/sshd.conf'; mkdir -p /run/sshd 2>/dev/null; true";

/// The command with everything put in, run by what the user says runs commands on that host.
fn filled(text: &str, runner: &str, site: &Site) -> String {
    let lanx = PathBuf::from(env!("CARGO_BIN_EXE_lanx"));
    let this = std::env::current_exe().unwrap();
    let text_of = |path: &Path| path.display().to_string();
    let destination = text_of(&site.destination);
    let source = site.path("source");
    let values = [
        ("{lanx}", text_of(&lanx)),
        ("{self}", text_of(&this)),
        ("{sent}", text_of(&site.sent())),
        ("{source}", text_of(&source)),
        ("{base}", text_of(source.parent().unwrap())),
        ("{dst_name}", site.destination.file_name().unwrap_or_default().to_string_lossy().into_owned()),
        ("{dst_escaped}", destination.replace(' ', "\\ ")),
        ("{dst_url}", destination.replace(' ', "%20")),
        ("{dst}", destination),
        ("{host}", crate::setting("BENCH_HOST", "127.0.0.1")),
        ("{port}", site.port.to_string()),
        ("{mib}", (site.bytes >> 20).to_string()),
    ];
    let text = values.iter().fold(text.to_owned(), |text, (name, value)| text.replace(name, value));
    match std::env::var(runner) {
        Ok(runner) if !runner.is_empty() => format!("{runner} sh -c \"$(cat <<'END'\n{text}\nEND\n)\""),
        _ => text,
    }
}
