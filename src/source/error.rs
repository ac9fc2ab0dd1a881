//! What can be wrong with a source.

use std::io;
use std::path::PathBuf;

use crate::limits::FILE_BYTES_MAX;
use crate::name::{BadName, Escaped};

/// How a file differs from what was offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    Shrank { from: u64, to: u64 },
    Grew { from: u64, to: u64 },
    Modified,
    Replaced,
}

impl std::fmt::Display for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Change::Shrank { from, to } => write!(f, "it shrank from {from} to {to} bytes"),
            Change::Grew { from, to } => write!(f, "it grew from {from} to {to} bytes"),
            Change::Modified => f.write_str("its modification time changed"),
            Change::Replaced => f.write_str("another file took its place"),
        }
    }
}

/// Why a file cannot be sent. Each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    #[error("{}: cannot {doing} it: {}", Escaped::path(path), io_text(source))]
    Io { path: PathBuf, doing: &'static str, source: io::Error },
    #[error(
        "{}: is a directory, and lanx cannot send directories yet; send the files in it, or a tar of it",
        Escaped::path(path)
    )]
    Directory { path: PathBuf },
    #[error(
        "{}: is neither a file nor a link to one (a device, pipe or socket); only files can be sent",
        Escaped::path(path)
    )]
    NotRegular { path: PathBuf },
    #[error("{}: has {size} bytes; lanx sends files of up to {FILE_BYTES_MAX} bytes", Escaped::path(path))]
    TooLarge { path: PathBuf, size: u64 },
    #[error("{}: does not end in a file name; name the file itself", Escaped::path(path))]
    NoName { path: PathBuf },
    #[error("{}: {reason}; rename it to send it", Escaped::path(path))]
    BadName { path: PathBuf, reason: BadName },
    #[error(
        "{}: changed while it was being sent ({change}); send it again once nothing writes to it",
        Escaped::path(path)
    )]
    Changed { path: PathBuf, change: Change },
}

/// What went wrong in words a user knows, and what to do about it.
fn io_text(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "there is no such file; check the path".into(),
        io::ErrorKind::PermissionDenied => "permission denied; you need read access to it".into(),
        _ => error.to_string(),
    }
}
