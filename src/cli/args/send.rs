//! The options of `lanx send`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::ValueHint;

use super::examples;
use super::group::{OUTPUT, PatienceArgs, SPEED, TRUST, WHAT};
use super::values::{compress, number, rate, subfolder};
use crate::limits::CONNECTIONS_MAX;
use crate::name::RelativePath;
use crate::net::Door;
use crate::session::sender::compress::Compress;

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
    /// They are sent to side by side. All other arguments are then files and folders.
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
        Door::over(self.quic)
    }
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
