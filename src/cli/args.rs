//! The command line.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Parser, Subcommand, value_parser};

use super::exit;
use super::units::rate_from;
use crate::limits::{
    CONNECTIONS_MAX, LIMIT_MIN, RETRY_FOR, SILENCE_TIMEOUT, SILENCE_TIMEOUT_MIN, TRANSFERS_DEFAULT,
    TRANSFERS_MAX,
};

/// Moves files between machines on a local network, and proves that they arrived.
///
/// On the machine that gets the files: `lanx recv DIR`. On the other: `lanx send FILE HOST`, where HOST is an address
/// that recv shows.
#[derive(Parser, Debug)]
#[command(name = "lanx", version, after_help = exit::HELP, arg_required_else_help = true)]
pub struct Args {
    /// Print nothing but errors; with --json not even those, where they are events.
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
    /// Say more; twice for much more. RUST_LOG chooses in detail.
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub verbose: u8,
    #[command(subcommand)]
    pub command: Command,
}

impl Args {
    pub fn verbosity(&self) -> u8 {
        self.verbose
    }

    /// Whether stdout is for the bytes of a file.
    pub fn bytes(&self) -> bool {
        matches!(&self.command, Command::Recv(recv) if recv.to_stdout())
    }

    /// Whether stdout is for a script.
    pub fn json(&self) -> bool {
        match &self.command {
            Command::Send(send) => send.json,
            Command::Recv(recv) => recv.json,
            Command::Doctor(doctor) => doctor.json,
            Command::Trust(_) => false,
        }
    }
}

impl RecvArgs {
    /// How many transfers are served at once.
    pub fn transfers(&self) -> u16 {
        self.max_transfers.unwrap_or(TRANSFERS_DEFAULT)
    }

    /// Whether the file goes to stdout. A folder of that name is `./-`.
    pub fn to_stdout(&self) -> bool {
        self.dir.as_os_str() == "-"
    }

    /// What is given besides and makes no sense with stdout.
    pub fn against_stdout(&self) -> Option<&'static str> {
        let given = [
            (self.clean, "--clean"),
            (self.overwrite, "--overwrite"),
            (self.rename, "--rename"),
            (self.delta, "--delta"),
            (self.max_transfers.is_some(), "--max-transfers"),
            (self.sync, "--sync"),
            (self.verify == Verify::Reread, "--verify=reread"),
            (self.direct, "--direct"),
            (self.json, "--json"),
        ];
        given.iter().find(|(given, _)| *given).map(|(_, flag)| *flag)
    }
}

impl SendArgs {
    /// What is given besides and makes no sense with standard input.
    pub fn against_stdin(&self) -> Option<&'static str> {
        let given = [
            (self.what.dry_run, "--dry-run"),
            (self.what.archive, "--archive"),
            (self.what.follow, "--follow"),
            (!self.what.exclude.is_empty(), "--exclude"),
            (!self.what.exclude_from.is_empty(), "--exclude-from"),
            (self.delta, "--delta"),
            (self.direct, "--direct"),
        ];
        given.iter().find(|(given, _)| *given).map(|(_, flag)| *flag)
    }
}

/// Whether a command line that could not be understood asks for events.
pub fn want_json(args: impl Iterator<Item = OsString>) -> bool {
    args.take_while(|arg| arg != "--").any(|arg| arg == "--json")
}

/// What is wrong with a command line, as one line.
pub fn complaint(error: &clap::Error) -> String {
    let text = error.render().to_string();
    // The usage follows behind an empty line.
    let lines = text.lines().take_while(|line| !line.is_empty()).map(str::trim);
    let line = lines.collect::<Vec<_>>().join(" ");
    line.strip_prefix("error: ").unwrap_or(&line).into()
}

#[derive(Subcommand, Debug)]
pub enum Command {
    Send(SendArgs),
    Recv(RecvArgs),
    Doctor(DoctorArgs),
    Trust(TrustArgs),
}

/// Send files and folders to a machine that runs `lanx recv`.
#[derive(clap::Args, Debug)]
#[command(
    override_usage = "lanx send [OPTIONS] PATH... HOST[:PORT]\n       lanx send [OPTIONS] PATH... --to HOST[:PORT]...",
    after_help = SEND_EXAMPLES
)]
pub struct SendArgs {
    /// The files and folders to send, and last the machine to send them to: a name, an IPv4 or an IPv6 address. A folder
    /// with a / behind it stands for what is in it, and - alone for standard input (with --name).
    #[arg(required = true, num_args = 1.., value_name = "PATH")]
    pub paths_and_host: Vec<OsString>,
    /// Send to this machine. May be given several times: files are then read once for all of them. All other arguments are
    /// files and folders.
    #[arg(long, value_name = "HOST[:PORT]")]
    pub to: Vec<OsString>,
    /// Have so many data connections, 1 to 16. Without it there are few at first, and more for as long as they make it faster.
    #[arg(short, long, value_name = "N", value_parser = value_parser!(u8).range(1..=i64::from(CONNECTIONS_MAX)))]
    pub connections: Option<u8>,
    /// Without --connections: have at most so many [default: 8].
    #[arg(long, value_name = "N", conflicts_with = "connections",
        value_parser = value_parser!(u8).range(1..=i64::from(CONNECTIONS_MAX)))]
    pub max_connections: Option<u8>,
    /// The name that standard input gets at the receiver.
    #[arg(long, value_name = "NAME")]
    pub name: Option<OsString>,
    #[command(flatten)]
    pub what: WhatArgs,
    /// Send at most so much a second, all connections to all receivers together: bytes as in 50M (10^6) or 50Mi (2^20), bits as in 400mbit.
    #[arg(long, value_name = "RATE", value_parser = rate)]
    pub limit: Option<u64>,
    /// Of a file that differs from one that the receiver has and may replace, send only the chunks that differ.
    #[arg(long)]
    pub delta: bool,
    /// Read large files past the page cache (O_DIRECT): for files much larger than memory, and disks faster than the cache.
    #[arg(long)]
    pub direct: bool,
    /// Read the receiver's code from the first line of FILE. Otherwise from LANX_CODE, or asked for in a terminal.
    #[arg(long, value_name = "FILE")]
    pub code_file: Option<PathBuf>,
    /// Print one JSON object a line, for scripts; docs/json.md tells what they say.
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub patience: PatienceArgs,
}

/// What of the named files and folders is sent.
#[derive(clap::Args, Debug)]
pub struct WhatArgs {
    /// Take owners, extended attributes and hard links along. The receiver sets owners only as root.
    #[arg(short, long)]
    pub archive: bool,
    /// Send what symbolic links point to. Without it links in folders arrive as links.
    #[arg(short = 'L', long)]
    pub follow: bool,
    /// Leave out what fits GLOB, a pattern as in .gitignore, seen from each named folder. May be given several times.
    #[arg(long, value_name = "GLOB")]
    pub exclude: Vec<String>,
    /// Leave out what fits the patterns in FILE, which is written like .gitignore. May be given several times.
    #[arg(long, value_name = "FILE")]
    pub exclude_from: Vec<PathBuf>,
    /// Ask the receiver what it would take, and send nothing.
    #[arg(short = 'n', long)]
    pub dry_run: bool,
}

fn rate(text: &str) -> Result<u64, String> {
    match rate_from(text) {
        Some(rate) if rate >= LIMIT_MIN => Ok(rate),
        Some(_) => Err(format!("at least {LIMIT_MIN} bytes a second are needed to be noticed as alive")),
        None => Err("a number and a unit were expected, as in 50M, 1.5Gi or 400mbit".into()),
    }
}

/// How long to wait for the other side.
#[derive(clap::Args, Debug)]
pub struct PatienceArgs {
    /// Give up a peer that has said nothing for so many seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = SILENCE_TIMEOUT.as_secs(),
        value_parser = value_parser!(u64).range(SILENCE_TIMEOUT_MIN.as_secs()..=86_400))]
    timeout: u64,
    /// After a lost connection look for the peer again for so many seconds; 0 never.
    #[arg(long, value_name = "SECONDS", default_value_t = RETRY_FOR.as_secs(),
        value_parser = value_parser!(u64).range(0..=86_400 * 365))]
    retry_for: u64,
}

impl PatienceArgs {
    pub fn timeout(&self) -> Duration {
        Duration::from_secs(self.timeout)
    }

    pub fn retry_for(&self) -> Duration {
        Duration::from_secs(self.retry_for)
    }
}

const SEND_EXAMPLES: &str = "\
Examples:
  lanx send disk.img 192.168.1.20
  lanx send a.iso b.iso nas:9000
  lanx send notes.txt fe80::1%eth0
  lanx send photos --to nas --to attic
  lanx send photos nas              photos/... arrive as photos/...
  lanx send photos/ nas             what is in photos arrives, without a folder of that name
  lanx send --archive --exclude '*.o' --exclude target/ project nas
  pg_dump shop | lanx send - nas --name shop.sql
  lanx send --json notes.txt nas | while read -r event; do ...; done
";

/// Receive files into a folder, until Ctrl-C.
#[derive(clap::Args, Debug)]
#[command(after_help = RECV_EXAMPLES)]
pub struct RecvArgs {
    /// Where files arrive; made if only its last part is missing. With - one file is written to standard output, and that is
    /// all.
    #[arg(default_value = ".")]
    pub dir: PathBuf,
    /// Where to listen; port 0 picks a free one [default: [::]:7269, which takes IPv4 as well].
    #[arg(long, value_name = "ADDR:PORT")]
    pub listen: Option<SocketAddr>,
    /// End after the first transfer, with its result as exit code.
    #[arg(long)]
    pub once: bool,
    /// Serve so many transfers at once, 1 to 240; further senders wait for their turn [default: 128].
    #[arg(long, value_name = "N", value_parser = value_parser!(u16).range(1..=i64::from(TRANSFERS_MAX)))]
    pub max_transfers: Option<u16>,
    /// Replace existing files that differ. Without it they are left alone and the new ones refused.
    #[arg(long, conflicts_with = "rename")]
    pub overwrite: bool,
    /// Keep existing files that differ, and store the new ones as 'name (1).ext'.
    #[arg(long)]
    pub rename: bool,
    /// Replace existing files that differ (or keep both, with --rename) and have only the chunks that differ sent: the new file
    /// begins as a copy of the old one, which stays until the new one is verified.
    #[arg(long)]
    pub delta: bool,
    /// Answer only when data and names are on the device, so that they survive a power cut.
    #[arg(long)]
    pub sync: bool,
    /// Check each file as it arrives, or also as it is read back from the device.
    #[arg(long, value_name = "HOW", value_enum, default_value_t = Verify::Arrival)]
    pub verify: Verify,
    /// Write large files past the page cache (O_DIRECT): for files much larger than memory, and disks faster than the cache.
    #[arg(long)]
    pub direct: bool,
    /// List the part files of interrupted transfers in DIR and remove those that are not in use.
    #[arg(long, conflicts_with_all = ["once", "listen", "max_transfers", "open", "sync", "direct", "json"])]
    pub clean: bool,
    /// Let in machines that know the code in the first line of FILE: any text of 8 characters or more. Otherwise that of
    /// LANX_CODE, or in a terminal one made up for this run.
    #[arg(long, value_name = "FILE")]
    pub code_file: Option<PathBuf>,
    /// Let everybody in who can reach this port. For networks where nobody else is.
    #[arg(long)]
    pub open: bool,
    /// Print one JSON object a line, for scripts; docs/json.md tells what they say. The first tells the port.
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub patience: PatienceArgs,
}

/// When a file is checked.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verify {
    /// As it arrives
    Arrival,
    /// As it arrives, and once more as it is read back from the device
    Reread,
}

const RECV_EXAMPLES: &str = "\
Examples:
  lanx recv ~/Downloads
  lanx recv --once --listen 127.0.0.1:0 /srv/in
  lanx recv --once --json --listen '[::]:0' /srv/in
  lanx recv - | tar x
";

/// Measure disk, hashing, sealing and, with HOST, the network; tell what a transfer can reach, and what would help.
#[derive(clap::Args, Debug)]
#[command(after_help = DOCTOR_EXAMPLES)]
pub struct DoctorArgs {
    /// A machine that runs `lanx recv`. Nothing is stored there.
    #[arg(value_name = "HOST[:PORT]")]
    pub host: Option<OsString>,
    /// The folder whose disk is measured, with a file of at most 512 MiB that is gone at once.
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub dir: PathBuf,
    /// Read the receiver's code from the first line of FILE. Otherwise from LANX_CODE, or asked for in a terminal.
    #[arg(long, value_name = "FILE")]
    pub code_file: Option<PathBuf>,
    /// Print one JSON object a line, for scripts; docs/json.md tells what they say.
    #[arg(long)]
    pub json: bool,
    /// Give up a HOST that has said nothing for so many seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = SILENCE_TIMEOUT.as_secs(),
        value_parser = value_parser!(u64).range(SILENCE_TIMEOUT_MIN.as_secs()..=86_400))]
    pub timeout: u64,
}

const DOCTOR_EXAMPLES: &str = "\
Examples:
  lanx doctor
  lanx doctor 192.168.1.20
  lanx doctor --dir /srv/in --json nas:9000
";

/// List the machines that this one knows, or change the list.
#[derive(clap::Args, Debug)]
#[command(after_help = TRUST_EXAMPLES)]
pub struct TrustArgs {
    #[command(subcommand)]
    pub action: Option<TrustAction>,
}

#[derive(Subcommand, Debug)]
pub enum TrustAction {
    /// Give a paired machine a name.
    Name {
        /// Its name until now, or its key, or the beginning of that.
        machine: String,
        name: String,
    },
    /// Forget a paired machine, or the key of a host.
    Remove {
        /// A paired machine's name or key, or a host as `HOST[:PORT]`.
        machine: String,
    },
}

const TRUST_EXAMPLES: &str = "\
Examples:
  lanx trust
  lanx trust name SHA256:8fJq2m workstation
  lanx trust remove nas:7269
";
