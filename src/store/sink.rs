//! The directory that files are received into.

use std::path::Path;
use std::sync::Arc;

use rustix::fs::{Dev, Stat};

use super::dir::{Dir, kind_of};
use super::error::{FileKind, SinkError};
use super::existing::Existing;
use super::folders::{FindMode, Folders, parent};
use super::owner::Owner;
use super::{metadata, space};
use crate::cache::{Cache, Key};
use crate::content::entry::Metadata;
use crate::name::RelativePath;
use crate::os::direct::Direct;
use crate::os::stamp::Stamp;

/// A directory that files are received into.
#[derive(Debug)]
pub struct Sink {
    pub(super) folders: Arc<Folders>,
    pub(super) existing: Existing,
    pub(super) direct: Option<Arc<Direct>>,
    /// Device and inode of the directory.
    pub(super) identity: (Dev, u64),
    pub(super) owner: Owner,
    /// It stands for a folder that is missing and not made, as a dry run makes none: nothing is in it.
    pub(super) is_absent: bool,
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

    pub(super) fn root(&self) -> &Arc<Dir> {
        self.folders.root()
    }

    /// What stands at `path`, if that may be replaced; see [`Part::in_place_of`](super::Part::in_place_of).
    #[must_use]
    pub fn stamp_at(&self, path: &RelativePath) -> Option<Stamp> {
        if self.existing != Existing::Overwrite || self.is_absent {
            return None;
        }
        let dir = self.folders.find(parent(path.as_bytes()), FindMode::Glance).ok()??;
        dir.stat(path.name().as_bytes()).ok()?.map(|stat| Stamp::of(&stat))
    }

    /// What the file at `path` is known by among those whose hashes are remembered: a file of this size, and
    /// with this mode and time where that is `wanted`.
    pub fn key_at(
        &self,
        path: &RelativePath,
        size: u64,
        wanted: Option<&Metadata>,
        cache: &Cache,
    ) -> Option<Key> {
        let dir = self.folders.find(parent(path.as_bytes()), FindMode::Glance).ok()??;
        let stat = dir.stat(path.name().as_bytes()).ok()??;
        let is_file = kind_of(&stat) == FileKind::Regular && space::length(&stat) == size;
        let is_dressed = wanted.is_none_or(|wanted| metadata::is_dressed(&stat, wanted));
        if is_file && is_dressed && !self.is_absent { self.key_of(&stat, cache) } else { None }
    }

    /// The same of a file that was looked at. Of one on another file system than the destination, which is
    /// mounted somewhere beneath it, nothing is remembered.
    pub fn key_of(&self, stat: &Stat, cache: &Cache) -> Option<Key> {
        if stat.st_dev != self.identity.0 {
            return None;
        }
        cache.key(&Stamp::of(stat), || self.root().fd().try_clone_to_owned().ok())
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
}
