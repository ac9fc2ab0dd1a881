//! What became of each entry, for whoever tells the user.

use std::sync::Arc;
use std::time::Duration;

use super::ending::End;
use crate::content::entry::{Failure, Outcome};
use crate::content::tree::Hash;
use crate::name::{Name, RelativePath};
use crate::source::{Item, Trouble};

/// What became of one entry, for whoever tells the user.
#[derive(Clone, Debug)]
pub struct FileReport {
    /// The path it was offered under.
    pub path: RelativePath,
    pub kind: ReportKind,
    /// Whether it was named by the sender's user, or stands at the top of the destination, rather than in a
    /// folder.
    pub named: bool,
    /// Bytes in the file; `None` for what is no file, and for a stream that failed before its end was known.
    pub size: Option<u64>,
    /// The BLAKE3 hash of the whole file, where it was verified.
    pub hash: Option<Hash>,
    pub status: FileStatus,
    /// At a sender: what was offered.
    pub item: Option<Arc<Item>>,
}

/// What an entry is, for whoever counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReportKind {
    File,
    Folder,
    Symlink,
    HardLink,
}

/// How one entry ended.
#[derive(Clone, Debug)]
pub enum FileStatus {
    /// Verified and there under its name.
    Stored,
    /// Verified and there under this name, because its own was taken.
    Renamed(Name),
    /// It was there already.
    Identical,
    /// It was there already, as both ends remember; nobody read it.
    Remembered,
    /// It would have been stored, had this not been a dry run.
    Wanted,
    Failed(Failure),
}

impl FileStatus {
    /// As it travels.
    pub(crate) fn outcome(&self) -> Outcome {
        match self {
            FileStatus::Stored => Outcome::Stored,
            FileStatus::Renamed(name) => Outcome::Renamed(name.as_bytes().to_vec()),
            FileStatus::Identical => Outcome::Identical,
            FileStatus::Remembered => Outcome::Remembered,
            FileStatus::Wanted => Outcome::Wanted,
            FileStatus::Failed(failure) => Outcome::Failed(failure.clone()),
        }
    }
}

/// Hears of each file as it ends. Called from worker threads: it must be quick.
pub trait Observer: Send + Sync {
    fn file(&self, report: &FileReport);
    /// Something that the user named, or that is in a folder, is not even offered.
    fn unsent(&self, _trouble: &Trouble) {}
    /// Large packets are lost on the way; small ones are used from now on.
    fn large_lost(&self) {}
    /// The receiver was lost, and is looked for again for so long.
    fn lost(&self, _end: &End, _retry_for: Duration) {}
    /// Whether there may be more to report. While there may not, no further files are offered or looked at.
    /// What is under way goes on, and the connections stay up.
    fn keeps_up(&self) -> bool {
        true
    }
}
