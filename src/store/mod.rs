//! The destination: one directory, beneath which files arrive as part files and get their final names only when
//! they are complete and verified.
//!
//! - [`Sink::open`] takes the directory handle; everything afterwards is relative to it and follows no symlink.
//! - [`Sink::look`] says what stands at a final name.
//! - [`Sink::part`] gives the locked part file to write into, new or left by an earlier transfer.
//! - [`Sink::part_of_stream`] gives one whose length is known at its end.
//! - [`Sink::store_whole`] makes a small file at once.
//! - [`Part::dress`] sets mode, time and the like, and [`Part::publish_dressed`] renames.
//! - [`Output`] is the other destination: the standard output, for one file.
//! - [`Sink::symlink`] and [`Sink::hard_link`] make links, and [`Sink::folder`] makes and dresses folders.
//!
//! Everything is safe to use from many threads at once, and several processes may share a directory.

mod abilities;
mod clean;
mod dir;
mod dressed;
mod durable;
mod error;
mod existing;
mod folders;
mod io;
mod journal;
mod metadata;
mod own;
mod part;
mod publish;
pub mod space;
mod special;
mod stdout;
mod target;

#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;

use crate::name::RelativePath;
use rustix::fs::{Dev, Stat};

use crate::cache::{Cache, Key};
use crate::content::entry::Metadata;
use crate::os::direct::Direct;
use crate::os::stamp::Stamp;
use dir::Dir;
use folders::{Folders, Manner};
use part::{Form, Size};

pub use clean::{PartFiles, Removal, StalePart};
pub use error::{FileKind, LinkFault, NO_ROOM, SinkError, SinkErrorKind, SpaceLimit};
pub use existing::{ExistingFile, Found};
pub use io::DataExtents;
pub use part::{Owner, Part};
pub use publish::{Published, Verified};
pub use special::Made;
pub use stdout::Output;
pub use target::{Entry, Folder, FolderOptions, Target};

/// What to do when a final name is taken by a different file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Existing {
    /// Leave it and refuse the new one.
    #[default]
    Refuse,
    /// Replace it; a symlink is replaced itself, never what it points to.
    Overwrite,
    /// Keep both: the new one gets a number, as in `photo (1).jpg`.
    Rename,
}

/// Where a receiver puts what it gets.
#[derive(Debug)]
pub enum Destination {
    Folder(Sink),
    /// One file, in order.
    Output(Arc<Output>),
}

impl Destination {
    #[must_use]
    pub fn folder(&self) -> Option<&Sink> {
        match self {
            Destination::Folder(sink) => Some(sink),
            Destination::Output(_) => None,
        }
    }

    #[must_use]
    pub fn output(&self) -> Option<&Output> {
        match self {
            Destination::Folder(_) => None,
            Destination::Output(output) => Some(output),
        }
    }

    /// As [`Sink::check_place`]; the standard output has none.
    ///
    /// # Errors
    /// Those of [`Sink::check_place`].
    pub fn check_place(&self) -> Result<(), SinkError> {
        self.folder().map_or(Ok(()), Sink::check_place)
    }

    /// What to do when a name is taken. In the standard output there are no names.
    #[must_use]
    pub fn existing(&self) -> Existing {
        self.folder().map_or(Existing::Refuse, Sink::existing)
    }
}

/// A directory that files are received into.
#[derive(Debug)]
pub struct Sink {
    folders: Arc<Folders>,
    existing: Existing,
    direct: Option<Arc<Direct>>,
    /// Device and inode of the directory.
    identity: (Dev, u64),
    owner: Owner,
    /// It stands for a folder that is missing and not made, as a dry run makes none: nothing is in it.
    is_absent: bool,
}

impl Sink {
    /// Opens `dir` to receive into, and makes it when only its last part is missing. `dir` itself may be a
    /// symlink to a directory.
    ///
    /// # Errors
    /// [`SinkError::NoParent`], [`SinkError::NotADirectory`], [`SinkError::Permission`] and
    /// [`SinkError::ReadOnly`] when it cannot be used, otherwise what the system said.
    pub fn open(dir: &Path, existing: Existing) -> Result<Self, SinkError> {
        let (root, made) = Dir::open_root(dir)?;
        let identity = root.identity()?;
        let folders = Arc::new(Folders::new(root, made));
        Ok(Self { folders, existing, direct: None, identity, owner: Owner::default(), is_absent: false })
    }

    /// What this sink was told to do when a final name is taken.
    #[must_use]
    pub fn existing(&self) -> Existing {
        self.existing
    }

    /// The directory as the user wrote it.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.root().path()
    }

    fn root(&self) -> &Arc<Dir> {
        self.folders.root()
    }

    /// Looks at what stands at `path`, where a file of `size` bytes is to go. Nothing does where a folder on the way is
    /// missing.
    ///
    /// # Errors
    /// [`SinkError::InTheWay`] when it is a directory, a FIFO, a device or the like (none of which is opened), or when
    /// something on the way is no directory; otherwise what the system said.
    pub fn look(&self, path: &RelativePath, size: u64) -> Result<Found, SinkError> {
        if self.is_absent {
            return Ok(Found::Nothing);
        }
        crate::store::existing::look(&self.folders, path, size)
    }

    /// What stands at `path`, if that may be replaced; see [`Part::in_place_of`].
    #[must_use]
    pub fn stamp_at(&self, path: &RelativePath) -> Option<Stamp> {
        if self.existing != Existing::Overwrite || self.is_absent {
            return None;
        }
        let dir = self.folders.find(folders::parent(path.as_bytes()), Manner::Glance).ok()??;
        dir.stat(path.name().as_bytes()).ok()?.map(|stat| Stamp::of(&stat))
    }

    /// What the file at `path` is known by among those whose hashes are remembered: a file of this size, and with this mode and time where that is
    /// `wanted`.
    pub fn key_at(
        &self,
        path: &RelativePath,
        size: u64,
        wanted: Option<&Metadata>,
        cache: &Cache,
    ) -> Option<Key> {
        let dir = self.folders.find(folders::parent(path.as_bytes()), Manner::Glance).ok()??;
        let stat = dir.stat(path.name().as_bytes()).ok()??;
        let is_file = dir::kind_of(&stat) == FileKind::Regular && space::length(&stat) == size;
        let is_dressed = wanted.is_none_or(|wanted| metadata::is_dressed(&stat, wanted));
        if is_file && is_dressed && !self.is_absent { self.key_of(&stat, cache) } else { None }
    }

    /// The same of a file that was looked at. Of one on another file system than the destination, which is mounted somewhere beneath it, nothing is
    /// remembered.
    pub fn key_of(&self, stat: &Stat, cache: &Cache) -> Option<Key> {
        if stat.st_dev != self.identity.0 {
            return None;
        }
        cache.key(&Stamp::of(stat), || self.root().fd().try_clone_to_owned().ok())
    }

    /// The regular file that stands at `path`, whatever its size, to take chunks over from; see [`Part::take_over`].
    #[must_use]
    pub fn older(&self, path: &RelativePath) -> Option<ExistingFile> {
        crate::store::existing::older(&self.folders, path)
    }

    /// Device and inode of the directory.
    #[must_use]
    #[allow(clippy::useless_conversion, clippy::unnecessary_cast, clippy::cast_sign_loss)] // The widths differ by system.
    pub fn identity(&self) -> (u64, u64) {
        (self.identity.0 as u64, self.identity.1)
    }

    /// Whether the path of the directory still leads to it.
    ///
    /// # Errors
    /// [`SinkError::Elsewhere`] where it leads to something else: what is stored here would not be found there.
    /// [`SinkError::Removed`] where the directory is there no more.
    pub fn check_place(&self) -> Result<(), SinkError> {
        let path = self.path();
        let there = rustix::fs::stat(path).map(|stat| (stat.st_dev, stat.st_ino));
        match there == Ok(self.identity) {
            true if !self.root().is_removed() => Ok(()),
            false if !self.root().is_removed() => Err(SinkError::Elsewhere { path: path.into() }),
            _ => Err(SinkError::Removed { path: path.into() }),
        }
    }

    /// Whether a new file can be stored at `path`, as far as the file system tells before there are any bytes.
    ///
    /// # Errors
    /// [`SinkError::NameUnstorable`], and [`SinkError::NoSafeRename`] where nothing is to be replaced and nothing but that can
    /// be had.
    pub fn check_storable(&self, path: &RelativePath) -> Result<(), SinkError> {
        let (root, abilities) = (self.root(), &self.root().place().abilities);
        abilities.check_names(root, path.as_bytes())?;
        if self.existing == Existing::Overwrite { Ok(()) } else { abilities.check_moves(root) }
    }

    /// Opens the part file for `path`, or makes one, and makes room for `size` bytes. Nobody else gets the same one
    /// before it is published, discarded or dropped. Folders missing on the way are made, for our eyes only until
    /// [`Sink::folder`] dresses them. In a `sparse` one zeros take no room.
    ///
    /// # Errors
    /// [`SinkError::TooLarge`], [`SinkError::NoSpace`], [`SinkError::PartsBusy`],
    /// [`SinkError::NameUnstorable`], [`SinkError::InTheWay`] for what stands on the way and is no directory; otherwise
    /// what the system said.
    pub fn part(&self, path: &RelativePath, size: u64, sparse: bool) -> Result<Part, SinkError> {
        self.part_of_form(path, size, if sparse { Form::Sparse } else { Form::Plain })
    }

    /// The same for a file much of which an older one may have: no room is taken ahead.
    ///
    /// # Errors
    /// As [`Sink::part`].
    pub fn part_beside_older(&self, path: &RelativePath, size: u64, sparse: bool) -> Result<Part, SinkError> {
        self.part_of_form(path, size, if sparse { Form::Sparse } else { Form::Shared })
    }

    fn part_of_form(&self, path: &RelativePath, size: u64, form: Form) -> Result<Part, SinkError> {
        let name = path.name();
        let mut part = self.folders.within(folders::parent(path.as_bytes()), |dir| {
            Part::open(dir, &name, self.owner, Size::Agreed(size), form)
        })?;
        part.look();
        if let Some(direct) = &self.direct {
            part.open_directly(direct);
        }
        Ok(part)
    }

    /// Makes the file at `path` of these bytes, which the caller has verified, if nothing is there. Folders missing on the
    /// way are made as by [`Sink::part`]. The file as it is then; `None`, and nothing was done, where something is there, an earlier transfer left
    /// a part file, or the file system cannot make a file complete at once: then it has to go by way of a part file.
    ///
    /// # Errors
    /// [`SinkError::NoSpace`], [`SinkError::InTheWay`] for what stands on the way and is no directory; otherwise what
    /// the system said.
    pub fn store_whole(
        &self,
        path: &RelativePath,
        content: &[u8],
        metadata: &Metadata,
    ) -> Result<Option<Stat>, SinkError> {
        self.check_place()?;
        let name = path.name();
        let below = folders::parent(path.as_bytes());
        let store = |dir: &Arc<Dir>| {
            let new = self.folders.is_new(dir.below());
            crate::store::publish::store(dir, &name, self.owner, content, metadata, new)
        };
        self.folders.within(below, store)
    }
}
