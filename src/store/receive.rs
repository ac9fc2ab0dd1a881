//! What a directory does with a file that comes: it looks at what is there, and opens what the file is
//! written into.

use std::sync::{Arc, OnceLock};

use rustix::fs::{Mode, OFlags, Stat};

use super::dir::Dir;
use super::error::SinkError;
use super::existing::{self, Existing, ExistingFile, Found};
use super::folders::{FindMode, parent};
use super::locks::locks_decide;
use super::part::{Form, Part, Size, is_our_kind};
use super::part_name::{names_of, place_of};
use super::sink::Sink;
use super::{publish, space};
use crate::content::entry::Metadata;
use crate::name::RelativePath;

impl Sink {
    /// Looks at what stands at `path`, where a file of `size` bytes is to go. Nothing does where a folder on
    /// the way is missing.
    ///
    /// # Errors
    /// [`SinkError::InTheWay`] when it is a directory, a FIFO, a device or the like (none of which is opened), or when
    /// something on the way is no directory; otherwise what the system said.
    pub fn look(&self, path: &RelativePath, size: u64) -> Result<Found, SinkError> {
        if self.is_absent {
            return Ok(Found::Nothing);
        }
        existing::look(&self.folders, path, size)
    }

    /// The regular file that stands at `path`, whatever its size, to take chunks over from; see
    /// [`Part::take_over`].
    #[must_use]
    pub fn older(&self, path: &RelativePath) -> Option<ExistingFile> {
        existing::older(&self.folders, path)
    }

    /// Whether a new file can be stored at `path`, as far as the file system tells before there are any
    /// bytes.
    ///
    /// # Errors
    /// [`SinkError::NameUnstorable`], and [`SinkError::NoSafeRename`] where nothing is to be replaced and nothing but that can
    /// be had.
    pub fn check_storable(&self, path: &RelativePath) -> Result<(), SinkError> {
        let (root, abilities) = (self.root(), &self.root().place().abilities);
        abilities.check_names(root, path.as_bytes())?;
        if self.existing == Existing::Overwrite { Ok(()) } else { abilities.check_moves(root) }
    }

    /// Opens the part file for `path`, or makes one, and makes room for `size` bytes. Nobody else gets the
    /// same one before it is published, discarded or dropped. Folders missing on the way are made, for our
    /// eyes only until [`Sink::folder`] dresses them. In a `sparse` one zeros take no room.
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
        let mut part = self.folders.within(parent(path.as_bytes()), |dir| {
            Part::open(dir, &name, self.owner, Size::Agreed(size), form)
        })?;
        part.look();
        if let Some(direct) = &self.direct {
            part.open_directly(direct);
        }
        Ok(part)
    }

    /// Makes the file at `path` of these bytes, which the caller has verified, if nothing is there. Folders
    /// missing on the way are made as by [`Sink::part`]. The file as it is then; `None`, and nothing was
    /// done, where something is there, an earlier transfer left a part file, or the file system cannot make a
    /// file complete at once: then it has to go by way of a part file.
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
        let below = parent(path.as_bytes());
        let store = |dir: &Arc<Dir>| {
            let new = self.folders.is_new(dir.below());
            publish::store(dir, &name, self.owner, content, metadata, new)
        };
        self.folders.within(below, store)
    }

    /// As [`Sink::part`], for a stream. It begins empty, no room is made ahead, and dropping it removes it: a
    /// stream is read once, so nobody could send the rest.
    ///
    /// # Errors
    /// As [`Sink::part`].
    pub fn part_of_stream(&self, path: &RelativePath) -> Result<Part, SinkError> {
        let name = path.name();
        let size = || Size::Stream(OnceLock::new());
        let open = |dir: &Arc<Dir>| Part::open(dir, &name, self.owner, size(), Form::Plain);
        let mut part = self.folders.within(parent(path.as_bytes()), open)?;
        part.look();
        Ok(part)
    }

    /// What another session has left of the file at `path`, where locks decide nothing: that of which most is
    /// there. `None` where there is none, or this program has it itself.
    pub fn left_by_another(&self, path: &RelativePath) -> Option<ExistingFile> {
        let dir = self.folders.find(parent(path.as_bytes()), FindMode::Glance).ok()??;
        if locks_decide(&dir).ok()? {
            return None;
        }
        let (name, owner) = (path.name(), self.owner);
        let place = place_of(&dir, &name, owner).ok()?;
        if dir.left().is_some_and(|left| left.has(&place)) {
            return None;
        }
        let parts = names_of(&dir, &name, owner).into_iter().filter_map(|part| {
            let stat = dir.stat(&part).ok()?.filter(|stat| is_our_kind(stat, false))?;
            Some((stat.st_blocks, part))
        });
        let (_, part) = parts.filter(|(blocks, _)| *blocks > 0).max()?;
        let fd = dir.open(&part, OFlags::RDONLY, Mode::empty()).ok()?;
        let size = space::length(&rustix::fs::fstat(&fd).ok().filter(|stat| is_our_kind(stat, false))?);
        Some(ExistingFile::left(fd, Arc::clone(&self.folders), path.clone(), size))
    }
}
