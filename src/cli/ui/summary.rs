//! What became of the files of a session, added up.

use std::time::Duration;

use parking_lot::Mutex;
use serde::Serialize;

use crate::cli::exit::Exit;
use crate::content::entry::Cause;
use crate::limits::COMPRESSED_SAVES_PART;
use crate::name::Name;
use crate::session::bottleneck::{Accounts, Bottleneck, Verdict};
use crate::session::{FileReport, FileStatus, Progress, ReportKind};
use crate::source::Trouble;
use crate::units;
use crate::wire::stage_times::{Spent, Stage};

/// Bytes of files that crossed the network, and of the frames that carried them.
#[derive(Clone, Copy, Default, Debug)]
pub struct Crossed {
    pub bytes: u64,
    pub wire: u64,
}

impl Crossed {
    /// In all sessions of a transfer.
    pub fn of(progress: &Progress) -> Crossed {
        Crossed { bytes: progress.crossed(), wire: Progress::get(&progress.wire) }
    }

    /// Whether they took clearly less on the wire than they are: not by a few holes.
    fn is_shorter(self) -> bool {
        self.wire < self.bytes - self.bytes / COMPRESSED_SAVES_PART as u64
    }
}
/// What took less has no rate.
const RATE_TOLD_FROM: Duration = Duration::from_millis(100);

/// Counts files and bytes by what became of them.
#[derive(Default)]
pub struct Tally {
    counts: Mutex<Counts>,
}

/// The counts at one moment.
#[derive(Clone, Default, Debug)]
pub struct Counts {
    /// Files that are in place, under whatever name, and their bytes; in a dry run those that would be.
    pub arrived: u64,
    pub bytes: u64,
    /// Folders and links that are in place.
    pub folders: u64,
    pub links: u64,
    /// Of all those, the files that were there before, and their bytes.
    pub identical: u64,
    identical_bytes: u64,
    /// Of those, the ones that nobody read, as both ends remember them.
    pub remembered: u64,
    pub failed: u64,
    /// All files that there are to send, where somebody knows.
    expected: Option<u64>,
    /// Of the failed ones, folders and links.
    failed_others: u64,
    /// Pipes, sockets and devices.
    pub skipped: u64,
    /// The only name or the first of several that arrived.
    first: Option<Name>,
    /// Whether any of it was only wanted, for a dry run.
    dry: bool,
    storage: bool,
    verification: bool,
    /// Whether some of what failed may go through with the next try.
    pub retryable: bool,
}

impl Tally {
    /// Of a dry run: all that arrives has been there already.
    pub fn of_dry_run() -> Tally {
        Tally { counts: Mutex::new(Counts { dry: true, ..Counts::default() }) }
    }

    pub fn add(&self, report: &FileReport) {
        let mut counts = self.counts.lock();
        let FileReport { path, kind, size, status, .. } = report;
        match status {
            FileStatus::Failed(failure) => {
                counts.failed += 1;
                counts.failed_others += u64::from(*kind != ReportKind::File);
                counts.storage |= failure.cause == Cause::Storage;
                counts.verification |= failure.cause == Cause::Verification;
                counts.retryable |= matches!(failure.cause, Cause::Changed | Cause::Verification);
                return;
            }
            FileStatus::Wanted => counts.dry = true,
            FileStatus::Renamed(name) if path.parent().is_none() => {
                counts.first.get_or_insert_with(|| name.clone());
            }
            _ => {}
        }
        if path.parent().is_none() {
            counts.first.get_or_insert_with(|| path.name());
        }
        match kind {
            ReportKind::File => {
                counts.arrived += 1;
                let bytes = size.unwrap_or_default();
                counts.bytes = counts.bytes.saturating_add(bytes);
                counts.remembered += u64::from(matches!(status, FileStatus::Remembered));
                if matches!(status, FileStatus::Identical | FileStatus::Remembered) {
                    counts.identical += 1;
                    counts.identical_bytes = counts.identical_bytes.saturating_add(bytes);
                }
            }
            ReportKind::Folder => counts.folders += 1,
            ReportKind::Symlink | ReportKind::HardLink => counts.links += 1,
        }
    }

    /// Something that could not even be offered.
    pub fn add_trouble(&self, trouble: &Trouble) {
        let mut counts = self.counts.lock();
        match trouble {
            Trouble::Failed(error) => {
                counts.failed += 1;
                counts.retryable |= error.is_passing();
            }
            Trouble::Skipped { .. } => counts.skipped += 1,
            // Nobody wanted it sent.
            Trouble::LeftOut { .. } => {}
        }
    }

    /// Something that could not even be asked for.
    pub fn fail(&self) {
        self.counts.lock().failed += 1;
    }

    /// So many files are to be sent in all.
    pub fn expect(&self, files: u64) {
        self.counts.lock().expected = Some(files);
    }

    /// Files that have an outcome, and all there are, where somebody knows.
    pub fn files(&self) -> (u64, Option<u64>) {
        let counts = self.counts.lock();
        let done = counts.arrived + counts.failed.saturating_sub(counts.failed_others);
        (done, counts.expected.map(|expected| expected.max(done)))
    }

    pub fn counts(&self) -> Counts {
        self.counts.lock().clone()
    }
}

impl Counts {
    /// What arrived, for a line about all of it: the name of the only file or folder at the top, or nothing.
    pub fn only_name(&self) -> Option<&Name> {
        let single = self.arrived + self.links == 1 && self.folders == 0;
        self.first.as_ref().filter(|_| single)
    }

    /// The exit code of a session that came to its end: the gravest cause wins.
    pub fn exit(&self) -> Exit {
        match self {
            Counts { verification: true, .. } => Exit::Verification,
            Counts { storage: true, .. } => Exit::Storage,
            Counts { failed: 1.., .. } | Counts { skipped: 1.., .. } => Exit::SomeFailed,
            _ => Exit::Success,
        }
    }

    /// One line that says it all.
    pub fn summary(&self, all: Crossed, time: Duration, connections: Option<u8>) -> String {
        let crossed = all.bytes;
        let anything = self.arrived + self.folders + self.links > 0;
        let mut text = match connections {
            _ if anything => self.what(),
            // A sender whose files all have an outcome.
            Some(_) if self.failed + self.skipped == 0 => "there was nothing to send".into(),
            _ => "nothing arrived".into(),
        };
        if self.dry {
            return self.dry_run();
        }
        if let Some(there) = self.already_there(crossed) {
            text += &format!(" ({there} already there)");
        }
        if anything {
            text += &format!(" in {}", units::duration(time));
            // A rate of what took no time would say how long the first round trips took.
            if crossed > 0 && time >= RATE_TOLD_FROM {
                text += &format!(": {}", units::rate(crossed, time));
            }
            if all.is_shorter() {
                text += &format!(", {} on the wire", units::bytes(all.wire));
            }
        }
        if let Some(n) = connections.filter(|_| anything) {
            text += &format!(" over {}", units::count(n.into(), "connection"));
        }
        // What nobody read is not verified.
        text += &match self.remembered {
            _ if !anything => String::new(),
            0 => ", verified".into(),
            n if n == self.arrived => ", as remembered (--checksum reads them)".into(),
            n => format!(", verified but for {} as remembered", units::count(n, "file")),
        };
        text + &self.missing()
    }

    /// The same of a dry run: what would change, and how much would not.
    fn dry_run(&self) -> String {
        let changed = Counts {
            arrived: self.arrived - self.identical,
            bytes: self.bytes - self.identical_bytes,
            ..self.clone()
        };
        let what = Some(changed.what()).filter(|what| !what.is_empty()).unwrap_or_else(|| "nothing".into());
        let there = match self.identical {
            0 => String::new(),
            n => format!("; {} already there", units::count(n, "file")),
        };
        format!("dry run: {what} would be sent{there}{}", self.missing())
    }

    /// What did not arrive.
    fn missing(&self) -> String {
        let failed = match (self.failed, self.failed_others) {
            (0, _) => String::new(),
            (n, 0) => format!("; {} failed", units::count(n, "file")),
            (n, _) => format!("; {n} failed, not all of them files"),
        };
        let skipped = match self.skipped {
            0 => String::new(),
            n => format!("; {} skipped", units::count(n, "special file")),
        };
        failed + &skipped
    }

    /// Files that were there, and bytes of others that were there in part, so that size, time and rate add
    /// up.
    fn already_there(&self, crossed: u64) -> Option<String> {
        let files = (self.identical > 0).then(|| match self.identical == self.arrived {
            true => "all".into(),
            false => units::count(self.identical, "file"),
        });
        let bytes = self.bytes.saturating_sub(self.identical_bytes).saturating_sub(crossed);
        let bytes = (bytes > 0 && self.failed == 0).then(|| units::bytes(bytes));
        match (files, bytes) {
            (Some(files), Some(bytes)) => Some(format!("{files} and {bytes} of others")),
            (files, bytes) => files.or(bytes),
        }
    }

    /// `2 files, 1 folder, 3 links, 5 MiB`, without what there is none of.
    fn what(&self) -> String {
        let kinds = [(self.arrived, "file"), (self.folders, "folder"), (self.links, "link")];
        let mut parts: Vec<String> =
            kinds.iter().filter(|(n, _)| *n > 0).map(|(n, what)| units::count(*n, what)).collect();
        if self.arrived > 0 {
            parts.push(units::bytes(self.bytes));
        }
        parts.join(", ")
    }
}

// What a transfer was waiting for, in words and as JSON.

/// One half of a sentence. `in_order`: the receiver writes to its standard output.
pub fn sentence(verdict: Verdict, in_order: bool) -> String {
    let percent = (u32::from(verdict.share) + 5) / 10;
    let who = match verdict.bottleneck {
        Bottleneck::Limit => "--limit",
        Bottleneck::ReceiverLimit => "the receiver's --limit",
        Bottleneck::Source => "reading the files",
        Bottleneck::SenderCpu => "the sender's CPU",
        Bottleneck::Network => "the network",
        Bottleneck::ReceiverCpu => "the receiver's CPU",
        Bottleneck::Destination if in_order => "whoever reads the receiver's output",
        Bottleneck::Destination => "the receiver's disk",
    };
    format!("limited by {who} ({percent} % of the time)")
}

/// The same for a script.
#[derive(Serialize)]
pub struct LimitReport {
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<Limit>,
    spent: Ends,
}

#[derive(Serialize)]
struct Limit {
    by: &'static str,
    /// Of the time, from 0 to 1.
    share: f64,
}

#[derive(Serialize)]
struct Ends {
    sender: Times,
    receiver: Times,
}

/// Seconds, of all threads of one end together.
#[derive(Serialize)]
struct Times {
    wait: f64,
    limit: f64,
    read: f64,
    hash: f64,
    compress: f64,
    seal: f64,
    send: f64,
    receive: f64,
    open: f64,
    decompress: f64,
    write: f64,
    /// Of the time of the machine's CPUs, from 0 to 1, and what of it was lanx's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    busy: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    busy_own: Option<f64>,
}

impl LimitReport {
    pub fn of(accounts: &Accounts) -> LimitReport {
        let limit = accounts.bottleneck().map(|Verdict { bottleneck, share }| Limit {
            by: name(bottleneck),
            share: f64::from(share) / 1000.0,
        });
        let spent = Ends { sender: Times::of(&accounts.sender), receiver: Times::of(&accounts.receiver) };
        LimitReport { limit, spent }
    }
}

fn name(bottleneck: Bottleneck) -> &'static str {
    match bottleneck {
        Bottleneck::Limit => "limit",
        Bottleneck::ReceiverLimit => "receiver_limit",
        Bottleneck::Source => "source",
        Bottleneck::SenderCpu => "sender_cpu",
        Bottleneck::Network => "network",
        Bottleneck::ReceiverCpu => "receiver_cpu",
        Bottleneck::Destination => "destination",
    }
}

impl Times {
    fn of(spent: &Spent) -> Times {
        // A microsecond is more than these clocks mean.
        let seconds = |stage| (spent.of(stage) as f64 / 1e3).round() / 1e6;
        Times {
            wait: seconds(Stage::Wait),
            limit: seconds(Stage::Limit),
            read: seconds(Stage::Read),
            hash: seconds(Stage::Hash),
            compress: seconds(Stage::Compress),
            seal: seconds(Stage::Seal),
            send: seconds(Stage::Send),
            receive: seconds(Stage::Receive),
            open: seconds(Stage::Open),
            decompress: seconds(Stage::Decompress),
            write: seconds(Stage::Write),
            busy: spent.busy.map(|busy| f64::from(busy.machine) / 1000.0),
            busy_own: spent.busy.map(|busy| f64::from(busy.own) / 1000.0),
        }
    }
}
