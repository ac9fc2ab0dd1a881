//! The last step: a complete, verified part file gets its mode, its time and its final name.

use std::os::fd::AsFd;
use std::path::Path;
use std::sync::atomic::Ordering;

use rustix::fs::{Mode, RawMode, Timespec, Timestamps, UTIME_OMIT};
use rustix::io::Errno;

use super::Existing;
use super::dir::{Dir, is_unsupported};
use super::error::{FileKind, SinkError, SinkErrorKind};
use super::part::Part;
use super::space::{self, length};
use crate::limits::{EXTENSION_BYTES_MAX, NAME_BYTES_MAX, RENAME_NUMBER_MAX};
use crate::name::{Escaped, Name, shorten};
use crate::protocol::message::Metadata;

/// Where a file ended up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// Its final name.
    pub name: Name,
    /// Whether that is another name than the sender's.
    pub renamed: bool,
}

impl Part {
    /// Gives the file its final name in one step, so that the name holds either what was there before or the
    /// whole file. The caller has verified its bytes. On an error nothing is replaced, and the part file stays, unless
    /// the name is refused to it: then it would only lie there.
    ///
    /// Mode and time are set as far as the file system knows them; what it refuses is only a warning.
    ///
    /// # Errors
    /// [`SinkError::Exists`] with [`Existing::Refuse`] when the name is taken, [`SinkError::InTheWay`] with
    /// [`Existing::Overwrite`] when a directory has it, [`SinkError::NoFreeName`] with [`Existing::Rename`];
    /// [`SinkError::WrongLength`] and [`SinkError::Swapped`] when somebody else had a hand in the part file;
    /// otherwise what the system said.
    pub fn publish(&self, metadata: &Metadata, existing: Existing) -> Result<Published, SinkError> {
        self.dress(metadata);
        self.publish_dressed(existing)
    }

    /// The same for a part that has its mode and time already (see [`Part::dress`]).
    ///
    /// # Errors
    /// See [`Part::publish`].
    pub fn publish_dressed(&self, existing: Existing) -> Result<Published, SinkError> {
        let stat = rustix::fs::fstat(&self.file)
            .map_err(|errno| SinkError::system("look at", self.part_path(), errno))?;
        if length(&stat) != self.size {
            return Err(SinkError::WrongLength {
                path: self.part_path(),
                expected: self.size,
                actual: length(&stat),
            });
        }
        let moved = self.check_unchanged(&stat).and_then(|()| match existing {
            Existing::Refuse => self.move_new(),
            Existing::Overwrite => self.move_over(),
            Existing::Rename => self.move_numbered(),
        });
        match &moved {
            Ok(_) => self.settled.store(true, Ordering::Relaxed),
            Err(error) if error.kind() == SinkErrorKind::Policy => drop(self.discard()),
            Err(_) => self.set_part_mode(),
        }
        moved
    }

    /// Sets mode and time, as far as the file system knows them; what it refuses is only a warning.
    pub fn dress(&self, metadata: &Metadata) {
        // Only the nine permission bits, which fit whatever width the system gives a mode: no sender makes
        // anything setuid here.
        let mode = Mode::from_raw_mode((metadata.mode & 0o777) as RawMode);
        if let Err(errno) = rustix::fs::fchmod(&self.file, mode) {
            let path = self.path();
            tracing::warn!(path = %Escaped::from(path.as_path()), %errno, "could not set the permissions; the file itself is complete");
        }
        let times = Timestamps {
            last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
            last_modification: Timespec {
                tv_sec: metadata.mtime_seconds,
                // Below 10^9 (the message decoder saw to it), which fits a `long` of any width.
                tv_nsec: metadata.mtime_nanos as _,
            },
        };
        if let Err(errno) = rustix::fs::futimens(&self.file, &times) {
            let path = self.path();
            tracing::warn!(path = %Escaped::from(path.as_path()), %errno, "could not set the time of the last change; the file itself is complete");
        }
    }

    /// The rename goes by name, so the name must still mean our file, and our file must have no other name
    /// through which somebody could go on changing it.
    fn check_unchanged(&self, stat: &rustix::fs::Stat) -> Result<(), SinkError> {
        let is_still = self
            .dir
            .is_still(&self.part_name, stat)
            .map_err(|errno| SinkError::system("look at", self.part_path(), errno))?;
        if is_still && stat.st_nlink <= 1 {
            return Ok(());
        }
        Err(SinkError::Swapped { path: self.part_path() })
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
                Err(SinkError::InTheWay { path: self.path(), what: FileKind::Directory })
            }
            Err(errno) => Err(self.not_moved("replace", &self.path(), errno)),
        }
    }

    fn move_numbered(&self) -> Result<Published, SinkError> {
        if let Moved::Done = self.try_name(&self.name)? {
            return Ok(self.published(self.name.clone()));
        }
        for number in 1..=RENAME_NUMBER_MAX {
            if let Some(name) = numbered(&self.name, number)
                && let Moved::Done = self.try_name(&name)?
            {
                return Ok(self.published(name));
            }
        }
        Err(SinkError::NoFreeName { path: self.path(), tried: RENAME_NUMBER_MAX })
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
        space::refused(action, self.file.as_fd(), self.size, to, errno)
    }

    fn published(&self, name: Name) -> Published {
        Published { renamed: name != self.name, name }
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
    dir.link(from, to).map_err(|errno| match errno {
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

/// `photo.jpg` with its number: `photo (1).jpg`. The stem is shortened where the whole would be too long.
/// `None` when no name comes of it.
pub(super) fn numbered(name: &Name, number: u32) -> Option<Name> {
    let (stem, ending) = split_ending(name.as_bytes());
    let number = format!(" ({number})");
    let room = NAME_BYTES_MAX.checked_sub(number.len() + ending.len())?;
    let stem = shorten(stem, room);
    Name::from_wire(&[stem, number.as_bytes(), ending].concat()).ok()
}

/// Splits a name into its stem and its ending with the dot, as file managers do: the last ending, or both of
/// `.tar.gz` and its like. A name that only begins with dots has no ending.
fn split_ending(name: &[u8]) -> (&[u8], &[u8]) {
    let whole = name.split_at(name.len());
    let Some((stem, ending)) = split_last_dot(name) else {
        return whole;
    };
    match split_last_dot(stem) {
        Some((short, tar)) if tar.eq_ignore_ascii_case(b".tar") => {
            name.split_at_checked(short.len()).unwrap_or(whole)
        }
        _ => (stem, ending),
    }
}

fn split_last_dot(name: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = name.iter().rposition(|&byte| byte == b'.')?;
    let (stem, ending) = name.split_at_checked(at)?;
    let has_stem = stem.iter().any(|&byte| byte != b'.');
    let is_type =
        (2..=EXTENSION_BYTES_MAX + 1).contains(&ending.len()) && !ending.iter().any(u8::is_ascii_whitespace);
    (has_stem && is_type).then_some((stem, ending))
}
