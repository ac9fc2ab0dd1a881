//! Symbolic links, and further names of files. Neither is ever followed.

use rustix::fs::Stat;
use rustix::io::Errno;

use super::dir::{Dir, NotReplaced, is_unsupported, kind_of};
use super::error::{FileKind, LinkFault, SinkError};
use super::existing::{Existing, Found};
use super::folders::FindMode;
use super::metadata::Of;
use super::owner::Owner;
use super::part_name::part_name_in;
use super::publish::numbered_name;
use super::refused::not_named;
use super::sink::Sink;
use super::{folders, metadata};
use crate::content::entry::{EntryKind, Metadata};
use crate::limits::PARTS_PER_NAME_MAX;
use crate::name::{Escaped, Name, RelativePath};
use crate::os::stamp::Stamp;

impl Sink {
    /// Makes the symbolic link `path` to `target`, which is text and never followed. It gets its time, and
    /// with [`Metadata::archive`] its owner, as far as the file system and our rights allow. The same link
    /// there already is [`Made::Identical`], whatever its time was; it has the right one then.
    ///
    /// # Errors
    /// [`SinkError::Exists`] with [`Existing::Refuse`] when something else is there, [`SinkError::InTheWay`] with
    /// [`Existing::Overwrite`] when that is a directory, or when something on the way is none,
    /// [`SinkError::NoFreeName`] with [`Existing::Rename`]; otherwise what the system said.
    pub fn symlink(
        &self,
        path: &RelativePath,
        target: &[u8],
        metadata: &Metadata,
    ) -> Result<Made, SinkError> {
        let name = path.name();
        self.folders.within(folders::parent(path.as_bytes()), |dir| {
            let make = |name: &[u8]| {
                dir.symlink(target, name)?;
                metadata::dress_link(dir, name, metadata);
                Ok(())
            };
            let same = |name: &Name, stat: &Stat| is_link_to(dir, name, stat, target);
            let wish = Wish {
                dir,
                name: &name,
                owner: self.owner,
                existing: self.existing,
                kind: FileKind::Symlink,
            };
            let made = wish.fulfil(&same, &make, &|at, errno| not_made(dir, at, errno))?;
            if made == Made::Identical {
                metadata::dress_link(dir, name.as_bytes(), metadata);
            }
            Ok(made)
        })
    }

    /// Gives the regular file `to` the further name `path`. One that it has already is [`Made::Identical`].
    ///
    /// # Errors
    /// [`SinkError::NotLinked`] when `to` is missing or no regular file, when the file system cannot do it, or with
    /// [`Existing::Refuse`] when another file has the name; otherwise as for [`Sink::symlink`].
    pub fn hard_link(&self, path: &RelativePath, to: &RelativePath) -> Result<Made, SinkError> {
        let fault = |fault| self.not_linked(path, to.as_bytes(), fault);
        let source = self.folders.find(folders::parent(to.as_bytes()), FindMode::Enter)?;
        let source = source.ok_or_else(|| fault(LinkFault::Missing))?;
        let file = to.name();
        let stat = match source.stat(file.as_bytes()) {
            Ok(Some(stat)) => stat,
            Ok(None) => return Err(fault(LinkFault::Missing)),
            Err(errno) => return Err(SinkError::system("look at", source.path_of(file.as_bytes()), errno)),
        };
        if kind_of(&stat) != FileKind::Regular {
            return Err(fault(LinkFault::Kind(kind_of(&stat))));
        }
        let name = path.name();
        self.folders.within(folders::parent(path.as_bytes()), |dir| {
            let make = |name: &[u8]| dir.link(&source, file.as_bytes(), name);
            let same = |_: &Name, there: &Stat| self.is_further_name(there, &stat).map_err(fault);
            let wish = Wish {
                dir,
                name: &name,
                owner: self.owner,
                existing: self.existing,
                kind: FileKind::Regular,
            };
            wish.fulfil(&same, &make, &|at, errno| match errno {
                Errno::PERM | Errno::MLINK | Errno::XDEV => fault(LinkFault::Unsupported(errno.into())),
                errno if is_unsupported(errno) => fault(LinkFault::Unsupported(errno.into())),
                errno => not_made(dir, at, errno),
            })
        })
    }

    /// What would become of an entry, without changing anything: `true` when it would be made (for a file:
    /// when it would be received, or compared with one of the same size), `false` when the same is there
    /// already. A file is expected to be there when its further name is made, so it is not looked for.
    ///
    /// # Errors
    /// Those that making it would meet, as far as they can be known.
    pub fn would_make(&self, path: &RelativePath, kind: &EntryKind) -> Result<bool, SinkError> {
        if self.is_absent {
            return Ok(true);
        }
        let (what, to) = match kind {
            EntryKind::Folder | EntryKind::ParentFolder => return self.would_make_folder(path),
            EntryKind::File { size, .. } => return self.would_receive(path, *size),
            EntryKind::Stream => return self.would_receive(path, u64::MAX),
            EntryKind::Symlink { .. } => (FileKind::Symlink, None),
            EntryKind::HardLink { to } => {
                let bad = |bad| self.not_linked(path, to, LinkFault::BadName(bad));
                (FileKind::Regular, Some(RelativePath::from_wire(to).map_err(bad)?))
            }
        };
        let Some(dir) = self.folders.find(folders::parent(path.as_bytes()), FindMode::Look)? else {
            return Ok(true);
        };
        let name = path.name();
        let Some(stat) = looked_at(&dir, &name)? else { return Ok(true) };
        let is_same = match (kind, to) {
            (EntryKind::Symlink { target }, _) => is_link_to(&dir, &name, &stat, target)?,
            (_, Some(to)) => match self.folders.find(folders::parent(to.as_bytes()), FindMode::Look)? {
                Some(source) => match looked_at(&source, &to.name())? {
                    Some(file) => self
                        .is_further_name(&stat, &file)
                        .map_err(|fault| self.not_linked(path, to.as_bytes(), fault))?,
                    None => false,
                },
                None => false,
            },
            _ => false,
        };
        let wish = Wish { dir: &dir, name: &name, owner: self.owner, existing: self.existing, kind: what };
        if is_same { Ok(false) } else { wish.check(&stat).map(|()| true) }
    }

    fn would_receive(&self, path: &RelativePath, size: u64) -> Result<bool, SinkError> {
        match self.look(path, size) {
            Ok(Found::Different) if self.existing == Existing::Refuse => {
                Err(SinkError::Exists { path: self.root().path_of(path.as_bytes()) })
            }
            Err(SinkError::InTheWay { expected: FileKind::Regular, .. })
                if self.existing == Existing::Rename =>
            {
                Ok(true)
            }
            found => found.map(|_| true),
        }
    }

    /// Whether what is `there` is the same file. One that may be a copy of it is left to a comparison, where
    /// it is not to be replaced.
    fn is_further_name(&self, there: &Stat, file: &Stat) -> Result<bool, LinkFault> {
        match (is_same_file(there, file), kind_of(there), self.existing) {
            (false, FileKind::Regular, Existing::Refuse) => Err(LinkFault::Taken),
            (same, ..) => Ok(same),
        }
    }

    fn not_linked(&self, path: &RelativePath, to: &[u8], fault: LinkFault) -> SinkError {
        let root = self.root();
        SinkError::NotLinked { path: root.path_of(path.as_bytes()), to: root.path_of(to), fault }
    }
}

/// An entry that is made in one step, and where.
struct Wish<'a> {
    dir: &'a Dir,
    name: &'a Name,
    /// Whose it is while it has the name of a part file.
    owner: Owner,
    existing: Existing,
    kind: FileKind,
}

/// Whether what stands there is what is wanted.
type Same<'a> = &'a dyn Fn(&Name, &Stat) -> Result<bool, SinkError>;
/// Makes it under a name, unless something is there (`EXIST`).
type Make<'a> = &'a dyn Fn(&[u8]) -> Result<(), Errno>;
/// The error for the user when it could not be made under a name.
type Failed<'a> = &'a dyn Fn(&[u8], Errno) -> SinkError;

impl Wish<'_> {
    fn fulfil(&self, same: Same<'_>, make: Make<'_>, failed: Failed<'_>) -> Result<Made, SinkError> {
        // Most are new.
        if self.made(self.name, make, failed)? {
            return Ok(Made::New);
        }
        // Should it be gone again, nothing is lost by going on as if it were not.
        let there = looked_at(self.dir, self.name)?;
        if let Some(stat) = there {
            if same(self.name, &stat)? {
                return Ok(Made::Identical);
            }
            self.check(&stat)?;
        }
        match self.existing {
            Existing::Refuse => Err(SinkError::Exists { path: self.path() }),
            Existing::Overwrite => self.replace(there.as_ref().map(Stamp::of), make, failed),
            Existing::Rename => {
                // One that an earlier transfer made there will do.
                let has = |name: &Name| self.has(name, same);
                let made = |name: &Name| self.made(name, make, failed);
                numbered_name(self.dir, self.name, has, made).map(Made::Renamed)
            }
        }
    }

    fn has(&self, name: &Name, same: Same<'_>) -> Result<bool, SinkError> {
        looked_at(self.dir, name)?.map_or(Ok(false), |stat| same(name, &stat))
    }

    /// Whether what stands there may be dealt with as the user said.
    fn check(&self, there: &Stat) -> Result<(), SinkError> {
        match (self.existing, kind_of(there)) {
            (Existing::Refuse, _) => Err(SinkError::Exists { path: self.path() }),
            (Existing::Overwrite, what @ FileKind::Directory) => Err(self.in_the_way(what)),
            _ => Ok(()),
        }
    }

    fn made(&self, name: &Name, make: Make<'_>, failed: Failed<'_>) -> Result<bool, SinkError> {
        match make(name.as_bytes()) {
            Ok(()) => Ok(true),
            Err(Errno::EXIST) => Ok(false),
            Err(errno) => Err(failed(name.as_bytes(), errno)),
        }
    }

    /// Makes it under the name of a part file and renames that over what is there, so that the name always
    /// stands for the one or the other.
    fn replace(&self, there: Option<Stamp>, make: Make<'_>, failed: Failed<'_>) -> Result<Made, SinkError> {
        for number in 0..PARTS_PER_NAME_MAX {
            let part = part_name_in(self.dir, self.name, self.owner, number);
            match make(&part) {
                Ok(()) => return self.rename_over(&part, there, failed),
                Err(Errno::EXIST) => {}
                Err(errno) => return Err(failed(self.name.as_bytes(), errno)),
            }
        }
        Err(SinkError::PartsBusy { path: self.path(), tried: PARTS_PER_NAME_MAX })
    }

    fn rename_over(&self, part: &[u8], there: Option<Stamp>, failed: Failed<'_>) -> Result<Made, SinkError> {
        let renamed = match looked_at_bytes(self.dir, part)? {
            Some(made) => self.dir.replace_older(part, self.name.as_bytes(), &made, there),
            None => Err(NotReplaced::Failed(Errno::NOENT)),
        };
        // It is still there after an error, or when both were names of one file all of a sudden: then a
        // rename does nothing.
        match self.dir.unlink(part) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(errno) => {
                let path = self.dir.path_of(part);
                tracing::warn!(path = %Escaped::from(path.as_path()), %errno, "could not remove a name made for a moment");
            }
        }
        match renamed {
            Ok(()) => Ok(Made::New),
            Err(NotReplaced::Newer) => Err(SinkError::Newer { path: self.path() }),
            Err(NotReplaced::Failed(Errno::ISDIR | Errno::EXIST | Errno::NOTEMPTY)) => {
                Err(self.in_the_way(FileKind::Directory))
            }
            Err(NotReplaced::Failed(errno)) => Err(failed(self.name.as_bytes(), errno)),
        }
    }

    fn in_the_way(&self, what: FileKind) -> SinkError {
        SinkError::InTheWay { path: self.path(), what, expected: self.kind }
    }

    fn path(&self) -> std::path::PathBuf {
        self.dir.path_of(self.name.as_bytes())
    }
}

fn looked_at(dir: &Dir, name: &Name) -> Result<Option<Stat>, SinkError> {
    looked_at_bytes(dir, name.as_bytes())
}

fn looked_at_bytes(dir: &Dir, name: &[u8]) -> Result<Option<Stat>, SinkError> {
    dir.stat(name).map_err(|errno| SinkError::system("look at", dir.path_of(name), errno))
}

fn not_made(dir: &Dir, name: &[u8], errno: Errno) -> SinkError {
    not_named("make", dir, 0, dir.path_of(name), errno)
}

fn is_same_file(one: &Stat, other: &Stat) -> bool {
    (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino)
}

fn is_link_to(dir: &Dir, name: &Name, stat: &Stat, target: &[u8]) -> Result<bool, SinkError> {
    if kind_of(stat) != FileKind::Symlink {
        return Ok(false);
    }
    match rustix::fs::readlinkat(dir.fd(), name.as_bytes(), Vec::new()) {
        Ok(there) => Ok(there.as_bytes() == target),
        // Something took its place meanwhile.
        Err(Errno::NOENT | Errno::INVAL) => Ok(false),
        Err(errno) => Err(SinkError::system("read", dir.path_of(name.as_bytes()), errno)),
    }
}

// Folders that arrive: made if they are missing, and dressed when everything in them is there.

/// What became of a folder or a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Made {
    /// It was not there before.
    New,
    /// It was there. A folder is dressed all the same.
    Identical,
    /// It got this name, as its own was taken.
    Renamed(Name),
}

impl Sink {
    /// Makes the folder if it is missing and gives it mode and time, and with [`Metadata::archive`] owner and
    /// attributes, as far as the file system and our rights allow; what is refused is only a warning. Its
    /// time is right as long as nothing is made in it afterwards. Setuid, setgid and sticky bits are the
    /// sender's only where the owner is.
    ///
    /// A folder that was there stays as it is, with what is in it, except with [`Existing::Overwrite`]: it is
    /// not the sender's to change. One that another transfer has begun and not finished counts as new; and
    /// one that this receiver made for the same sender, and in which something was made since it had its
    /// time, gets its time again.
    ///
    /// `None` is the destination itself. It gets its time at most: mode and owner say who may use the
    /// receiver's own folder, and that is never for a sender to decide.
    ///
    /// [`Made::New`] where it was missing, or was made by [`Sink::part`] and the like for what is in it.
    ///
    /// # Errors
    /// [`SinkError::InTheWay`] where something else stands there or on the way; otherwise what the system said.
    pub fn folder(&self, path: Option<&RelativePath>, metadata: &Metadata) -> Result<Made, SinkError> {
        let Some(path) = path else {
            if self.existing == Existing::Overwrite {
                metadata::set_time(self.root(), metadata);
            }
            return Ok(Made::Identical);
        };
        let is_new = self.folders.within(path.as_bytes(), |dir| {
            let stat = rustix::fs::fstat(dir.fd())
                .map_err(|errno| SinkError::system("look at", dir.path().into(), errno))?;
            let is_new = self.folders.is_new(path.as_bytes()) || Dir::is_begun(&stat);
            // First: what is made in it meanwhile outdates it.
            if let Some(dressed) = dir.dressed().filter(|_| is_new) {
                dressed.note(path.as_bytes(), self.owner);
            }
            if is_new || self.existing == Existing::Overwrite {
                dress_folder(dir, &stat, metadata);
                dir.leave_as_it_is();
            } else {
                dir.close_again(&stat);
            }
            if dir.dressed().is_some_and(|dressed| dressed.take_outdated(path.as_bytes(), self.owner)) {
                metadata::set_time(dir, metadata);
            }
            Ok(is_new)
        })?;
        // Nothing more is expected in there.
        self.folders.forget(path.as_bytes());
        self.folders.take_undressed(path.as_bytes());
        Ok(if is_new { Made::New } else { Made::Identical })
    }

    /// Makes a folder as [`Sink::part`] and the like do for what is in it: it is open to this user alone
    /// until it has come as [`Sink::folder`].
    ///
    /// # Errors
    /// As [`Sink::folder`].
    pub fn parent_folder(&self, path: &RelativePath) -> Result<(), SinkError> {
        self.folders.make(path.as_bytes()).map(drop)
    }

    /// Whether a folder would be made, without changing anything.
    pub(super) fn would_make_folder(&self, path: &RelativePath) -> Result<bool, SinkError> {
        match self.folders.find(path.as_bytes(), FindMode::Look) {
            Ok(found) => Ok(found.is_none()),
            Err(error) => Err(error),
        }
    }
}

fn dress_folder(dir: &Dir, stat: &Stat, metadata: &Metadata) {
    // The mark of one that was begun, or opened, is not for good.
    let begun = if Dir::is_begun(stat) { STICKY } else { 0 };
    let mode = Dir::mode_before(stat).unwrap_or(stat.st_mode);
    // Its width differs by system.
    #[allow(clippy::useless_conversion)]
    let of = Of::Folder { special: u32::from(mode) & !begun };
    metadata::dress(dir, dir.fd(), metadata, of, &|| dir.path().into());
}

/// The sticky bit of a mode.
const STICKY: u32 = 0o1000;
