//! What became of files, as events tell it: of one file, and of all files of a session.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;

use super::limit_report::LimitReport;
use super::tally::Counts;
use super::units;
use crate::protocol::message::Cause;
use crate::session::bottleneck::Accounts;
use crate::session::{FileReport, FileStatus, ReportKind};

/// What became of one file.
#[derive(Serialize)]
pub struct File<'a> {
    path: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    path_bytes: Option<String>,
    /// Absent where nobody could look.
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<Kind>,
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    blake3: Option<String>,
    status: Status,
    #[serde(skip_serializing_if = "Option::is_none")]
    new_path: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    new_path_bytes: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cause: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<Cow<'a, str>>,
}

/// What it is.
#[derive(Serialize, Clone, Copy)]
#[serde(rename_all = "snake_case")]
enum Kind {
    File,
    Folder,
    Symlink,
    HardLink,
}

#[derive(Serialize, Clone, Copy)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// It crossed the network, is verified, and has its name.
    Sent,
    /// It was there already.
    Identical,
    /// As sent, under another name, because its own was taken.
    Renamed,
    /// Only in a dry run: it would be sent.
    Wanted,
    /// It is of a kind that is not sent.
    Skipped,
    Failed,
}

/// All files of a session, added up.
#[derive(Serialize)]
pub struct Sum {
    /// Files that are in place, and the bytes in them; those that were there before are among them.
    files: u64,
    bytes: u64,
    /// Folders and links that are in place.
    folders: u64,
    links: u64,
    /// Bytes that crossed the network.
    sent_bytes: u64,
    identical: u64,
    failed: u64,
    skipped: u64,
    seconds: f64,
    /// Bytes that crossed the network each second.
    bytes_per_second: u64,
    /// Data connections.
    connections: u8,
    /// The exit code of this session.
    code: u8,
    #[serde(flatten)]
    limit: Option<LimitReport>,
}

impl<'a> File<'a> {
    pub fn of(report: &'a FileReport) -> File<'a> {
        let failure = match &report.status {
            FileStatus::Failed(failure) => Some(failure),
            _ => None,
        };
        let status = match &report.status {
            FileStatus::Stored => Status::Sent,
            FileStatus::Identical => Status::Identical,
            FileStatus::Renamed(_) => Status::Renamed,
            FileStatus::Wanted => Status::Wanted,
            FileStatus::Failed(_) => Status::Failed,
        };
        let (path, path_bytes) = lossless(report.path.as_bytes());
        let (new_path, new_path_bytes) = match &report.status {
            FileStatus::Renamed(new) => {
                let new = report.path.with_name(new);
                let (text, bytes) = lossless(new.as_bytes());
                (Some(text.into_owned().into()), bytes)
            }
            _ => (None, None),
        };
        let kind = match report.kind {
            ReportKind::File => Kind::File,
            ReportKind::Folder => Kind::Folder,
            ReportKind::Symlink => Kind::Symlink,
            ReportKind::HardLink => Kind::HardLink,
        };
        File {
            path,
            path_bytes,
            kind: Some(kind),
            size: report.size,
            blake3: report.hash.filter(|_| failure.is_none()).map(|hash| hash.to_string()),
            status,
            new_path,
            new_path_bytes,
            cause: failure.map(|failure| cause(failure.cause)),
            reason: failure.map(|failure| failure.text.to_string().into()),
        }
    }

    /// One that could not even be offered, under the path that the user gave.
    pub fn not_offered(path: &'a [u8], status: Status, reason: String) -> File<'a> {
        let (path, path_bytes) = lossless(path);
        File {
            path,
            path_bytes,
            kind: None,
            size: None,
            blake3: None,
            status,
            new_path: None,
            new_path_bytes: None,
            cause: Some(cause(Cause::Source)),
            reason: Some(reason.into()),
        }
    }
}

fn cause(cause: Cause) -> &'static str {
    match cause {
        Cause::Refused => "refused",
        Cause::Storage => "storage",
        Cause::Source => "source",
        Cause::Verification => "verification",
    }
}

impl Sum {
    pub fn of(counts: &Counts, sent_bytes: u64, time: std::time::Duration, connections: u8) -> Sum {
        Sum {
            files: counts.arrived,
            bytes: counts.bytes,
            folders: counts.folders,
            links: counts.links,
            sent_bytes,
            identical: counts.identical,
            failed: counts.failed,
            skipped: counts.skipped,
            seconds: to_the_microsecond(time),
            bytes_per_second: units::per_second(sent_bytes, time) as u64,
            connections,
            code: counts.exit().code(),
            limit: None,
        }
    }

    /// The same with what it was waiting for.
    pub fn with(self, accounts: Option<&Accounts>) -> Sum {
        Sum { limit: accounts.map(LimitReport::of), ..self }
    }
}

/// Seconds. A microsecond is more than a clock between two machines means.
pub(super) fn to_the_microsecond(time: std::time::Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e6
}

/// A name as text, and in base64 as well where the text is not all of it: where it is not UTF-8. Each byte sequence that
/// is not stands in the text as U+FFFD.
fn lossless(name: &[u8]) -> (Cow<'_, str>, Option<String>) {
    match String::from_utf8_lossy(name) {
        text @ Cow::Borrowed(_) => (text, None),
        text @ Cow::Owned(_) => (text, Some(STANDARD.encode(name))),
    }
}
