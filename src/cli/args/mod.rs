//! The command line.

pub mod complaint;
pub mod dash;
pub mod examples;
pub mod values;

use std::ffi::OsString;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Arg, ArgAction, CommandFactory, Parser, Subcommand, ValueHint};

use super::cache::CacheArgs;
use super::config::{ConfigArgs, with_negations};
use super::dataset::manifest::ManifestArgs;
use super::dataset::verify::VerifyArgs;
use super::doctor::DoctorArgs;
use super::get::GetArgs;
use super::help;
use super::help::{CompletionsArgs, HelpArgs, ManArgs};
use super::list::ListArgs;
use super::recv::reload::ServiceArgs;
use super::serve::ServeArgs;
use super::trust::TrustArgs;
use crate::limits::{
    CONNECTIONS_MAX, HELP_COLUMNS, LIMIT_MIN, PART_AGE_MIN, PORT_DEFAULT, RETRY_FOR, SILENCE_TIMEOUT,
    SILENCE_TIMEOUT_MIN, TRANSFERS_DEFAULT, TRANSFERS_MAX,
};
use crate::name::RelativePath;
use crate::net::Door;
use crate::session::receiver::room::MinFree;
use crate::session::sender::compress::Compress;
use crate::units::{age_from, rate_from};
use values::{compress, listen_at, min_free, number, seconds, size, span, subfolder};

/// Moves files between machines on a local network, and proves that they arrived.
///
/// Run `lanx recv DIR` on the machine that gets the files. On the other run `lanx send FILE`, which lists the receivers
/// on this network to pick from, or `lanx send FILE HOST`, with the name or an address that recv shows.
#[derive(Parser, Debug)]
#[command(
    name = "lanx",
    version,
    max_term_width = HELP_COLUMNS,
    disable_help_subcommand = true,
    disable_help_flag = true,
    disable_version_flag = true,
    after_help = examples::LANX,
    arg_required_else_help = true
)]
pub struct Args {
    /// Print nothing but errors
    ///
    /// With --json, errors that are events are left out too. recv still shows the code it made up and the warning
    /// of --open.
    #[arg(short, long, global = true, conflicts_with = "verbose", help_heading = OUTPUT)]
    pub quiet: bool,
    /// Print more; -vv for much more
    ///
    /// RUST_LOG sets the level for each part of the program.
    #[arg(short, long, global = true, action = ArgAction::Count, help_heading = OUTPUT)]
    pub verbose: u8,
    #[command(subcommand)]
    pub command: Command,
}

/// The parser of the command line.
pub fn command() -> clap::Command {
    with_negations(plain_command())
}

/// The same without the options that take others back, which nobody is shown.
pub fn plain_command() -> clap::Command {
    let help = Arg::new("help").short('h').long("help").action(ArgAction::Help).global(true);
    let help = help.help("Print help: -h in brief, --help in full");
    let version =
        Arg::new("version").short('V').long("version").action(ArgAction::Version).help("Print the version");
    let last = |arg: Arg| arg.help_heading(OUTPUT).display_order(usize::MAX);
    help::with_topics(Args::command())
        .version(version_line())
        .after_long_help(format!("{}\n\n{}", examples::LANX, help::exit_list()))
        .args([help, version].map(last))
}

/// The version, what it was built from and for, and what it speaks.
fn version_line() -> String {
    let (version, commit, target) = (env!("CARGO_PKG_VERSION"), env!("LANX_COMMIT"), env!("LANX_TARGET"));
    format!("{version} (commit {commit}, protocol {}, {target})", crate::wire::VERSION)
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
            Command::Serve(serve) => serve.json,
            Command::Get(get) => get.json,
            Command::List(list) => list.json,
            Command::Doctor(doctor) => doctor.json,
            Command::Config(config) => config.json,
            Command::Manifest(_)
            | Command::Verify(_)
            | Command::Trust(_)
            | Command::Cache(_)
            | Command::Completions(_)
            | Command::Man(_)
            | Command::Help(_) => false,
        }
    }
}

impl RecvArgs {
    /// Whether the file goes to stdout. A folder of that name is `./-`.
    pub fn to_stdout(&self) -> bool {
        self.dir.as_os_str() == "-"
    }
}

// What options are grouped under in the help.
const WHAT: &str = "What to send";
pub(super) const FILES: &str = "Files";
pub(super) const DOOR: &str = "Serving";
pub(super) const SPEED: &str = "Speed";
pub(super) const TRUST: &str = "Trust";
pub(super) const PATIENCE: &str = "Waiting";
pub(super) const MEASURED: &str = "What to measure";
pub(super) const OUTPUT: &str = "Output";

#[derive(Subcommand, Debug)]
pub enum Command {
    Send(SendArgs),
    Recv(RecvArgs),
    Serve(ServeArgs),
    Get(GetArgs),
    List(ListArgs),
    Manifest(ManifestArgs),
    Verify(VerifyArgs),
    Doctor(DoctorArgs),
    Trust(TrustArgs),
    Cache(CacheArgs),
    Config(ConfigArgs),
    Completions(CompletionsArgs),
    Man(ManArgs),
    Help(HelpArgs),
}

/// Send files and folders to a machine that runs `lanx recv`.
#[derive(clap::Args, Debug)]
#[command(
    override_usage = "lanx send [OPTIONS] PATH...\n       lanx send [OPTIONS] PATH... HOST[:PORT]\n       lanx send [OPTIONS] PATH... --to HOST[:PORT]...\n       lanx send [OPTIONS] HOST[:PORT] --name NAME -- COMMAND [ARGUMENT]...",
    after_help = examples::SEND
)]
pub struct SendArgs {
    /// Files and folders to send, then the machine to send them to
    ///
    /// The machine is the name that `lanx recv` shows, a host name, or an IPv4 or IPv6 address. Leave it out to pick one
    /// of the receivers on this network. A folder with a trailing / means what is in it. A lone - means standard input
    /// (give it a name with --name).
    #[arg(required_unless_present = "command", num_args = 1.., value_name = "PATH", value_hint = ValueHint::AnyPath)]
    pub paths_and_host: Vec<OsString>,
    /// A command whose output is sent
    ///
    /// It stands behind `--`, and what it writes becomes the file that --name names. No shell reads it, and nothing gets the name unless the command ends with exit code 0. For a pipeline of several:
    /// bash -o pipefail -c 'pg_dump shop | zstd'. Without --name these are more paths.
    #[arg(last = true, value_name = "COMMAND", value_hint = ValueHint::CommandWithArguments)]
    pub command: Vec<OsString>,
    /// Send to this machine; repeat it to send to several
    ///
    /// Files are read once for all of them. All other arguments are then files and folders.
    #[arg(long, value_name = "HOST[:PORT]", help_heading = WHAT, value_hint = ValueHint::Hostname)]
    pub to: Vec<OsString>,
    /// Use exactly N data connections, 1 to 16
    ///
    /// By default lanx starts with 4 and adds more for as long as they make the transfer faster.
    #[arg(short, long, value_name = "N", help_heading = SPEED, value_parser = number(1..=CONNECTIONS_MAX, ""))]
    pub connections: Option<u8>,
    /// Use at most N connections without -c
    ///
    /// By default 8, and 16 over QUIC.
    #[arg(long, value_name = "N", conflicts_with = "connections", help_heading = SPEED,
        value_parser = number(1..=CONNECTIONS_MAX, ""))]
    pub max_connections: Option<u8>,
    /// Name what arrives
    ///
    /// For one file, for standard input, or for what a command writes. Standard input needs none where the receiver is `lanx recv -`.
    #[arg(long, value_name = "NAME", help_heading = WHAT)]
    pub name: Option<OsString>,
    /// Put it into a folder in the receiver's
    ///
    /// SUBDIR is beneath the folder that the receiver receives into, as in backups/monday. It is made where it is missing, and no
    /// symbolic link on the way is followed.
    #[arg(long, value_name = "SUBDIR", value_parser = subfolder, help_heading = WHAT)]
    pub into: Option<RelativePath>,
    #[command(flatten)]
    pub what: WhatArgs,
    /// Send over QUIC, for lossy networks
    ///
    /// QUIC goes over UDP. The machine has to run `lanx recv --quic`. A transfer goes on when this machine's address changes.
    #[arg(long, help_heading = SPEED)]
    pub quic: bool,
    /// Send at most RATE a second: 50M, 400mbit
    ///
    /// The limit is shared by all connections to all receivers. 50M is 50 * 10^6 bytes, 50Mi is 50 * 2^20 bytes, and
    /// 400mbit is 400 * 10^6 bits.
    #[arg(long, value_name = "RATE", value_parser = rate, help_heading = SPEED)]
    pub limit: Option<u64>,
    /// Send only the changed parts of changed files
    ///
    /// Where the receiver has an older version of a file and may replace it, only the 256 KiB chunks that differ are sent.
    #[arg(long, help_heading = SPEED)]
    pub delta: bool,
    /// Read every file, whatever is remembered of it
    ///
    /// Both machines remember hashes of files that nobody has touched since, and then read neither of the two.
    #[arg(long, help_heading = SPEED)]
    pub checksum: bool,
    /// Compress: lz4, zstd, zstd:N or no
    ///
    /// `auto` compresses where that makes the transfer faster, and never standard input. N is a level from 1 to 12; `zstd`
    /// is zstd:3. What does not get shorter is sent as it is.
    #[arg(long, value_name = "HOW", default_value_t = Compress::Auto, value_parser = compress, help_heading = SPEED)]
    pub compress: Compress,
    /// Read large files past the page cache (O_DIRECT)
    ///
    /// For files much larger than memory, and for disks faster than the page cache.
    #[arg(long, help_heading = SPEED)]
    pub direct: bool,
    /// Read the receiver's code from the first line of FILE
    ///
    /// Without it the code comes from LANX_CODE, or is asked for on a terminal.
    #[arg(long, value_name = "FILE", help_heading = TRUST, value_hint = ValueHint::FilePath)]
    pub code_file: Option<PathBuf>,
    #[command(flatten)]
    pub patience: PatienceArgs,
    /// Write what became of each entry to FILE
    ///
    /// One JSON object per line, for `lanx manifest` and for scripts. The file is there when all entries have their outcome.
    #[arg(long, value_name = "FILE", help_heading = OUTPUT, value_hint = ValueHint::FilePath)]
    pub report: Option<PathBuf>,
    /// Print one JSON object per line, for scripts
    ///
    /// `lanx help json` describes them.
    #[arg(long, help_heading = OUTPUT)]
    pub json: bool,
}

impl SendArgs {
    /// What it is sent by.
    pub fn door(&self) -> Door {
        door(self.quic)
    }
}

/// The door, for whoever wants QUIC or does not.
pub fn door(quic: bool) -> Door {
    if quic { Door::Quic } else { Door::Tcp }
}

/// What of the named files and folders is sent.
#[derive(clap::Args, Debug)]
pub struct WhatArgs {
    /// Keep owners, extended attributes and hard links too
    ///
    /// The receiver can set owners only as root. Modes, times and symbolic links are always kept.
    #[arg(short, long, help_heading = WHAT)]
    pub archive: bool,
    /// What other programs need to send folders, which always go whole.
    #[arg(short, long, hide = true)]
    pub recursive: bool,
    /// Send what symbolic links point to
    ///
    /// By default links inside folders arrive as links.
    #[arg(short = 'L', long, help_heading = WHAT)]
    pub follow: bool,
    /// Leave out what matches GLOB, as in .gitignore
    ///
    /// Matched relative to each folder that is sent. May be repeated.
    #[arg(long, value_name = "GLOB", help_heading = WHAT)]
    pub exclude: Vec<String>,
    /// Leave out what matches the patterns in FILE
    ///
    /// FILE is written like a .gitignore. May be repeated.
    #[arg(long, value_name = "FILE", help_heading = WHAT, value_hint = ValueHint::FilePath)]
    pub exclude_from: Vec<PathBuf>,
    /// Send what FILE lists of one folder
    ///
    /// FILE has one path in each line, relative to the folder: lanx send --files-from FILE FOLDER/ HOST. The folders on the way
    /// are made; a folder in the list is made, and nothing in it is sent. A line that begins with # or ; is a comment. A lone -
    /// means standard input.
    #[arg(long, value_name = "FILE", help_heading = WHAT, value_hint = ValueHint::FilePath)]
    pub files_from: Option<PathBuf>,
    /// A NUL byte ends each path of --files-from
    ///
    /// Otherwise a line end does, and a name with one in it cannot be given. Without line ends there are no comments.
    #[arg(short = '0', long, help_heading = WHAT)]
    pub from0: bool,
    /// Leave out pipes, sockets and devices
    ///
    /// Without this each one that is met counts as skipped, and the exit code is 5.
    #[arg(long, help_heading = WHAT)]
    pub skip_special: bool,
    /// Leave out what is on other file systems
    ///
    /// Of a folder where another one is mounted nothing but the folder itself is sent. What is in /proc and /sys is left out in
    /// any case, unless it is named.
    #[arg(short = 'x', long, help_heading = WHAT)]
    pub one_file_system: bool,
    /// Show what would be sent, and send nothing
    ///
    /// The receiver is asked what it has already and what it would take.
    #[arg(short = 'n', long, help_heading = WHAT)]
    pub dry_run: bool,
}

pub fn rate(text: &str) -> Result<u64, String> {
    match rate_from(text) {
        Some(rate) if rate >= LIMIT_MIN => Ok(rate),
        Some(_) => {
            Err(format!("the lowest rate is {LIMIT_MIN} bytes a second, as a slower sender would seem dead"))
        }
        None => Err("expected a number and a unit, as in 50M, 1.5Gi or 400mbit".into()),
    }
}

/// So many bytes, or none.
pub fn size_or_zero(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let is_rate = text.ends_with("bit") || text.ends_with("/s");
    let size = if text == "0" { Some(0) } else { rate_from(text).filter(|_| !is_rate) };
    size.ok_or_else(|| "expected a number and a unit, as in 500M or 20G".into())
}

/// A time, of a second at least.
pub fn time(text: &str) -> Result<Duration, String> {
    let time = age_from(text).filter(|time| !time.is_zero());
    time.ok_or_else(|| "expected a number and a unit, as in 1d, 12h, 30m or 90s".into())
}

pub fn age(text: &str) -> Result<Duration, String> {
    match age_from(text) {
        Some(age) if age >= PART_AGE_MIN => Ok(age),
        _ => Err("expected a number and a unit, as in 7d, 12h, 30m or 90s".into()),
    }
}

/// How long to wait for the other side.
#[derive(clap::Args, Clone, Debug)]
pub struct PatienceArgs {
    /// Give up on a peer silent this long
    ///
    /// From 5 to 86400 seconds.
    #[arg(long, value_name = "SECONDS", help_heading = PATIENCE, default_value_t = SILENCE_TIMEOUT.as_secs(),
        value_parser = seconds(SILENCE_TIMEOUT_MIN.as_secs()..=86_400))]
    timeout: u64,
    /// Keep trying a lost peer for this long
    ///
    /// With 0 a lost connection ends the transfer at once.
    #[arg(long, value_name = "SECONDS", help_heading = PATIENCE, default_value_t = RETRY_FOR.as_secs(),
        value_parser = seconds(0..=86_400 * 365))]
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

/// Where a receiver listens where nobody says: the same for IPv4 alone on a machine that has no IPv6.
pub const LISTEN_DEFAULT: SocketAddr = SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), PORT_DEFAULT);

/// Without --once whoever comes back is served like anybody else.
const RECV_RETRY: &str = "With --once, wait for a lost sender";

/// Receive files into a folder, until Ctrl-C.
#[derive(clap::Args, Clone, Debug)]
#[command(after_help = examples::RECV, mut_arg("retry_for", |arg| arg.help(RECV_RETRY).long_help(RECV_RETRY)))]
pub struct RecvArgs {
    /// The folder to receive into, or - for standard output
    ///
    /// It is created if only its last part is missing. With - exactly one file is received and written to standard
    /// output.
    #[arg(default_value = ".", value_hint = ValueHint::DirPath)]
    pub dir: PathBuf,
    /// Listen at this port [default: [::]:7269]
    ///
    /// 8000 is port 8000 of all addresses, of IPv4 as well; 127.0.0.1:8000 is that of one. Port 0 picks a free one. --port is
    /// the same. Cannot be used where systemd passes the sockets.
    #[arg(short = 'p', long, alias = "port", value_name = "[ADDR:]PORT", value_parser = listen_at, help_heading = DOOR)]
    pub listen: Option<SocketAddr>,
    /// Let senders come over QUIC as well
    ///
    /// Over UDP, at the same port. Where that cannot be, senders come over TCP alone, and a line says so.
    #[arg(long, help_heading = DOOR)]
    pub quic: bool,
    /// Do not announce the receiver on this network
    ///
    /// By default `lanx send` and `lanx list` find it by mDNS, unless it listens on loopback only.
    #[arg(long, help_heading = DOOR)]
    pub no_announce: bool,
    /// Exit after the first transfer, with its exit code
    #[arg(long, help_heading = DOOR)]
    pub once: bool,
    /// Serve up to N transfers at once
    ///
    /// 1 to 240. Further senders wait for their turn.
    #[arg(long, value_name = "N", help_heading = SPEED, default_value_t = TRANSFERS_DEFAULT,
        value_parser = number(1..=TRANSFERS_MAX, ""))]
    pub max_transfers: u16,
    /// Receive at most RATE a second: 50M, 400mbit
    ///
    /// The limit is shared by all senders. RATE is written as for `lanx send --limit`.
    #[arg(long, value_name = "RATE", value_parser = rate, help_heading = SPEED)]
    pub limit: Option<u64>,
    /// Replace existing files that differ
    ///
    /// By default an existing file is left alone and the new one is refused.
    #[arg(long, conflicts_with = "rename", help_heading = FILES)]
    pub overwrite: bool,
    /// Keep both files, the new one as 'name (1).ext'
    ///
    /// If a file with the same content already has that name or another number, no further copy is stored.
    #[arg(long, help_heading = FILES)]
    pub rename: bool,
    /// Replace files, receiving only the parts that differ
    ///
    /// The new file starts as a copy of the old one, which stays until the new one is verified. Only the 256 KiB chunks
    /// that differ are sent. With --rename both are kept.
    #[arg(long, help_heading = FILES)]
    pub delta: bool,
    /// Refuse to receive where nothing is mounted at DIR
    ///
    /// DIR is looked up anew for each transfer, so a disk that is missing is never mistaken for the folder below it.
    #[arg(long, help_heading = FILES)]
    pub mounted: bool,
    /// Take access control lists too
    ///
    /// From senders with --archive. They say who may use a file. Without this, what a sender sends of them is left out.
    #[arg(long, help_heading = FILES)]
    pub archive: bool,
    /// Confirm a file only once it is on the device
    ///
    /// Exit code 0 at the sender then means that data and name survive a power cut.
    #[arg(long, help_heading = FILES)]
    pub sync: bool,
    /// Keep so much of the disk free: 5%, 20G
    ///
    /// What would leave less free is refused when it is offered.
    #[arg(long, value_name = "SIZE", value_parser = min_free, help_heading = FILES)]
    pub min_free: Option<MinFree>,
    /// Take no file that is larger than SIZE
    ///
    /// It is refused when it is offered, and a stream as soon as it is longer.
    #[arg(long, value_name = "SIZE", value_parser = size, help_heading = FILES)]
    pub max_file: Option<u64>,
    /// Verify on arrival, or reread too
    ///
    /// `arrival` hashes each file as it arrives, `reread` also reads it back from the device and hashes it again.
    #[arg(long, value_name = "HOW", value_enum, default_value_t = Verify::Arrival, hide_possible_values = true,
        help_heading = FILES)]
    pub verify: Verify,
    /// Take compressed chunks: auto or no
    ///
    /// Senders compress where that makes the transfer faster. With `no` nothing comes compressed.
    #[arg(long, value_name = "HOW", value_enum, default_value_t = Compression::Auto, hide_possible_values = true,
        help_heading = SPEED)]
    pub compress: Compression,
    /// Write large files past the page cache (O_DIRECT)
    ///
    /// For files much larger than memory, and for disks faster than the page cache.
    #[arg(long, help_heading = SPEED)]
    pub direct: bool,
    /// Run PROGRAM after each transfer
    ///
    /// It has no arguments. The file $LANX_LIST has the paths of what was stored, each ended by a NUL byte. One program runs at a
    /// time, at most 1,000 runs wait, and what becomes of them changes nothing for the sender.
    #[arg(long, value_name = "PROGRAM", help_heading = FILES, value_hint = ValueHint::CommandName)]
    pub exec: Option<PathBuf>,
    /// Run PROGRAM after each file
    #[arg(long, value_name = "PROGRAM", help_heading = FILES, value_hint = ValueHint::CommandName)]
    pub exec_each: Option<PathBuf>,
    /// Kill such a program after AGE
    #[arg(long, value_name = "AGE", value_parser = span, default_value = "1h", help_heading = FILES)]
    pub exec_timeout: Duration,
    /// Remove what interrupted transfers left in DIR
    ///
    /// Lists the part files there and removes those that are not in use. Nothing is received.
    #[arg(long, help_heading = FILES, conflicts_with_all = ["once", "listen", "quic", "no_announce", "max_transfers", "limit", "overwrite",
        "rename", "delta", "sync", "verify", "compress", "direct", "mounted", "archive", "min_free", "max_file", "no_remember", "exec", "exec_each", "exec_timeout", "code_file", "open", "timeout", "retry_for", "grace", "metrics", "json"])]
    pub clean: bool,
    /// Remove unfinished files older than AGE: 7d, 12h
    ///
    /// A receiver looks for part files in DIR when it starts and then each day at least, and removes those that nobody has
    /// written to for so long and no transfer uses. With --clean only those are removed.
    #[arg(long, value_name = "AGE", value_parser = age, help_heading = FILES)]
    pub part_age: Option<Duration>,
    /// Admit machines that know the code in FILE
    ///
    /// The code is its first line, 8 characters or more. Without it the code comes from LANX_CODE, or on a terminal is
    /// made up for this run.
    #[arg(long, value_name = "FILE", help_heading = TRUST, value_hint = ValueHint::FilePath)]
    pub code_file: Option<PathBuf>,
    /// Ask each machine for the code each time
    ///
    /// Whoever proves the code is let in for this transfer and not remembered. Machines that are paired come in as ever.
    #[arg(long, help_heading = TRUST)]
    pub no_remember: bool,
    /// Admit everybody who can reach this port
    ///
    /// Only for a network that you share with nobody else.
    #[arg(long, help_heading = TRUST)]
    pub open: bool,
    #[command(flatten)]
    pub patience: PatienceArgs,
    #[command(flatten)]
    pub service: ServiceArgs,
    /// Print one JSON object per line, for scripts
    ///
    /// The first one has the port. `lanx help json` describes them.
    #[arg(long, help_heading = OUTPUT)]
    pub json: bool,
}

/// Whether chunks may come compressed.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// As the sender likes
    Auto,
    /// Not at all
    No,
}

/// When a file is checked.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verify {
    /// As it arrives
    Arrival,
    /// As it arrives, and once more as it is read back from the device
    Reread,
}
