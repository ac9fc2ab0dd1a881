//! What stands at a final name already.

use std::ops::{Deref, Range};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{Mode, OFlags, Stat};
use rustix::io::Errno;

use super::dir::kind_of;
use super::error::{FileKind, SinkError};
use super::folders::{FindMode, Folders};
use super::io::{DataExtents, read_exact_at};
use super::space::{self, length};
use super::{folders, metadata};
use crate::content::chunk::Layout;
use crate::content::entry::Metadata;
use crate::content::tree::Hash;
use crate::content::whole::{self, Contents};
use crate::limits::CHUNK_BYTES;
use crate::name::RelativePath;

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

/// What [`look`](crate::store::Sink::look) found at a final name.
#[derive(Debug)]
pub enum Found {
    /// Nothing.
    Nothing,
    /// A regular file of the same size: only comparing its bytes tells whether it is the same file.
    SameSize(ExistingFile),
    /// A file of another size, one that may not be read, or a symlink (which is never followed).
    Different,
}

/// A regular file that stood at the final name.
#[derive(Debug)]
pub struct ExistingFile {
    /// `None` for a file of at most one chunk, which is opened for its one read: thousands of those may wait
    /// to be compared, more than a process may have open.
    fd: Option<OwnedFd>,
    /// And its folder is found again, for the same reason.
    folders: Arc<Folders>,
    path: RelativePath,
    size: u64,
    /// It is a part file that another session has left, of which not all need be there.
    is_part: bool,
}

/// An existing file that is open, for good or for a moment.
pub(super) enum Descriptor<'a> {
    Held(&'a OwnedFd),
    Own(OwnedFd),
}

impl Deref for Descriptor<'_> {
    type Target = OwnedFd;

    fn deref(&self) -> &OwnedFd {
        match self {
            Descriptor::Held(fd) => fd,
            Descriptor::Own(fd) => fd,
        }
    }
}

impl ExistingFile {
    /// A part file of `path` that another session has left.
    pub(super) fn left(fd: OwnedFd, folders: Arc<Folders>, path: RelativePath, size: u64) -> ExistingFile {
        ExistingFile { fd: Some(fd), folders, path, size, is_part: true }
    }

    /// Whether that range surely holds nothing, so that it reads as zeros.
    #[must_use]
    pub fn is_hole(&self, offset: u64, bytes: u64) -> bool {
        self.descriptor().is_ok_and(|file| space::is_hole(file.as_fd(), offset, bytes))
    }

    /// The ranges that may hold anything of a file.
    pub fn extents(&self) -> Vec<Range<u64>> {
        match &self.fd {
            Some(fd) if self.is_part => DataExtents::new(fd.as_fd(), self.size).collect(),
            _ => Vec::from([Range { start: 0, end: self.size }]),
        }
    }

    /// Fills `buf` from `offset`, in bytes. May be called by many threads at once.
    ///
    /// # Errors
    /// [`SinkError::UnexpectedEnd`] when the file has another length by now, otherwise what the system said.
    pub fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<(), SinkError> {
        let read = |fd: &OwnedFd, buf: &mut [u8]| read_exact_at(fd.as_fd(), buf, offset, || self.path());
        match &self.fd {
            Some(fd) => read(fd, buf),
            None => read(&self.open_again(offset, buf.len())?, buf),
        }
    }

    /// Gives it mode, time and the like of the sender's file, which has the same bytes, as far as we may. One
    /// with further names stays as it is: they are none of the sender's business.
    ///
    /// # Errors
    /// [`SinkError::UnexpectedEnd`] when it has another length by now, otherwise what the system said.
    pub fn dress(&self, metadata: &Metadata) -> Result<(), SinkError> {
        let fd = self.descriptor()?;
        let failed = |errno| SinkError::system("look at", self.path(), errno);
        let stat = rustix::fs::fstat(&*fd).map_err(failed)?;
        if stat.st_nlink <= 1 && !metadata::is_dressed(&stat, metadata) {
            metadata::dress(self.folders.root(), fd.as_fd(), metadata, metadata::Of::File, &|| self.path());
        }
        Ok(())
    }

    /// What it is open as.
    pub(super) fn descriptor(&self) -> Result<Descriptor<'_>, SinkError> {
        Ok(match &self.fd {
            Some(fd) => Descriptor::Held(fd),
            None => Descriptor::Own(self.open_again(0, 0)?),
        })
    }

    pub(super) fn folders(&self) -> &Folders {
        &self.folders
    }

    /// Its path beneath the destination.
    pub(super) fn below(&self) -> &[u8] {
        self.path.as_bytes()
    }

    /// Whatever file stands there now will do, as only its bytes count: if it has the length that was found.
    fn open_again(&self, offset: u64, wanted: usize) -> Result<OwnedFd, SinkError> {
        let failed = |errno| SinkError::system("open", self.path(), errno);
        let dir = self.folders.find(folders::parent(self.path.as_bytes()), FindMode::Look)?;
        let dir = dir.ok_or_else(|| failed(Errno::NOENT))?;
        let fd = dir.open(self.path.name().as_bytes(), OFlags::RDONLY, Mode::empty()).map_err(failed)?;
        let stat = rustix::fs::fstat(&fd).map_err(failed)?;
        match without_opening(&stat, self.size, &self.path())? {
            None => Ok(fd),
            Some(_) => Err(SinkError::UnexpectedEnd { path: self.path(), offset, wanted, got: 0 }),
        }
    }

    /// The hash of all of it; `None` where `go_on` said no before the end.
    ///
    /// # Errors
    /// It cannot be read, or is shorter by now.
    pub fn hash(&self, go_on: impl Fn() -> bool) -> Result<Option<Hash>, SinkError> {
        whole::hash(Layout::new(self.size), &mut Reading { file: self, go_on })
    }

    /// Its size in bytes when it was opened.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Its path as the user knows it.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.folders.root().path_of(self.path.as_bytes())
    }
}

/// A file that is hashed.
struct Reading<'a, G> {
    file: &'a ExistingFile,
    go_on: G,
}

impl<G: Fn() -> bool> Contents for Reading<'_, G> {
    type Error = SinkError;

    fn read(&mut self, to: &mut [u8], offset: u64) -> Result<(), SinkError> {
        self.file.read_at(to, offset)
    }

    fn go_on(&self, _: u64) -> bool {
        (self.go_on)()
    }
}

/// The regular file at `path`, of whatever size: an older version, whose chunks a new one may take over.
/// `None` where there is none that may be read: then there is nothing to take over.
pub(super) fn older(folders: &Arc<Folders>, path: &RelativePath) -> Option<ExistingFile> {
    let dir = folders.find(folders::parent(path.as_bytes()), FindMode::Glance).ok()??;
    let name = path.name();
    let is_file = |stat: &Stat| kind_of(stat) == FileKind::Regular;
    // Asked before opening, as opening a device or a FIFO can have effects of its own.
    dir.stat(name.as_bytes()).ok()?.filter(is_file)?;
    let fd = dir.open(name.as_bytes(), OFlags::RDONLY, Mode::empty()).ok()?;
    let size = length(&rustix::fs::fstat(&fd).ok().filter(is_file)?);
    Some(ExistingFile {
        fd: Some(fd),
        folders: Arc::clone(folders),
        path: path.clone(),
        size,
        is_part: false,
    })
}

pub(super) fn look(folders: &Arc<Folders>, path: &RelativePath, size: u64) -> Result<Found, SinkError> {
    let dir = match folders.find(folders::parent(path.as_bytes()), FindMode::Glance) {
        Ok(Some(dir)) => dir,
        Ok(None) => return Ok(Found::Nothing),
        // A folder of ours may be closed even to us, until something is to be written there. Making the part
        // file tells.
        Err(SinkError::Permission { .. }) => return Ok(Found::Nothing),
        Err(error) => return Err(error),
    };
    let (relative, name) = (path, path.name());
    let path = dir.path_of(name.as_bytes());
    let stat = match dir.stat(name.as_bytes()) {
        Ok(Some(stat)) => stat,
        Ok(None) => return Ok(Found::Nothing),
        Err(errno) => return Err(SinkError::system("look at", path, errno)),
    };
    // Asked before opening, as opening a device or a FIFO can have effects of its own.
    if let Some(found) = without_opening(&stat, size, &path)? {
        return Ok(found);
    }
    let fd = match dir.open(name.as_bytes(), OFlags::RDONLY, Mode::empty()) {
        Ok(fd) => fd,
        Err(Errno::NOENT) => return Ok(Found::Nothing),
        // A symlink took its place, or it may not be read: either way nobody can show that it is the same.
        Err(Errno::LOOP | Errno::ACCESS | Errno::PERM) => return Ok(Found::Different),
        Err(errno) => return Err(SinkError::system("open", path, errno)),
    };
    // And asked again, as it may have been swapped in between.
    let stat = rustix::fs::fstat(&fd).map_err(|errno| SinkError::system("look at", path.clone(), errno))?;
    Ok(match without_opening(&stat, size, &path)? {
        Some(found) => found,
        None => {
            let fd = (size > CHUNK_BYTES as u64).then_some(fd);
            Found::SameSize(ExistingFile {
                fd,
                folders: Arc::clone(folders),
                path: relative.clone(),
                size,
                is_part: false,
            })
        }
    })
}

/// The answer where kind and size give it alone.
fn without_opening(stat: &Stat, size: u64, path: &Path) -> Result<Option<Found>, SinkError> {
    match kind_of(stat) {
        FileKind::Regular => Ok((length(stat) != size).then_some(Found::Different)),
        FileKind::Symlink => Ok(Some(Found::Different)),
        what => Err(SinkError::InTheWay { path: path.to_owned(), what, expected: FileKind::Regular }),
    }
}
