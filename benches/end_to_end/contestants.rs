//! Who takes part: how each is started at both ends, and what it does for its time.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::programs::*;
use crate::setting;
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
    /// Sources of the crates that lanx is built from, as many as there are or as the large file has bytes.
    Source,
    /// One file of so many bytes that is the log of a web server, made up.
    Log,
}

impl Workload {
    pub const ALL: [Workload; 6] =
        [Workload::Large, Workload::Resume, Workload::Tree, Workload::Tiny, Workload::Source, Workload::Log];

    pub fn name(self) -> &'static str {
        match self {
            Workload::Large => "large",
            Workload::Resume => "resume",
            Workload::Tree => "tree",
            Workload::Tiny => "tiny",
            Workload::Source => "source",
            Workload::Log => "log",
        }
    }
}

/// A program and how it is used. In its commands, which a shell runs, `{sent}` is what is sent, `{source}`
/// the folder that is in, `{dst}` where it goes and `{dst_name}` the last part of that, `{base}` the folder
/// of all that, `{host}` and `{port}` where the server listens, `{peer}` the client's address, `{self}` this
/// benchmark, `{mib}` the size.
#[derive(Clone)]
pub struct Contestant {
    pub name: &'static str,
    /// Started first and stopped last; `None` for what needs none.
    pub server: Option<&'static str>,
    pub client: &'static str,
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
    pub needs: &'static [&'static str],
}

fn all(workload: Workload) -> Vec<Contestant> {
    match workload {
        Workload::Large => {
            vec![
                LANX, LANX_PLAIN, LANX_QUIC, LANX_OTHER, CP, IPERF3, PARTS, MBUFFER, SOCAT, GRIDFTP, WDT, NC,
                RSYNCD, ARIA2, QCP, SCP, MSCP, SENDME, CROC,
            ]
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
            LANX_PLAIN,
            LANX_OTHER,
            CP,
            TAR_NC,
            TAR_SOCAT,
            WDT,
            RSYNCD,
            GRIDFTP_TREE,
            QCP_TREE,
            SCP,
            MSCP,
            SENDME,
            CROC,
        ],
        Workload::Source => {
            vec![
                LANX,
                LANX_ZSTD,
                LANX_PLAIN,
                LANX_OTHER,
                TAR_ZSTD_NC,
                TAR_NC,
                RSYNCD_ZSTD,
                RSYNCD,
                SCP_C,
                CROC_C,
            ]
        }
        Workload::Log => {
            vec![LANX, LANX_ZSTD, LANX_PLAIN, LANX_OTHER, ZSTD_NC, NC, RSYNCD_ZSTD, RSYNCD, SCP_C, CROC_C]
        }
        Workload::Tiny => {
            vec![
                LANX, LANX_QUIC, LANX_OTHER, CP, NC, SOCAT, GRIDFTP, WDT, RSYNCD, QCP, SCP, MSCP, SENDME,
                CROC,
            ]
        }
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

/// One of the two hosts.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Host {
    Sender,
    Receiver,
}

impl Host {
    /// What the user says runs commands there; empty where that is here.
    pub fn runner(self) -> String {
        match self {
            Host::Sender => setting("BENCH_SENDER", ""),
            Host::Receiver => setting("BENCH_RECEIVER", ""),
        }
    }

    /// As the other one sees it.
    fn address(self) -> String {
        match self {
            Host::Sender => setting("BENCH_SENDER_HOST", "127.0.0.1"),
            Host::Receiver => setting("BENCH_HOST", "127.0.0.1"),
        }
    }
}

impl Contestant {
    pub fn server_host(&self) -> Host {
        if self.sends { Host::Receiver } else { Host::Sender }
    }

    fn client_host(&self) -> Host {
        if self.sends { Host::Sender } else { Host::Receiver }
    }

    pub fn server_command(&self, site: &Site) -> Option<String> {
        self.server.map(|text| on(self.server_host(), &self.filled(text, site)))
    }

    pub fn client_command(&self, site: &Site) -> String {
        on(self.client_host(), &self.filled(self.client, site))
    }

    /// What must be there before the server can start.
    pub fn prepare(&self, site: &Site) {
        if self.needs.contains(&SSHD) && !site.path("sshd.conf").exists() {
            let made = Command::new("sh").arg("-c").arg(self.filled(SSH_SETUP, site)).status().unwrap();
            assert!(made.success(), "keys for ssh can be made");
        }
    }

    /// The command with everything put in.
    fn filled(&self, text: &str, site: &Site) -> String {
        let lanx = PathBuf::from(env!("CARGO_BIN_EXE_lanx"));
        let this = std::env::current_exe().unwrap();
        let text_of = |path: &Path| path.display().to_string();
        let source = site.path("source");
        let values = [
            ("{lanx}", text_of(&lanx)),
            ("{self}", text_of(&this)),
            ("{sent}", text_of(&site.sent())),
            ("{source}", text_of(&source)),
            ("{base}", text_of(source.parent().unwrap())),
            ("{dst_name}", site.destination.file_name().unwrap_or_default().to_string_lossy().into_owned()),
            ("{dst}", text_of(&site.destination)),
            ("{host}", self.server_host().address()),
            ("{peer}", self.client_host().address()),
            ("{port}", site.port.to_string()),
            ("{mib}", (site.bytes >> 20).to_string()),
        ];
        values.iter().fold(text.to_owned(), |text, (name, value)| text.replace(name, value))
    }
}

/// The command as that host's runner runs it.
fn on(host: Host, command: &str) -> String {
    match host.runner() {
        runner if runner.is_empty() => command.into(),
        runner => format!("exec {runner} sh -c \"$(cat <<'END'\n{command}\nEND\n)\""),
    }
}
