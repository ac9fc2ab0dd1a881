//! What can be wrong with a source.

use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use crate::limits::{ATTRIBUTES_BYTES_MAX, FILE_BYTES_MAX};
use crate::name::{BadName, Escaped, NameFault, shown};
use crate::os::program::Unfit;
use crate::os::rlimit;
use crate::os::said::Said;

/// How a file differs from what was offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    Shrank {
        from: u64,
        to: u64,
    },
    Grew {
        from: u64,
        to: u64,
    },
    Modified,
    /// Its bytes are others than before, and its modification time is not.
    Rewritten,
    Replaced,
}

impl std::fmt::Display for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Change::Shrank { from, to } => write!(f, "it shrank from {from} to {to} bytes"),
            Change::Grew { from, to } => write!(f, "it grew from {from} to {to} bytes"),
            Change::Modified => f.write_str("its modification time changed"),
            Change::Rewritten => f.write_str("it was written to, and its modification time put back"),
            Change::Replaced => f.write_str("another file took its place"),
        }
    }
}

/// What is in a folder that is not sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Unsent {
    pub entries: u64,
    /// It was not counted to its end.
    pub more: bool,
}

impl std::fmt::Display for Unsent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let least = if self.more { "at least " } else { "" };
        match self.entries {
            0 => Ok(()),
            1 => write!(f, "; nor is what is in it sent, {least}1 file or folder"),
            n => write!(f, "; nor is what is in it sent, {least}{n} files and folders"),
        }
    }
}

/// Why a file cannot be sent. Each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    #[error("{}: {}", Escaped::path(path), io_text(doing, source))]
    Io { path: PathBuf, doing: &'static str, source: io::Error },
    #[error(
        "{}: is {what}; send what a command writes to standard output: COMMAND | lanx send - HOST --name NAME",
        Escaped::path(path)
    )]
    NotRegular { path: PathBuf, what: &'static str },
    #[error(
        "{}: has {size} bytes, more than the {FILE_BYTES_MAX} that lanx sends as one file; split it",
        Escaped::path(path)
    )]
    TooLarge { path: PathBuf, size: u64 },
    #[error(
        "{}: reports size 0 but has content, as files in /proc do; pipe it into `lanx send -`",
        Escaped::path(path)
    )]
    NoSize { path: PathBuf },
    #[error(
        "{}: has more extended attributes than the {ATTRIBUTES_BYTES_MAX} bytes that lanx takes along; send it without --archive",
        Escaped::path(path)
    )]
    TooManyAttributes { path: PathBuf },
    #[error(
        "{}: is a link to a folder that it is in itself; leave out --follow to send links as links",
        Escaped::path(path)
    )]
    Loop { path: PathBuf },
    #[error("{}: entry {entry} {fault}", Escaped::path(path))]
    Listed { path: PathBuf, entry: u64, fault: &'static str },
    #[error("{}{reason}{unsent}", place(path, reason))]
    BadName { path: PathBuf, reason: BadName, unsent: Unsent },
    #[error(
        "{}: changed while it was sent ({change}); send it again when nothing writes to it",
        Escaped::path(path)
    )]
    Changed { path: PathBuf, change: Change },
    /// What a command wrote is not to be used, as it did not come to a good end.
    #[error(
        "{}: {unfit}, so nothing of it is published; see what it says, then send again",
        Escaped::path(path)
    )]
    Command { path: PathBuf, unfit: Unfit },
}

impl SourceError {
    /// Whether the next try may find things as they should be: it changed, or was listed and went away. What
    /// the user named and is not there was only looked at.
    pub fn is_passing(&self) -> bool {
        match self {
            SourceError::Changed { .. } => true,
            SourceError::Io { doing, source, .. } if *doing != "look at" => {
                let gone = [Errno::NOENT, Errno::STALE].map(|errno| Some(errno.raw_os_error()));
                gone.contains(&source.raw_os_error())
            }
            _ => false,
        }
    }

    /// The path that it is about.
    pub fn path(&self) -> &Path {
        match self {
            SourceError::Io { path, .. }
            | SourceError::NotRegular { path, .. }
            | SourceError::TooLarge { path, .. }
            | SourceError::NoSize { path }
            | SourceError::TooManyAttributes { path }
            | SourceError::Loop { path }
            | SourceError::Listed { path, .. }
            | SourceError::BadName { path, .. }
            | SourceError::Changed { path, .. }
            | SourceError::Command { path, .. } => path,
        }
    }
}

/// Where a bad name stands, unless it is the whole path that is bad.
fn place(path: &Path, reason: &BadName) -> String {
    match reason.fault() {
        NameFault::PathTooLong { .. } => String::new(),
        _ => format!("{}: ", shown(path.as_os_str().as_bytes())),
    }
}

/// What went wrong in words a user knows, and what to do about it.
fn io_text(doing: &str, error: &io::Error) -> String {
    let text: String = match error.kind() {
        io::ErrorKind::NotFound => return "no such file or folder".into(),
        io::ErrorKind::PermissionDenied => "permission denied; you need read access to it".into(),
        io::ErrorKind::IsADirectory => "it is a folder, not a file".into(),
        _ if Errno::from_io_error(error) == Some(Errno::LOOP) => {
            "it is a link that leads back to itself; without --follow links inside folders are sent as links"
                .into()
        }
        io::ErrorKind::InvalidFilename => {
            "its path is too long for this system; change into a folder on the way and send from there".into()
        }
        io::ErrorKind::UnexpectedEof => {
            "it has fewer bytes than it says, as files in /sys do; pipe it into `lanx send -`".into()
        }
        io::ErrorKind::NotADirectory => "what stands before a '/' in it is no folder; check the path".into(),
        _ if rlimit::are_used_up(error) => {
            format!("{}; raise the limit of open files (ulimit -n), then send it again", Said(error))
        }
        _ => format!("{}; check the disk, then send it again", Said(error)),
    };
    format!("cannot {doing} it: {text}")
}
