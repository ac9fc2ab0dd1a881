//! What became of the files of a session, added up.

use std::time::Duration;

use parking_lot::Mutex;

use super::exit::Exit;
use super::units;
use crate::name::Name;
use crate::protocol::message::Cause;
use crate::session::{FileReport, FileStatus};

/// Counts files and bytes by what became of them.
#[derive(Default)]
pub struct Tally {
    counts: Mutex<Counts>,
}

/// The counts at one moment.
#[derive(Clone, Default, Debug)]
pub struct Counts {
    /// Files that are in place, under whatever name, and their bytes.
    pub arrived: u64,
    pub bytes: u64,
    /// Of those, the ones that were there before.
    pub identical: u64,
    pub failed: u64,
    /// Those of a kind that is not sent.
    pub skipped: u64,
    /// The name of the first that arrived.
    first: Option<Name>,
    storage: bool,
    verification: bool,
}

impl Tally {
    pub fn add(&self, report: &FileReport) {
        let mut counts = self.counts.lock();
        match &report.status {
            FileStatus::Failed(failure) => {
                counts.failed += 1;
                counts.storage |= failure.cause == Cause::Storage;
                counts.verification |= failure.cause == Cause::Verification;
            }
            status => {
                counts.arrived += 1;
                counts.first.get_or_insert_with(|| match status {
                    FileStatus::Renamed(name) => name.clone(),
                    _ => report.name.clone(),
                });
                counts.bytes += report.size;
                counts.identical += u64::from(matches!(status, FileStatus::Identical));
            }
        }
    }

    /// A file that could not even be offered.
    pub fn add_failed(&self) {
        self.counts.lock().failed += 1;
    }

    /// Something that is no file.
    pub fn add_skipped(&self) {
        self.counts.lock().skipped += 1;
    }

    pub fn counts(&self) -> Counts {
        self.counts.lock().clone()
    }
}

impl Counts {
    /// Which files arrived, for a line about all of them: the name of the only one, or nothing.
    pub fn only_name(&self) -> Option<&Name> {
        self.first.as_ref().filter(|_| self.arrived == 1)
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

    /// One line that says it all. `crossed` are the bytes that crossed the network.
    pub fn summary(&self, crossed: u64, time: Duration, connections: Option<u8>) -> String {
        let mut text = match self.arrived {
            0 => "no file arrived".into(),
            n => format!("{}, {}", units::count(n, "file"), units::bytes(self.bytes)),
        };
        if self.identical > 0 {
            let all =
                if self.identical == self.arrived { "all" } else { &units::count(self.identical, "file") };
            text += &format!(" ({all} already there)");
        }
        if self.arrived > 0 {
            text += &format!(" in {}", units::duration(time));
        }
        if crossed > 0 && self.arrived > 0 {
            text += &format!(": {} ({})", units::rate(crossed, time), units::bit_rate(crossed, time));
        }
        if let Some(n) = connections {
            text += &format!(" over {}", units::count(n.into(), "connection"));
        }
        text += if self.arrived > 0 { ", verified" } else { "" };
        if self.failed > 0 {
            text += &format!("; {} failed", units::count(self.failed, "file"));
        }
        if self.skipped > 0 {
            text += &format!("; {} skipped, as only files are sent", self.skipped);
        }
        text
    }
}
