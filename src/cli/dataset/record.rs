//! The lines of a report and of a manifest, each a JSON object: one entry of a dataset, and what stands
//! before and behind all of them.

use std::borrow::Cow;
use std::os::unix::ffi::OsStrExt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use crate::cli::ui::events::{Kind, Status, lossless};
use crate::content::entry::Metadata;
use crate::name::RelativePath;
use crate::session::{FileReport, FileStatus, ReportKind};
use crate::source::{Trouble, What};

/// The first line of a manifest.
#[derive(Serialize, Deserialize)]
pub struct First {
    /// Its version.
    pub manifest: u32,
}

/// The last one.
#[derive(Serialize, Deserialize)]
pub struct Last {
    pub records: u64,
    /// Of all lines in between, with their ends.
    pub blake3: String,
}

/// The only version that there is.
pub const VERSION: u32 = 1;

/// Lines are not longer: a path, a target and what is around them, in the longest form that each can have.
pub const LINE_BYTES_MAX: u64 = 256 * 1024;

/// What an entry is, has, and is proved by.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct Record {
    path: String,
    /// In base64, where the path is no UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    path_bytes: Option<String>,
    pub kind: Kind,
    /// Bytes of a file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// Permission bits, in octal digits.
    mode: String,
    /// Of the last change, in seconds since 1970, and the rest of that in nanoseconds.
    mtime: i64,
    mtime_nanos: u32,
    /// Of a file: what `b3sum` prints.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blake3: Option<String>,
    /// Where a symbolic link leads, or what file a hard link is another name of.
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    target_bytes: Option<String>,
}

/// What became of it, in a report.
#[derive(Serialize, Deserialize)]
pub struct Told {
    #[serde(flatten)]
    pub record: Record,
    pub status: Status,
    /// The receiver.
    pub peer: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What could not even be offered: its path here, and why.
#[derive(Serialize)]
pub struct NotOffered<'a> {
    path: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    path_bytes: Option<String>,
    status: Status,
    peer: &'a str,
    reason: String,
}

impl Record {
    /// Of an entry that was looked at, whose hash is that of a file.
    pub fn new(path: &RelativePath, what: &What, metadata: &Metadata, hash: Option<String>) -> Record {
        let (text, path_bytes) = lossless(path.as_bytes());
        let first = match what {
            What::HardLink { to, .. } => Some(to.path()),
            _ => None,
        };
        let (kind, size, target) = match what {
            What::File(source) => (Kind::File, Some(source.size()), None),
            What::Stream(_) => (Kind::File, None, None),
            What::Folder | What::ParentFolder => (Kind::Folder, None, None),
            What::Symlink { target } => (Kind::Symlink, None, Some(lossless(target))),
            What::HardLink { .. } => {
                (Kind::HardLink, None, first.as_ref().map(|path| lossless(path.as_bytes())))
            }
        };
        let (target, target_bytes) = target.map(|(text, bytes)| (text.into_owned(), bytes)).unzip();
        Record {
            path: text.into_owned(),
            path_bytes,
            kind,
            size,
            mode: format!("{:04o}", metadata.mode),
            mtime: metadata.mtime_seconds,
            mtime_nanos: metadata.mtime_nanos,
            blake3: hash,
            target,
            target_bytes: target_bytes.flatten(),
        }
    }

    /// Its path, which a file that somebody may have changed only claims.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn path(&self) -> Result<RelativePath, String> {
        let bytes = bytes(&self.path, self.path_bytes.as_deref()).ok_or("a path is no base64")?;
        RelativePath::from_wire(&bytes).map_err(|bad| bad.to_string())
    }

    /// Where the link leads.
    pub fn target(&self) -> Option<Vec<u8>> {
        bytes(self.target.as_deref()?, self.target_bytes.as_deref()).map(Cow::into_owned)
    }
}

impl Told {
    /// What became of an entry at `peer`; `None` of what has no path there.
    pub fn of(report: &FileReport, peer: &str) -> Option<Told> {
        let item = report.item.as_deref()?;
        let status = Status::of(&report.status);
        let (path, reason) = match &report.status {
            FileStatus::Renamed(name) => (report.path.with_name(name), None),
            FileStatus::Failed(failure) => (report.path.clone(), Some(failure.text.to_string())),
            _ => (report.path.clone(), None),
        };
        let hash = report.hash.filter(|_| status.is_there()).map(|hash| hash.to_string());
        let record = Record::new(&path, &item.what, &item.metadata, hash);
        // Of a stream only the end tells.
        let size = report.size.filter(|_| report.kind == ReportKind::File);
        Some(Told { record: Record { size, ..record }, status, peer: peer.into(), reason })
    }
}

impl<'a> NotOffered<'a> {
    pub fn of(trouble: &'a Trouble, peer: &'a str) -> NotOffered<'a> {
        let (path, path_bytes) = lossless(trouble.path().as_os_str().as_bytes());
        let status = Status::of_trouble(trouble);
        NotOffered { path, path_bytes, status, peer, reason: trouble.to_string() }
    }
}

/// As a line.
pub fn line(value: &impl Serialize) -> Vec<u8> {
    // Text and numbers can always be written.
    let mut line = serde_json::to_vec(value).unwrap_or_default();
    line.push(b'\n');
    line
}

fn bytes<'a>(text: &'a str, bytes: Option<&str>) -> Option<Cow<'a, [u8]>> {
    match bytes {
        Some(bytes) => STANDARD.decode(bytes).ok().map(Cow::Owned),
        None => Some(Cow::Borrowed(text.as_bytes())),
    }
}
