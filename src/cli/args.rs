//! The command line.

use std::ffi::OsString;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Arg, ArgAction, CommandFactory, Parser, Subcommand, value_parser};

use super::doctor::DoctorArgs;
use super::examples;
use super::list::ListArgs;
use super::manual::{CompletionsArgs, ManArgs};
use super::serving::ServiceArgs;
use super::settings::{ConfigArgs, with_negations};
use super::topics::{self, HelpArgs};
use super::trust::TrustArgs;
use super::units::rate_from;
use crate::limits::{
    CONNECTIONS_MAX, CONNECTIONS_MOST, HELP_COLUMNS, LIMIT_MIN, PORT_DEFAULT, RETRY_FOR, SILENCE_TIMEOUT,
    SILENCE_TIMEOUT_MIN, TRANSFERS_DEFAULT, TRANSFERS_MAX,
};

/// Moves files between machines on a local network, and proves that they arrived.
///
/// On the machine that gets the files: `lanx recv DIR`. On the other: `lanx send FILE`, which shows the receivers of this
/// network, or `lanx send FILE HOST`, where HOST is a name or an address that recv shows.
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
    /// With --json not even those, where they are events. A code made up for this run and the warning that the door is
    /// open are still told.
    #[arg(short, long, global = true, conflicts_with = "verbose", help_heading = OUTPUT)]
    pub quiet: bool,
    /// Say more; twice for much more
    ///
    /// RUST_LOG chooses in detail.
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
    let help = help.help("Print help: -h a line each, --help all of it");
    let version =
        Arg::new("version").short('V').long("version").action(ArgAction::Version).help("Print the version");
    let last = |arg: Arg| arg.help_heading(OUTPUT).display_order(usize::MAX);
    topics::with_topics(Args::command())
        .after_long_help(format!("{}\n\n{}", examples::LANX, topics::exit_list()))
        .args([help, version].map(last))
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
            Command::List(list) => list.json,
            Command::Doctor(doctor) => doctor.json,
            Command::Config(config) => config.json,
            Command::Trust(_) | Command::Completions(_) | Command::Man(_) | Command::Help(_) => false,
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
const FILES: &str = "What becomes of files";
pub(super) const DOOR: &str = "Where and how long";
const SPEED: &str = "Speed";
pub(super) const TRUST: &str = "Trust";
pub(super) const PATIENCE: &str = "Patience";
pub(super) const MEASURED: &str = "What to measure";
pub(super) const OUTPUT: &str = "Output";

#[derive(Subcommand, Debug)]
pub enum Command {
    Send(SendArgs),
    Recv(RecvArgs),
    List(ListArgs),
    Doctor(DoctorArgs),
    Trust(TrustArgs),
    Config(ConfigArgs),
    Completions(CompletionsArgs),
    Man(ManArgs),
    Help(HelpArgs),
}

/// Send files and folders to a machine that runs `lanx recv`.
#[derive(clap::Args, Debug)]
#[command(
    override_usage = "lanx send [OPTIONS] PATH...\n       lanx send [OPTIONS] PATH... HOST[:PORT]\n       lanx send [OPTIONS] PATH... --to HOST[:PORT]...",
    after_help = examples::SEND
)]
pub struct SendArgs {
    /// Files and folders to send, and last the machine to send them to
    ///
    /// The machine is a name that `lanx recv` shows, a host name, an IPv4 or an IPv6 address. Without it you pick one of
    /// those that answer on this network. A folder with a / behind it stands for what is in it, and - alone for standard
    /// input (with --name).
    #[arg(required = true, num_args = 1.., value_name = "PATH")]
    pub paths_and_host: Vec<OsString>,
    /// Send to this machine; may be given several times
    ///
    /// Files are then read once for all of them. All other arguments are files and folders.
    #[arg(long, value_name = "HOST[:PORT]", help_heading = WHAT)]
    pub to: Vec<OsString>,
    /// Have so many data connections, 1 to 16
    ///
    /// Without it there are few at first, and more for as long as they make it faster.
    #[arg(short, long, value_name = "N", help_heading = SPEED, value_parser = value_parser!(u8).range(1..=i64::from(CONNECTIONS_MAX)))]
    pub connections: Option<u8>,
    /// Without -c have at most so many
    #[arg(long, value_name = "N", conflicts_with = "connections", help_heading = SPEED, default_value_t = CONNECTIONS_MOST,
        value_parser = value_parser!(u8).range(1..=i64::from(CONNECTIONS_MAX)))]
    pub max_connections: u8,
    /// The name that standard input gets there
    #[arg(long, value_name = "NAME", help_heading = WHAT)]
    pub name: Option<OsString>,
    #[command(flatten)]
    pub what: WhatArgs,
    /// Send at most so much a second: 50M, 400mbit
    ///
    /// That is all connections to all receivers together. Bytes are written as in 50M (10^6) or 50Mi (2^20), bits as in
    /// 400mbit.
    #[arg(long, value_name = "RATE", value_parser = rate, help_heading = SPEED)]
    pub limit: Option<u64>,
    /// Of files that changed send only what differs
    ///
    /// That is, of a file that differs from one that the receiver has and may replace, the chunks of 256 KiB that differ.
    #[arg(long, help_heading = SPEED)]
    pub delta: bool,
    /// Read large files past the page cache (O_DIRECT)
    ///
    /// For files much larger than memory, and disks faster than the cache.
    #[arg(long, help_heading = SPEED)]
    pub direct: bool,
    /// Read the receiver's code from FILE
    ///
    /// It is the first line. Otherwise the code is that of LANX_CODE, or asked for in a terminal.
    #[arg(long, value_name = "FILE", help_heading = TRUST)]
    pub code_file: Option<PathBuf>,
    #[command(flatten)]
    pub patience: PatienceArgs,
    /// Print one JSON object a line, for scripts
    ///
    /// `lanx help json` tells what they say.
    #[arg(long, help_heading = OUTPUT)]
    pub json: bool,
}

/// What of the named files and folders is sent.
#[derive(clap::Args, Debug)]
pub struct WhatArgs {
    /// Take owners, attributes and hard links along
    ///
    /// Attributes are extended attributes. The receiver sets owners only as root.
    #[arg(short, long, help_heading = WHAT)]
    pub archive: bool,
    /// Send what symbolic links point to
    ///
    /// Without it links in folders arrive as links.
    #[arg(short = 'L', long, help_heading = WHAT)]
    pub follow: bool,
    /// Leave out what fits GLOB, written as in .gitignore
    ///
    /// It is seen from each named folder. May be given several times.
    #[arg(long, value_name = "GLOB", help_heading = WHAT)]
    pub exclude: Vec<String>,
    /// Leave out what fits the patterns in FILE
    ///
    /// It is written like .gitignore. May be given several times.
    #[arg(long, value_name = "FILE", help_heading = WHAT)]
    pub exclude_from: Vec<PathBuf>,
    /// Ask the receiver what it would take; send nothing
    #[arg(short = 'n', long, help_heading = WHAT)]
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
#[derive(clap::Args, Clone, Debug)]
pub struct PatienceArgs {
    /// Give up a peer after so much silence
    #[arg(long, value_name = "SECONDS", help_heading = PATIENCE, default_value_t = SILENCE_TIMEOUT.as_secs(),
        value_parser = value_parser!(u64).range(SILENCE_TIMEOUT_MIN.as_secs()..=86_400))]
    timeout: u64,
    /// Look so long for a peer that was lost
    ///
    /// With 0 a lost connection ends the transfer at once.
    #[arg(long, value_name = "SECONDS", help_heading = PATIENCE, default_value_t = RETRY_FOR.as_secs(),
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

/// Where a receiver listens where nobody says: the same for IPv4 alone on a machine that has no IPv6.
pub const LISTEN_DEFAULT: SocketAddr = SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), PORT_DEFAULT);

/// Without --once whoever comes back is served like anybody else.
const RECV_RETRY: &str = "With --once wait for a lost sender";

/// Receive files into a folder, until Ctrl-C.
#[derive(clap::Args, Clone, Debug)]
#[command(after_help = examples::RECV, mut_arg("retry_for", |arg| arg.help(RECV_RETRY).long_help(RECV_RETRY)))]
pub struct RecvArgs {
    /// The folder where files arrive, or - for standard output
    ///
    /// The folder is made if only its last part is missing. With - one file is written to standard output, and that is
    /// all.
    #[arg(default_value = ".")]
    pub dir: PathBuf,
    /// Where to listen [default: [::]:7269]
    ///
    /// The default takes IPv4 as well. Port 0 picks a free one. Not where systemd hands the sockets over.
    #[arg(long, value_name = "ADDR:PORT", help_heading = DOOR)]
    pub listen: Option<SocketAddr>,
    /// Tell nobody on this network that it is there
    ///
    /// Without it `lanx send` and `lanx list` find the receiver (mDNS), unless it listens on loopback only.
    #[arg(long, help_heading = DOOR)]
    pub no_announce: bool,
    /// End after the first transfer, with its exit code
    #[arg(long, help_heading = DOOR)]
    pub once: bool,
    /// Serve so many transfers at once
    ///
    /// 1 to 240; further senders wait for their turn.
    #[arg(long, value_name = "N", help_heading = SPEED, default_value_t = TRANSFERS_DEFAULT,
        value_parser = value_parser!(u16).range(1..=i64::from(TRANSFERS_MAX)))]
    pub max_transfers: u16,
    /// Replace existing files that differ
    ///
    /// Without it they are left alone and the new ones refused.
    #[arg(long, conflicts_with = "rename", help_heading = FILES)]
    pub overwrite: bool,
    /// Keep both, the new one as 'name (1).ext'
    #[arg(long, help_heading = FILES)]
    pub rename: bool,
    /// Replace them, and have only what differs sent
    ///
    /// The new file begins as a copy of the old one, which stays until the new one is verified. Only chunks of 256 KiB
    /// that differ are sent. With --rename both are kept.
    #[arg(long, help_heading = FILES)]
    pub delta: bool,
    /// Answer only when all is on the device
    ///
    /// A sender then hears of a file only when its data and its name survive a power cut.
    #[arg(long, help_heading = FILES)]
    pub sync: bool,
    /// Check on arrival, or reread too
    ///
    /// With `arrival` each file is checked as it arrives, with `reread` once more as it is read back from the device.
    #[arg(long, value_name = "HOW", value_enum, default_value_t = Verify::Arrival, hide_possible_values = true,
        help_heading = FILES)]
    pub verify: Verify,
    /// Write large files past the page cache (O_DIRECT)
    ///
    /// For files much larger than memory, and disks faster than the cache.
    #[arg(long, help_heading = SPEED)]
    pub direct: bool,
    /// Remove what interrupted transfers left in DIR
    ///
    /// Those are part files. They are listed, and those that are not in use are removed. Nothing is received.
    #[arg(long, help_heading = FILES, conflicts_with_all = ["once", "listen", "no_announce", "max_transfers", "overwrite",
        "rename", "delta", "sync", "verify", "direct", "code_file", "open", "timeout", "retry_for", "grace", "metrics", "json"])]
    pub clean: bool,
    /// Let in machines that know the code in FILE
    ///
    /// It is the first line, any text of 8 characters or more. Otherwise the code is that of LANX_CODE, or in a terminal
    /// one made up for this run.
    #[arg(long, value_name = "FILE", help_heading = TRUST)]
    pub code_file: Option<PathBuf>,
    /// Let everybody in who can reach this port
    ///
    /// For networks where nobody else is.
    #[arg(long, help_heading = TRUST)]
    pub open: bool,
    #[command(flatten)]
    pub patience: PatienceArgs,
    #[command(flatten)]
    pub service: ServiceArgs,
    /// Print one JSON object a line, for scripts
    ///
    /// The first tells the port. `lanx help json` tells what they say.
    #[arg(long, help_heading = OUTPUT)]
    pub json: bool,
}

/// When a file is checked.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verify {
    /// As it arrives
    Arrival,
    /// As it arrives, and once more as it is read back from the device
    Reread,
}
