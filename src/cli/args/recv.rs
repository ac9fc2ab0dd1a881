//! The options of `lanx recv`.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::ValueHint;

use super::examples;
use super::group::{DOOR, FILES, OUTPUT, PatienceArgs, SPEED, TRUST};
use super::values::{age, listen_at, min_free, number, rate, seconds, size, socket, span};
use crate::limits::{GRACE, PORT_DEFAULT, TRANSFERS_DEFAULT, TRANSFERS_MAX};
use crate::session::receiver::room::MinFree;

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

/// For a receiver that runs for good.
#[derive(clap::Args, Clone, Debug)]
pub struct ServiceArgs {
    /// Let transfers finish after SIGTERM
    ///
    /// No new sender is admitted meanwhile. A transfer that does not finish in time resumes with the next receiver.
    #[arg(long, value_name = "SECONDS", help_heading = DOOR, default_value_t = GRACE.as_secs(),
        value_parser = seconds(0..=86_400))]
    grace: u64,
    /// Serve metrics for Prometheus at this address
    ///
    /// At http://ADDR:PORT/metrics, to everybody who can reach it.
    #[arg(long, value_name = "ADDR:PORT", value_parser = socket, help_heading = OUTPUT)]
    pub metrics: Option<SocketAddr>,
}

impl ServiceArgs {
    pub fn grace(&self) -> Duration {
        Duration::from_secs(self.grace)
    }
}

impl RecvArgs {
    /// Whether the file goes to stdout. A folder of that name is `./-`.
    pub fn to_stdout(&self) -> bool {
        self.dir.as_os_str() == "-"
    }
}
