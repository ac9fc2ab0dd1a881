//! What an entry has besides its bytes: mode, time, and with `--archive` owner and attributes. What is
//! refused is a warning and never fails the entry, whose bytes are right.
//!
//! The order matters. A new owner takes the setuid bits and capabilities from a file, so it comes first. An
//! access control list changes the mode, so the mode comes after the attributes; the sender's mode has in its
//! group bits what the list allows at most, so that both agree in the end. It is last, as it takes the mark
//! from a folder that is begun: one without that has its time as well.

use std::os::fd::BorrowedFd;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::SystemTime;

use rustix::fs::{Gid, Mode, RawMode, Stat, Timespec, Timestamps, Uid};
use rustix::io::Errno;

use super::dir::Dir;
use crate::content::entry::{Archive, Attribute, Metadata};
use crate::name::Escaped;

/// The bits of a mode beyond the nine permissions: setuid, setgid, sticky.
const SPECIAL_BITS: u32 = 0o7000;

/// What is dressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Of {
    File,
    /// With the special bits that it has here, as a folder inherits them from the one it is in.
    Folder {
        special: u32,
    },
}

/// Kinds of metadata that can be refused, a bit each.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Owner = 1,
    Mode = 2,
    Time = 4,
    UserAttribute = 8,
    SystemAttribute = 16,
    AccessControlList = 32,
}

/// Dresses the file or folder behind a handle. `path` is asked for warnings only.
pub(super) fn dress(
    dir: &Dir,
    file: BorrowedFd<'_>,
    metadata: &Metadata,
    of: Of,
    path: &dyn Fn() -> PathBuf,
) {
    let refused = |kind, what: &str, errno| refused(dir, kind, what, path, errno);
    let mut owned = false;
    if let Some(archive) = &metadata.archive {
        match owner(archive).map(|(uid, gid)| rustix::fs::fchown(file, Some(uid), Some(gid))) {
            Some(Ok(())) => owned = true,
            Some(Err(errno)) => refused(Kind::Owner, "the owner", errno),
            None => {}
        }
        let lists = dir.place().access_lists.load(Ordering::Relaxed);
        attributes(file, archive, of, lists, &refused);
    }
    let set = rustix::fs::futimens(file, &times(metadata));
    // Some file systems say that it went well and do nothing.
    let took = set.and_then(|()| rustix::fs::fstat(file));
    if let Err(errno) =
        took.and_then(|stat| if is_near(&stat, metadata) { Ok(()) } else { Err(Errno::OPNOTSUPP) })
    {
        refused(Kind::Time, "the time of the last change", errno);
    }
    let mode = Mode::from_raw_mode(mode(metadata.mode, of, owned) as RawMode);
    if let Err(errno) = rustix::fs::fchmod(file, mode) {
        refused(Kind::Mode, "the permissions", errno);
    }
}

/// Whether it has the time of the sender's file, as exactly as FAT tells time: to 2 s.
#[allow(clippy::useless_conversion)] // Its width differs by system.
fn is_near(stat: &Stat, metadata: &Metadata) -> bool {
    i64::from(stat.st_mtime).abs_diff(metadata.mtime_seconds) <= 2
}

/// Whether a file has all that already, as far as that is seen without a look at its attributes.
pub(super) fn is_dressed(stat: &Stat, metadata: &Metadata) -> bool {
    let wanted = Mode::from_raw_mode(mode(metadata.mode, Of::File, false) as RawMode);
    metadata.archive.is_none()
        && Mode::from_raw_mode(stat.st_mode) == wanted
        && stat.st_mtime == metadata.mtime_seconds
        && i64::try_from(stat.st_mtime_nsec).is_ok_and(|nanos| nanos == i64::from(metadata.mtime_nanos))
}

/// Dresses the symbolic link `name`: it has no mode of its own.
pub(super) fn dress_link(dir: &Dir, name: &[u8], metadata: &Metadata) {
    let path = || dir.path_of(name);
    let nofollow = rustix::fs::AtFlags::SYMLINK_NOFOLLOW;
    if let Some((uid, gid)) = metadata.archive.as_ref().and_then(|archive| owner(archive))
        && let Err(errno) = rustix::fs::chownat(dir.fd(), name, Some(uid), Some(gid), nofollow)
    {
        refused(dir, Kind::Owner, "the owner", &path, errno);
    }
    if let Err(errno) = rustix::fs::utimensat(dir.fd(), name, &times(metadata), nofollow) {
        refused(dir, Kind::Time, "the time of the last change", &path, errno);
    }
}

/// Gives a folder its time only.
pub(super) fn set_time(dir: &Dir, metadata: &Metadata) {
    if let Err(errno) = rustix::fs::futimens(dir.fd(), &times(metadata)) {
        refused(dir, Kind::Time, "the time of the last change", &|| dir.path().into(), errno);
    }
}

/// The mode that something gets. The special bits are the sender's only where the owner is as well: what is
/// ours would otherwise be run with our rights.
fn mode(wanted: u32, of: Of, owned: bool) -> u32 {
    let special = match of {
        _ if owned => wanted & SPECIAL_BITS,
        Of::Folder { special } => special & SPECIAL_BITS,
        Of::File => 0,
    };
    (wanted & 0o777) | special
}

/// The owner to be set: only root can.
fn owner(archive: &Archive) -> Option<(Uid, Gid)> {
    // To the system call this number means that the owner is to stay.
    let is_id = |id| id != u32::MAX;
    (rustix::process::geteuid().is_root() && is_id(archive.uid) && is_id(archive.gid))
        .then(|| (Uid::from_raw(archive.uid), Gid::from_raw(archive.gid)))
}

fn times(metadata: &Metadata) -> Timestamps {
    // Both: over libfuse 2 a single one is lost.
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Timestamps {
        last_access: Timespec { tv_sec: now.as_secs().cast_signed(), tv_nsec: now.subsec_nanos().into() },
        last_modification: Timespec {
            tv_sec: metadata.mtime_seconds,
            // Below 10^9 (the message decoder saw to it), which fits a `long` of any width.
            tv_nsec: metadata.mtime_nanos as _,
        },
    }
}

#[cfg(any(target_os = "linux", target_os = "macos"))]
fn attributes(
    file: BorrowedFd<'_>,
    archive: &Archive,
    of: Of,
    lists: bool,
    refused: &dyn Fn(Kind, &str, Errno),
) {
    use rustix::fs::XattrFlags;
    const ACCESS: &[u8] = b"system.posix_acl_access";
    const DEFAULT: &[u8] = b"system.posix_acl_default";
    for Attribute { name, value } in archive.attributes.iter() {
        let kind = match name {
            DEFAULT if of == Of::File => continue,
            ACCESS | DEFAULT if !lists => continue,
            ACCESS | DEFAULT => Kind::AccessControlList,
            // What else the kernel calls its own is no attribute but a view of something.
            _ if name.starts_with(b"system.") => continue,
            _ if name.starts_with(b"user.") => Kind::UserAttribute,
            _ => Kind::SystemAttribute,
        };
        let set = || rustix::fs::fsetxattr(file, name, value, XattrFlags::empty());
        let result = match set() {
            // A folder that its owner cannot write to takes none; it gets its mode afterwards.
            Err(Errno::ACCESS) if rustix::fs::fchmod(file, Mode::RWXU).is_ok() => set(),
            result => result,
        };
        if let Err(errno) = result {
            refused(kind, &format!("the attribute {}", Escaped(name)), errno);
        }
    }
    // One that it inherited from the folder it was made in would say something else than the mode.
    for list in [ACCESS, DEFAULT] {
        if lists
            && (list == ACCESS || of != Of::File)
            && !archive.attributes.iter().any(|other| other.name == list)
        {
            // Most often there is none.
            let _ = rustix::fs::fremovexattr(file, list);
        }
    }
}

#[cfg(not(any(target_os = "linux", target_os = "macos")))]
fn attributes(_: BorrowedFd<'_>, archive: &Archive, _: Of, _: bool, refused: &dyn Fn(Kind, &str, Errno)) {
    if !archive.attributes.is_empty() {
        refused(Kind::UserAttribute, "attributes", Errno::NOSYS);
    }
}

/// Warns of the first of each kind only: a file system that knows no owners refuses a million times.
fn refused(dir: &Dir, kind: Kind, what: &str, path: &dyn Fn() -> PathBuf, errno: Errno) {
    let path = path();
    let path = Escaped::from(path.as_path());
    let before = dir.place().refused.fetch_or(kind as u8, Ordering::Relaxed);
    if before & kind as u8 == 0 {
        tracing::warn!(
            %path, %errno,
            "could not set {what}; the bytes are complete, and others that this is refused to are not told of"
        );
    } else {
        tracing::debug!(%path, %errno, "could not set {what}");
    }
}
