//! What the system has against a name.

use std::path::PathBuf;

use rustix::io::Errno;

use super::dir::Dir;
use super::error::SinkError;
use super::space;

/// Whether the system said that it does not like the name, and nothing else.
pub(super) fn is_about_a_name(errno: Errno) -> bool {
    matches!(errno, Errno::INVAL | Errno::ILSEQ | Errno::NAMETOOLONG)
}

/// What to tell of a name that could not be made.
pub(super) fn not_named(
    action: &'static str,
    dir: &Dir,
    size: u64,
    path: PathBuf,
    errno: Errno,
) -> SinkError {
    match errno {
        // The answer of FAT and NTFS to a name that they cannot store; nothing else is wrong with what was
        // asked.
        Errno::INVAL => SinkError::NameUnstorable { path, cause: errno.into() },
        errno => space::refused(action, dir.fd(), size, &path, errno),
    }
}
