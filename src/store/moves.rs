//! Moves that never replace anything, in whatever way they can be had.

use rustix::io::Errno;

use super::dir::{Dir, is_unsupported};
use crate::name::Escaped;

/// Moves `from` to `to` unless something is there (`EXIST`), in whatever way can be had here.
pub(super) fn move_new(dir: &Dir, from: &[u8], to: &[u8]) -> Result<(), Errno> {
    match dir.rename_new(from, to) {
        Err(errno) if is_unsupported(errno) => link_new(dir, from, to),
        // A sandbox that does not know the call may say so (seccomp). Where it is a matter of rights, a link
        // is refused as well.
        Err(Errno::PERM) => {
            link_new(dir, from, to).map_err(|errno| if is_unsupported(errno) { Errno::PERM } else { errno })
        }
        result => result,
    }
}

/// Moves `from` to `to` unless something is there, for file systems that know no such rename: a hard link is
/// never made over an existing name. `OPNOTSUPP` where there are no hard links either.
pub(super) fn link_new(dir: &Dir, from: &[u8], to: &[u8]) -> Result<(), Errno> {
    dir.link(dir, from, to).map_err(|errno| match errno {
        // What file systems without hard links answer; the permission to make a name was shown by the part.
        Errno::PERM | Errno::MLINK | Errno::INVAL => Errno::OPNOTSUPP,
        errno => errno,
    })?;
    if let Err(errno) = dir.unlink(from) {
        // The file is where it belongs. A part with two names is never written into again.
        let path = dir.path_of(from);
        tracing::warn!(path = %Escaped::from(path.as_path()), %errno, "could not remove the part file's name");
    }
    Ok(())
}
