//! The last step: a complete, verified part file gets its final name.

use std::cell::Cell;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::atomic::Ordering;

use rustix::fs::Stat;
use rustix::io::Errno;

use super::dir::{Dir, is_unsupported};
use super::error::{FileKind, SinkError, SinkErrorKind};
use super::numbering::first_free;
use super::part::Part;
use super::space::{self, length};
use super::standing::Standing;
use super::{Existing, dress};
use crate::name::{Escaped, Name};
use crate::protocol::message::Metadata;
use crate::tree::Hash;

/// Where a file ended up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// Its final name.
    pub name: Name,
    /// Whether that is another name than the sender's.
    pub renamed: bool,
    /// Whether a file with the same bytes stood there, so that this one is not needed.
    pub existed: bool,
}

/// What a part holds, as far as its caller has verified.
pub struct Verified<'a> {
    pub hash: Hash,
    /// Whether what stays in its place is to be on the device.
    pub sync: bool,
    /// Whether to go on, asked as long as files are read to compare them.
    pub go_on: &'a dyn Fn() -> bool,
}

impl Part {
    /// Gives the file its final name in one step, so that the name holds either what was there before or the
    /// whole file. The caller has verified its bytes and dressed it, see [`Part::dress`]. On an error nothing is replaced,
    /// and the part file stays, unless the name is refused to it: then it would only lie there.
    ///
    /// With [`Existing::Rename`] files of the same size that have its name, or one of the numbered names before the first
    /// free one, are read: if one has the same bytes, that one stays, and the part file goes. Otherwise each repetition of
    /// a transfer would leave another copy. `None`, and the part file stays, where it was not to go on with that.
    ///
    /// # Errors
    /// [`SinkError::Exists`] with [`Existing::Refuse`] when the name is taken, [`SinkError::InTheWay`] with
    /// [`Existing::Overwrite`] when a directory has it, [`SinkError::NoFreeName`] with [`Existing::Rename`];
    /// [`SinkError::WrongLength`] and [`SinkError::Swapped`] when somebody else had a hand in the part file;
    /// otherwise what the system said.
    pub fn publish_dressed(
        &self,
        existing: Existing,
        verified: &Verified<'_>,
    ) -> Result<Option<Published>, SinkError> {
        let actual = length(&self.unchanged()?);
        if actual != self.size() {
            let path = self.part_path();
            return Err(SinkError::WrongLength { path, expected: self.size(), actual });
        }
        let moved = match existing {
            Existing::Refuse => self.move_new().map(Some),
            Existing::Overwrite => self.move_over().map(Some),
            Existing::Rename => self.move_numbered(verified),
        };
        match &moved {
            Ok(Some(published)) if published.existed => drop(self.discard()),
            Ok(Some(_)) => self.settled.store(true, Ordering::Relaxed),
            Err(error) if error.kind() == SinkErrorKind::Policy => drop(self.discard()),
            Ok(None) | Err(_) => self.set_part_mode(),
        }
        moved
    }

    /// Gives the file its mode and time, and with [`Metadata::archive`] owner and attributes, as far as the file system
    /// and our rights allow; what is refused is only a warning.
    pub fn dress(&self, metadata: &Metadata) {
        dress::dress(&self.dir, self.file.as_fd(), metadata, dress::Of::File, &|| self.path());
    }

    /// The rename goes by name, so the name must still mean our file, and our file must have no other name
    /// through which somebody could go on changing it.
    fn unchanged(&self) -> Result<Stat, SinkError> {
        let there = self
            .dir
            .stat(&self.part_name)
            .map_err(|errno| SinkError::system("look at", self.part_path(), errno))?;
        if there.is_none() && self.dir.is_removed() {
            return Err(SinkError::Removed { path: self.dir.path().into() });
        }
        there
            .filter(|stat| self.identity == (stat.st_dev, stat.st_ino) && stat.st_nlink <= 1)
            .ok_or_else(|| SinkError::Swapped { path: self.part_path() })
    }

    fn move_new(&self) -> Result<Published, SinkError> {
        match self.try_name(&self.name)? {
            Moved::Done => Ok(self.published(self.name.clone())),
            Moved::Taken => Err(SinkError::Exists { path: self.path() }),
        }
    }

    fn move_over(&self) -> Result<Published, SinkError> {
        match self.dir.rename_over(&self.part_name, self.name.as_bytes()) {
            Ok(()) => Ok(self.published(self.name.clone())),
            Err(Errno::ISDIR | Errno::EXIST | Errno::NOTEMPTY) => {
                let expected = FileKind::Regular;
                Err(SinkError::InTheWay { path: self.path(), what: FileKind::Directory, expected })
            }
            Err(errno) => Err(self.not_moved("replace", &self.path(), errno)),
        }
    }

    fn move_numbered(&self, verified: &Verified<'_>) -> Result<Option<Published>, SinkError> {
        // What stands at the last name that was tried, if anything does.
        let there = Cell::new(Standing::Other);
        let take = |name: &Name| {
            if let Moved::Done = self.try_name(name)? {
                return Ok(true);
            }
            there.set(self.standing(name, verified));
            Ok(there.get() != Standing::Other)
        };
        let name =
            if take(&self.name)? { self.name.clone() } else { first_free(&self.dir, &self.name, take)? };
        let published = self.published(name);
        Ok(match there.get() {
            Standing::Other => Some(published),
            Standing::Same => Some(Published { existed: true, ..published }),
            Standing::Unknown => None,
        })
    }

    fn try_name(&self, to: &Name) -> Result<Moved, SinkError> {
        let (from, to) = (&self.part_name[..], to.as_bytes());
        let result = match self.dir.rename_new(from, to) {
            Err(errno) if is_unsupported(errno) => link_new(&self.dir, from, to),
            result => result,
        };
        match result {
            Ok(()) => Ok(Moved::Done),
            Err(Errno::EXIST) => Ok(Moved::Taken),
            Err(errno) if is_unsupported(errno) => {
                Err(SinkError::NoSafeRename { path: self.dir.path_of(to) })
            }
            Err(errno) => Err(self.not_moved("make", &self.dir.path_of(to), errno)),
        }
    }

    fn not_moved(&self, action: &'static str, to: &Path, errno: Errno) -> SinkError {
        space::refused(action, self.file.as_fd(), self.size(), to, errno)
    }

    fn published(&self, name: Name) -> Published {
        Published { renamed: name != self.name, name, existed: false }
    }
}

/// Whether a name could be had.
enum Moved {
    Done,
    Taken,
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
