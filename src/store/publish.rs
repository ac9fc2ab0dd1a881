//! The last step: a complete, verified part file gets its final name.

use std::cell::Cell;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use rustix::fs::{Mode, OFlags, Stat};
use rustix::io::Errno;

use super::dir::{Dir, NotReplaced, is_unsupported, kind_of};
use super::error::{FileKind, SinkError, SinkErrorKind};
use super::existing::Existing;
use super::io::{read_exact_at, write_all_at};
use super::moves::move_new;
use super::owner::Owner;
use super::part::Part;
use super::part_name::part_name_in;
use super::refused::{is_about_a_name, not_named};
use super::space::length;
use super::{metadata, space};
use crate::content::chunk::Layout;
use crate::content::entry::Metadata;
use crate::content::tree::Hash;
use crate::content::whole::{self, Contents};
use crate::limits::{EXTENSION_BYTES_MAX, NAME_BYTES_MAX, RENAME_COMPARED_MAX, RENAME_NUMBER_MAX};
use crate::name::{Name, shorten};

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
    /// whole file. The caller has verified its bytes and dressed it, see [`Part::dress`]. On an error nothing
    /// is replaced, and the part file stays, unless the name is refused to it: then it would only lie there.
    ///
    /// With [`Existing::Rename`] files of the same size that have its name, or one of some numbered names
    /// (see `numbered_name`), are read: if one has the same bytes, that one stays, and the part file goes.
    /// Otherwise each repetition of a transfer would leave another copy. `None`, and the part file stays,
    /// where it was not to go on with that.
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
        if let Err(error) = close_well(self.file.as_fd(), self.size(), &self.path()) {
            // Memory may still have what the device has not, and a comparison would find nothing wrong.
            let _ = self.discard();
            return Err(error);
        }
        let moved = match existing {
            Existing::Refuse => self.move_new().map(Some),
            Existing::Overwrite => self.move_over().map(Some),
            Existing::Rename => self.move_numbered(verified),
        };
        match &moved {
            Ok(Some(published)) if published.existed => drop(self.discard()),
            Ok(Some(_)) => {
                self.settled.store(true, Ordering::Relaxed);
                self.remove_left_by_others();
            }
            // No later transfer could do any better.
            Err(error)
                if error.kind() == SinkErrorKind::Policy
                    || matches!(error, SinkError::NoSafeRename { .. }) =>
            {
                drop(self.discard());
            }
            Ok(None) | Err(_) => self.set_part_mode(),
        }
        moved
    }

    /// The file as it is now.
    pub fn stat(&self) -> Option<Stat> {
        rustix::fs::fstat(&self.file).ok()
    }

    /// Gives the file its mode and time, and with [`Metadata::archive`] owner and attributes, as far as the
    /// file system and our rights allow; what is refused is only a warning.
    pub fn dress(&self, metadata: &Metadata) {
        metadata::dress(&self.dir, self.file.as_fd(), metadata, metadata::Of::File, &|| self.path());
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
        let stat = rustix::fs::fstat(&self.file)
            .map_err(|errno| SinkError::system("look at", self.part_path(), errno))?;
        match self.dir.replace_older(&self.part_name, self.name.as_bytes(), &stat, self.looked_at) {
            Ok(()) => Ok(self.published(self.name.clone())),
            Err(NotReplaced::Newer) => Err(SinkError::Newer { path: self.path() }),
            Err(NotReplaced::Failed(Errno::ISDIR | Errno::EXIST | Errno::NOTEMPTY)) => {
                let expected = FileKind::Regular;
                Err(SinkError::InTheWay { path: self.path(), what: FileKind::Directory, expected })
            }
            Err(NotReplaced::Failed(errno)) if is_about_a_name(errno) => Err(self.unstorable(errno)),
            Err(NotReplaced::Failed(errno)) => Err(self.not_moved("replace", &self.path(), errno)),
        }
    }

    fn move_numbered(&self, verified: &Verified<'_>) -> Result<Option<Published>, SinkError> {
        // What stands at the last name that was compared.
        let there = Cell::new(Occupant::Other);
        let make = |name: &Name| Ok(matches!(self.try_name(name)?, Moved::Done));
        let same = |name: &Name| {
            there.set(self.standing(name, verified));
            Ok(there.get() != Occupant::Other)
        };
        let name = match make(&self.name)? || same(&self.name)? {
            true => self.name.clone(),
            false => numbered_name(&self.dir, &self.name, same, make)?,
        };
        let published = self.published(name);
        Ok(match there.get() {
            Occupant::Other => Some(published),
            Occupant::Same => Some(Published { existed: true, ..published }),
            Occupant::Unknown => None,
        })
    }

    fn try_name(&self, to: &Name) -> Result<Moved, SinkError> {
        let (from, to) = (&self.part_name[..], to.as_bytes());
        match move_new(&self.dir, from, to) {
            Ok(()) => Ok(Moved::Done),
            Err(Errno::EXIST) => Ok(Moved::Taken),
            // Renames are known to work here by now, so it is about the name.
            Err(errno) if is_about_a_name(errno) => Err(self.unstorable(errno)),
            Err(errno) if is_unsupported(errno) => {
                Err(SinkError::NoSafeRename { path: self.dir.path_of(to) })
            }
            Err(errno) => Err(self.not_moved("make", &self.dir.path_of(to), errno)),
        }
    }

    fn unstorable(&self, errno: Errno) -> SinkError {
        SinkError::NameUnstorable { path: self.path(), cause: errno.into() }
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

// Names with a number, for what is received beside something of the same name.

/// A numbered name of `name`: one at which the `same` stands, or a free one that could be had by `make`.
/// However many there are, no more than [`RENAME_COMPARED_MAX`] are compared, those with the lowest and the
/// highest numbers, and few are looked at.
pub(super) fn numbered_name(
    dir: &Dir,
    name: &Name,
    same: impl Fn(&Name) -> Result<bool, SinkError>,
    make: impl Fn(&Name) -> Result<bool, SinkError>,
) -> Result<Name, SinkError> {
    let free = free_number(dir, name)?;
    let few = RENAME_COMPARED_MAX / 2;
    let highest = (1..free).rev().take(few as usize);
    let lowest = 1..free.saturating_sub(few).min(few + 1);
    for name in highest.chain(lowest).filter_map(|number| numbered(name, number)) {
        if same(&name)? {
            return Ok(name);
        }
    }
    for name in (free..=RENAME_NUMBER_MAX).filter_map(|number| numbered(name, number)) {
        // Where somebody else was faster, that may be what we have.
        if make(&name)? || same(&name)? {
            return Ok(name);
        }
    }
    Err(SinkError::NoFreeName { path: dir.path_of(name.as_bytes()), tried: RENAME_NUMBER_MAX })
}

/// A number whose name is free, while that of the number before is taken: with names that were given in
/// order, the first. One past the last where none is.
fn free_number(dir: &Dir, name: &Name) -> Result<u32, SinkError> {
    let is_taken = |number| {
        let Some(name) = numbered(name, number) else { return Ok(true) };
        let stat = dir.stat(name.as_bytes());
        let stat = stat.map_err(|errno| SinkError::system("look at", dir.path_of(name.as_bytes()), errno))?;
        Ok(stat.is_some())
    };
    let (mut taken, mut free) = (0, 1);
    while is_taken(free)? {
        if free == RENAME_NUMBER_MAX {
            return Ok(free + 1);
        }
        (taken, free) = (free, (2 * free).min(RENAME_NUMBER_MAX));
    }
    while free - taken > 1 {
        let middle = taken + (free - taken) / 2;
        if is_taken(middle)? { taken = middle } else { free = middle }
    }
    Ok(free)
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

// Whether what has a name already is the file that was received.

/// What stands at a name that is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Occupant {
    /// A file with the bytes of the part.
    Same,
    /// Anything else, and what cannot be read, so that nobody can show that it is the same.
    Other,
    /// It was not to be read to its end.
    Unknown,
}

impl Part {
    /// Whether something has the name that it is to get.
    #[must_use]
    pub fn is_name_taken(&self) -> bool {
        !matches!(self.dir.stat(self.name.as_bytes()), Ok(None))
    }

    /// What stands at `name`. Reads only a file of the same size, and of that no more than up to the first
    /// chunk that differs.
    pub(super) fn standing(&self, name: &Name, verified: &Verified<'_>) -> Occupant {
        let there = match self.of_same_size(name) {
            Ok(Some(there)) => there,
            Ok(None) => return Occupant::Other,
            Err(errno) => {
                tracing::debug!(path = %self.shown(name), %errno, "could not compare a file");
                return Occupant::Other;
            }
        };
        self.compare(name, &there, verified).unwrap_or_else(|error| {
            tracing::debug!("{error}");
            Occupant::Other
        })
    }

    /// A file of the size of this one, if that is what stands there.
    fn of_same_size(&self, name: &Name) -> Result<Option<OwnedFd>, Errno> {
        let is_like_ours = |stat: &Stat| kind_of(stat) == FileKind::Regular && length(stat) == self.size();
        // Asked before opening, as opening a device or a FIFO can have effects of its own.
        if !self.dir.stat(name.as_bytes())?.as_ref().is_some_and(is_like_ours) {
            return Ok(None);
        }
        let there = self.dir.open(name.as_bytes(), OFlags::RDONLY, Mode::empty())?;
        let stat = rustix::fs::fstat(&there)?;
        Ok(is_like_ours(&stat).then_some(there))
    }

    fn compare(&self, name: &Name, there: &OwnedFd, verified: &Verified<'_>) -> Result<Occupant, SinkError> {
        let path = || self.dir.path_of(name.as_bytes());
        let mut both = Both { part: self, there: there.as_fd(), path: &path, ours: Vec::new(), verified };
        // Ours was verified as it arrived, and not as it was read just now.
        match whole::hash(Layout::new(self.size()), &mut both) {
            Ok(None) => return Ok(Occupant::Unknown),
            Ok(Some(hash)) if hash == verified.hash => {}
            Ok(Some(_)) | Err(None) => return Ok(Occupant::Other),
            Err(Some(error)) => return Err(error),
        }
        if verified.sync {
            let failed = |errno| SinkError::system("sync", self.dir.path_of(name.as_bytes()), errno);
            // One that cannot be is no reason to do without ours.
            rustix::fs::fsync(there).map_err(failed)?;
        }
        Ok(Occupant::Same)
    }

    fn shown(&self, name: &Name) -> String {
        crate::name::Escaped::path(&self.dir.path_of(name.as_bytes())).to_string()
    }
}

/// The part file and what has its name: read as one for as long as they are the same.
struct Both<'a> {
    part: &'a Part,
    there: BorrowedFd<'a>,
    path: &'a dyn Fn() -> PathBuf,
    ours: Vec<u8>,
    verified: &'a Verified<'a>,
}

impl Contents for Both<'_> {
    /// None where they differ.
    type Error = Option<SinkError>;

    fn read(&mut self, theirs: &mut [u8], offset: u64) -> Result<(), Option<SinkError>> {
        self.ours.resize(theirs.len(), 0);
        read_exact_at(self.there, theirs, offset, self.path)?;
        self.part.read_at(&mut self.ours, offset)?;
        if *theirs == *self.ours { Ok(()) } else { Err(None) }
    }

    fn go_on(&self, _: u64) -> bool {
        (self.verified.go_on)()
    }
}

// A file that arrives whole. Where the file system can (Linux, O_TMPFILE), it has no name until all of it is
// there: that takes half as many system calls as a part file, and leaves nothing behind when the machine
// stops.

/// Has the file system say what it says when a file is closed: over a network and FUSE that may be the first
/// word of a full disk or quota.
fn close_well(file: BorrowedFd<'_>, size: u64, path: &Path) -> Result<(), SinkError> {
    let copy = file.try_clone_to_owned().map_err(|error| {
        let errno = Errno::from_io_error(&error).unwrap_or(Errno::MFILE);
        SinkError::system("close", path.into(), errno)
    })?;
    nix::unistd::close(copy)
        .map_err(|errno| space::refused("close", file, size, path, Errno::from_raw_os_error(errno as i32)))
}

/// Makes the file `name` of these bytes, in a folder that may be `new`. The file as it is then; `None` where
/// it has to go by way of a part file: something has that name, an earlier transfer left a part file that is
/// to be used up, or the file system knows no files without a name.
pub(super) fn store(
    dir: &Dir,
    name: &Name,
    owner: Owner,
    content: &[u8],
    metadata: &Metadata,
    new: bool,
) -> Result<Option<Stat>, SinkError> {
    let path = || dir.path_of(name.as_bytes());
    let size = content.len() as u64;
    if !new && !matches!(dir.stat(&part_name_in(dir, name, owner, 0)), Ok(None)) {
        return Ok(None);
    }
    let Some(file) = dir.open_unnamed() else { return Ok(None) };
    write_all_at(file.as_fd(), content, 0)
        .map_err(|(_, errno)| space::refused("write", file.as_fd(), size, &path(), errno))?;
    dir.note_began(file.as_fd());
    metadata::dress(dir, file.as_fd(), metadata, metadata::Of::File, &path);
    close_well(file.as_fd(), size, &path())?;
    match dir.name_unnamed(file.as_fd(), name.as_bytes()) {
        Ok(()) => {
            let made = rustix::fs::fstat(&file);
            made.map(Some).map_err(|errno| SinkError::system("look at", path(), errno))
        }
        // Making the part file says what is wrong, and can do something about it.
        Err(Errno::EXIST | Errno::NOENT) => Ok(None),
        Err(errno) if is_unsupported(errno) || matches!(errno, Errno::PERM | Errno::MLINK) => Ok(None),
        Err(errno) => Err(not_named("make", dir, size, path(), errno)),
    }
}
