//! What can go wrong at the destination, told so that the user knows what to do.

use std::error::Error;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::FileType;
use rustix::io::Errno;
use thiserror::Error;

use crate::content::entry::{Cause, Failure};
use crate::limits::FOLDER_LEVELS_MADE_MAX;
use crate::name::{BadName, Escaped};
use crate::os::rlimit;
use crate::os::said::Said;
use crate::units;

/// An error of the destination. `path` is always the path as the user knows it: DIR joined with the name.
/// Messages are one line, escaped, and end with what to do next.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SinkError {
    /// The final name is taken and the receiver did not allow it to be replaced.
    #[error("{} exists already; start the receiver with --overwrite or --rename, or move it away", Escaped::from(.path.as_path()))]
    Exists {
        /// The final path.
        path: PathBuf,
    },
    /// Something of another kind stands where an entry should go, or on the way there.
    #[error("{} is {what} there, not {expected}; move it away or choose another folder", Escaped::from(.path.as_path()))]
    InTheWay {
        /// The path of what stands there.
        path: PathBuf,
        /// What it is.
        what: FileKind,
        /// What should be there: a directory where it stands on the way to an entry.
        expected: FileKind,
    },
    /// A file cannot get a further name.
    #[error("cannot make {} another name of {}: {fault}", Escaped::from(.path.as_path()), Escaped::from(.to.as_path()))]
    NotLinked {
        /// The further name.
        path: PathBuf,
        /// The file.
        to: PathBuf,
        /// Why, and what to do.
        fault: LinkFault,
    },
    /// The destination is the standard output.
    #[error("{} is no file, and the receiver writes one file to its standard output; send it to `lanx recv DIR`", Escaped::from(.path.as_path()))]
    NoFolder {
        /// Its path as the sender has it.
        path: PathBuf,
    },
    /// `--rename` tried every number.
    #[error("{} and its numbers up to ({tried}) are all taken; clear the folder or choose another one", Escaped::from(.path.as_path()))]
    NoFreeName {
        /// The final path without a number.
        path: PathBuf,
        /// The highest number tried.
        tried: u32,
    },
    /// Every part file of this name is in use or unusable.
    #[error("{tried} part files for {} are in use by other transfers or not ours; wait for those, or remove the .lanx-part files there", Escaped::from(.path.as_path()))]
    PartsBusy {
        /// The final path.
        path: PathBuf,
        /// How many were tried.
        tried: u32,
    },
    /// What has the name is not older than the session.
    #[error("{} was put there while this transfer ran: by it, under a name that this file system takes for the same, or by somebody else. It is not replaced; rename one of the two, or send again", Escaped::from(.path.as_path()))]
    Newer {
        /// The final path.
        path: PathBuf,
    },
    /// Too many folders are missing on the way.
    #[error("{} needs more than {FOLDER_LEVELS_MADE_MAX} new folders one within the other; make them at the receiver first, or send from further within", Escaped::from(.path.as_path()))]
    TooDeep {
        /// The innermost folder.
        path: PathBuf,
    },
    /// Nothing is mounted where something has to be.
    #[error("nothing is mounted at {}; mount it, or receive without --mounted", Escaped::from(.path.as_path()))]
    NotMounted {
        /// The destination.
        path: PathBuf,
    },
    /// The destination is not what its path leads to any more.
    #[error("{} is another folder now (mounted or unmounted?); see what is there, then send again", Escaped::from(.path.as_path()))]
    Elsewhere {
        /// The destination.
        path: PathBuf,
    },
    /// The receiver's file system cannot store this name.
    #[error("the file system cannot store the name of {}: {}; rename the file on the sending side", Escaped::from(.path.as_path()), Said(.cause))]
    NameUnstorable {
        /// The final path.
        path: PathBuf,
        /// What the system said.
        #[source]
        cause: io::Error,
    },
    /// A write outside of the announced size.
    #[error("{bytes} bytes at offset {offset} lie outside of {} with its {size} bytes; the sender broke the agreement, send again", Escaped::from(.path.as_path()))]
    OutOfRange {
        /// The final path.
        path: PathBuf,
        /// Where the write should begin, in bytes.
        offset: u64,
        /// How long it is, in bytes.
        bytes: u64,
        /// The agreed size of the file in bytes.
        size: u64,
    },
    /// The file is longer than the file system, or any file system, can hold.
    #[error("{} would be {} long, more than a file there can be (the file system or this user's limit, `ulimit -f`, is smaller); choose another file system or split the file", Escaped::from(.path.as_path()), units::bytes(*.size))]
    TooLarge {
        /// The final path.
        path: PathBuf,
        /// The announced size in bytes.
        size: u64,
    },
    /// The disk or the quota is full, or would be.
    #[error("{NO_ROOM} for {}: {}{} free{limit}; make room or choose another folder, then send again", Escaped::from(.path.as_path()), Needed(*.needed), units::bytes(*.free))]
    NoSpace {
        /// The final path.
        path: PathBuf,
        /// Bytes that the file still needs; 0 where nobody knows, as of a stream.
        needed: u64,
        /// Bytes that the file system says are free.
        free: u64,
        /// What ran out; unless it is the disk, `free` says little.
        limit: SpaceLimit,
    },
    /// The system refuses access.
    #[error("cannot {action} {}: {}; change its owner or mode, or choose another folder", Escaped::from(.path.as_path()), Said(.cause))]
    Permission {
        /// What was touched.
        path: PathBuf,
        /// What was tried, as in "may not ... PATH".
        action: &'static str,
        /// What the system said.
        #[source]
        cause: io::Error,
    },
    /// The file system is mounted read-only.
    #[error("{} is on a read-only file system; remount it writable or choose another folder", Escaped::from(.path.as_path()))]
    ReadOnly {
        /// What was touched.
        path: PathBuf,
    },
    /// DIR is missing and so is the directory that should hold it.
    #[error("cannot make {}: the folder that should hold it is missing; make it first (mkdir -p) or choose another folder", Escaped::from(.path.as_path()))]
    NoParent {
        /// DIR.
        path: PathBuf,
    },
    /// DIR is something else.
    #[error("{} is {what}, not a folder; choose another folder", Escaped::from(.path.as_path()))]
    NotADirectory {
        /// DIR.
        path: PathBuf,
        /// What it is.
        what: FileKind,
    },
    /// A folder that is received into is there no more.
    #[error("{} was removed while lanx was receiving into it; make it again, then send again", Escaped::from(.path.as_path()))]
    Removed {
        /// The path of the folder.
        path: PathBuf,
    },
    /// The part file's name belongs to another file now.
    #[error("the part file {} was replaced or linked by somebody else; find out what else writes there, then send again", Escaped::from(.path.as_path()))]
    Swapped {
        /// The path of the part file.
        path: PathBuf,
    },
    /// The part file does not have the announced length.
    #[error("the part file {} is {actual} bytes long, {expected} were expected; find out what else writes there, then send again", Escaped::from(.path.as_path()))]
    WrongLength {
        /// The path of the part file.
        path: PathBuf,
        /// The agreed size in bytes.
        expected: u64,
        /// Its length in bytes.
        actual: u64,
    },
    /// A file ended where bytes were expected.
    #[error("{} ends after {} of {wanted} bytes at offset {offset}; find out what else writes there, then send again", Escaped::from(.path.as_path()), .got)]
    UnexpectedEnd {
        /// What was read.
        path: PathBuf,
        /// Where the read began, in bytes.
        offset: u64,
        /// How many bytes were wanted.
        wanted: usize,
        /// How many there were.
        got: usize,
    },
    /// The file system can neither rename without replacing nor make hard links.
    #[error("the file system of {} cannot name a file without the risk of replacing another; start the receiver with --overwrite or choose another folder", Escaped::from(.path.as_path()))]
    NoSafeRename {
        /// The final path.
        path: PathBuf,
    },
    /// Any other error of the system.
    #[error("cannot {action} {}: {}; {}, then send again", Escaped::from(.path.as_path()), Said(.cause), remedy(.cause))]
    Io {
        /// What was touched.
        path: PathBuf,
        /// What was tried, as in "cannot ... PATH".
        action: &'static str,
        /// What the system said.
        #[source]
        cause: io::Error,
    },
}

/// How it begins to be told that a disk is full.
pub const NO_ROOM: &str = "no room";

/// What may help against what the system said.
fn remedy(cause: &io::Error) -> &'static str {
    if rlimit::are_used_up(cause) {
        return "raise the limit of open files (ulimit -n)";
    }
    "check the disk and the folder"
}

/// Whose matter an error is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SinkErrorKind {
    /// The receiver works, but this file may not go there: the next file can.
    Policy,
    /// The receiver's storage fails: space, permission, I/O, or somebody else writing there.
    Storage,
}

impl SinkError {
    /// What the sender is told: what to do. What the system said is for whoever looks closer, here.
    pub fn failure(&self) -> Failure {
        let cause = match self.kind() {
            SinkErrorKind::Policy => Cause::Refused,
            SinkErrorKind::Storage => Cause::Storage,
        };
        if let Some(source) = self.source() {
            tracing::info!("{}: caused by: {source}", Escaped::path(self.path()));
        }
        Failure::new(cause, self.to_string())
    }

    /// Whether this one file is refused or the receiver's storage has a problem.
    #[must_use]
    pub fn kind(&self) -> SinkErrorKind {
        match self {
            Self::Exists { .. }
            | Self::InTheWay { .. }
            | Self::NotLinked { .. }
            | Self::NoFolder { .. }
            | Self::NoFreeName { .. }
            | Self::PartsBusy { .. }
            | Self::NameUnstorable { .. }
            | Self::Newer { .. }
            | Self::TooDeep { .. }
            | Self::OutOfRange { .. } => SinkErrorKind::Policy,
            Self::TooLarge { .. }
            | Self::NoSpace { .. }
            | Self::Permission { .. }
            | Self::ReadOnly { .. }
            | Self::NoParent { .. }
            | Self::NotADirectory { .. }
            | Self::Removed { .. }
            | Self::Swapped { .. }
            | Self::WrongLength { .. }
            | Self::UnexpectedEnd { .. }
            | Self::NoSafeRename { .. }
            | Self::NotMounted { .. }
            | Self::Elsewhere { .. }
            | Self::Io { .. } => SinkErrorKind::Storage,
        }
    }

    /// Whether the disk or the quota is full.
    #[must_use]
    pub fn is_no_space(&self) -> bool {
        matches!(self, Self::NoSpace { .. })
    }

    /// The path it is about.
    #[must_use]
    pub fn path(&self) -> &Path {
        match self {
            Self::Exists { path }
            | Self::InTheWay { path, .. }
            | Self::NotLinked { path, .. }
            | Self::NoFolder { path }
            | Self::NoFreeName { path, .. }
            | Self::PartsBusy { path, .. }
            | Self::NameUnstorable { path, .. }
            | Self::OutOfRange { path, .. }
            | Self::TooLarge { path, .. }
            | Self::NoSpace { path, .. }
            | Self::Permission { path, .. }
            | Self::ReadOnly { path }
            | Self::NoParent { path }
            | Self::NotADirectory { path, .. }
            | Self::Removed { path }
            | Self::Swapped { path }
            | Self::WrongLength { path, .. }
            | Self::UnexpectedEnd { path, .. }
            | Self::NoSafeRename { path }
            | Self::Newer { path }
            | Self::TooDeep { path }
            | Self::NotMounted { path }
            | Self::Elsewhere { path }
            | Self::Io { path, .. } => path,
        }
    }

    /// Whether a file or folder that was there a moment ago is gone.
    pub(super) fn is_gone(&self) -> bool {
        let gone = |errno: Errno| Some(errno.raw_os_error());
        matches!(self, Self::Io { cause, .. }
            if [gone(Errno::NOENT), gone(Errno::STALE)].contains(&cause.raw_os_error()))
    }

    /// Gives what the system said its type. `action` completes "cannot ... PATH".
    pub(super) fn system(action: &'static str, path: PathBuf, errno: Errno) -> Self {
        let cause = io::Error::from(errno);
        match errno {
            Errno::ACCESS | Errno::PERM => Self::Permission { path, action, cause },
            Errno::ROFS => Self::ReadOnly { path },
            Errno::NAMETOOLONG | Errno::ILSEQ => Self::NameUnstorable { path, cause },
            _ => Self::Io { path, action, cause },
        }
    }
}

/// Why a file cannot get a further name.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LinkFault {
    /// No safe path was given for the file.
    #[error("{0}")]
    BadName(BadName),
    /// There is no such file.
    #[error("it is not there; send both together again")]
    Missing,
    /// It is something else.
    #[error("it is {0}, not a regular file; move it away, then send both together again")]
    Kind(FileKind),
    /// The file system cannot do it.
    #[error("the file system cannot do that ({0})")]
    Unsupported(io::Error),
    /// A file has the name, which may be the same: that is for a comparison to say.
    #[error("a file is there already")]
    Taken,
}

impl LinkFault {
    /// Whether the sender can help by sending a file.
    #[must_use]
    pub fn wants_a_file(&self) -> bool {
        matches!(self, LinkFault::Unsupported(_) | LinkFault::Taken)
    }
}

/// What runs out when there is no space.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpaceLimit {
    /// Bytes on the disk.
    Disk,
    /// The user's quota.
    Quota,
    /// The number of files that the file system can hold.
    Files,
}

impl fmt::Display for SpaceLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Disk => "",
            Self::Quota => " on the disk but the quota is used up",
            Self::Files => " on the disk but it holds as many files as it can",
        })
    }
}

/// What stands under a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum FileKind {
    /// A regular file.
    Regular,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
    /// A character or block device.
    Device,
    /// Something this system has and lanx does not know.
    Unknown,
}

impl From<FileType> for FileKind {
    fn from(kind: FileType) -> Self {
        match kind {
            FileType::RegularFile => Self::Regular,
            FileType::Directory => Self::Directory,
            FileType::Symlink => Self::Symlink,
            FileType::Fifo => Self::Fifo,
            FileType::Socket => Self::Socket,
            FileType::CharacterDevice | FileType::BlockDevice => Self::Device,
            FileType::Unknown => Self::Unknown,
        }
    }
}

impl fmt::Display for FileKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Regular => "a regular file",
            Self::Directory => "a folder",
            Self::Symlink => "a symbolic link",
            Self::Fifo => "a named pipe",
            Self::Socket => "a socket",
            Self::Device => "a device",
            Self::Unknown => "of an unknown kind",
        })
    }
}

/// What is missing, where that is known.
struct Needed(u64);

impl fmt::Display for Needed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 { Ok(()) } else { write!(f, "{} needed, ", units::bytes(self.0)) }
    }
}
