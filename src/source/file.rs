//! A file to send: its bytes, and whether it stays as it was.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{Mode, OFlags, SeekFrom, Stat};
use rustix::io::Errno;

use super::beneath::Beneath;
use super::error::{Change, SourceError};
use crate::cache::{Cache, Key};
use crate::content::chunk::{ChunkIndex, Layout};
use crate::content::tree::Hash;
use crate::content::whole::{self, Contents};
use crate::limits::{CHUNK_BYTES, FILE_BYTES_MAX};
use crate::os::direct::{Direct, DirectFile};
use crate::os::stamp::Stamp;

/// A regular file that can be offered.
#[derive(Debug, Clone)]
pub struct Source {
    path: PathBuf,
    stamp: Stamp,
    sparse: bool,
    /// All of it, where it was read before it was offered: at most one chunk.
    held: Option<Arc<[u8]>>,
    direct: Option<Arc<Direct>>,
    /// The folder that the user named, and where the file is in it; none where the user named the file
    /// itself.
    beneath: Option<(Arc<Beneath>, PathBuf)>,
}

impl Change {
    /// What has become of a file, if it has changed for sure.
    fn between(then: &Stamp, now: &Stamp) -> Option<Change> {
        if (then.device, then.inode) != (now.device, now.inode) {
            Some(Change::Replaced)
        } else if now.size < then.size {
            Some(Change::Shrank { from: then.size, to: now.size })
        } else if now.size > then.size {
            Some(Change::Grew { from: then.size, to: now.size })
        } else if (then.mtime_seconds, then.mtime_nanos) != (now.mtime_seconds, now.mtime_nanos) {
            Some(Change::Modified)
        } else {
            None
        }
    }
}

impl Source {
    /// The regular file at `path`, which is as `stat` says.
    ///
    /// # Errors
    /// [`SourceError::TooLarge`].
    pub fn new(path: &Path, stat: &Stat) -> Result<Source, SourceError> {
        let stamp = Stamp::of(stat);
        if stamp.size > FILE_BYTES_MAX {
            return Err(SourceError::TooLarge { path: path.into(), size: stamp.size });
        }
        // st_blocks counts 512 bytes on every Unix lanx runs on.
        let sparse = u64::try_from(stat.st_blocks).unwrap_or(0).saturating_mul(512) < stamp.size;
        Ok(Source { path: path.into(), stamp, sparse, held: None, direct: None, beneath: None })
    }

    /// The same, which is opened beneath a folder and nowhere else.
    pub(super) fn beneath(self, tree: Arc<Beneath>, below: &Path) -> Source {
        Source { beneath: Some((tree, below.into())), ..self }
    }

    /// The same, whose chunks are read past the page cache where there is such a `wish`.
    pub fn directly(self, wish: Option<Arc<Direct>>) -> Source {
        Source { direct: wish, ..self }
    }

    /// A file of at most one chunk that is not on a disk, called `what`.
    pub(super) fn of_bytes(what: &Path, bytes: Arc<[u8]>) -> Source {
        let stamp = Stamp { size: bytes.len() as u64, ..Stamp::default() };
        Source { path: what.into(), stamp, sparse: false, held: Some(bytes), direct: None, beneath: None }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn size(&self) -> u64 {
        self.stamp.size
    }

    /// Whether it takes less room than it is long.
    pub fn is_sparse(&self) -> bool {
        self.sparse
    }

    /// What it is known by among the files whose hashes are remembered.
    pub fn key(&self, cache: &Cache) -> Option<Key> {
        // What is not on a disk has none.
        if self.held.is_some() {
            return None;
        }
        cache.key(&self.stamp, || self.open_with(OFlags::empty()).ok())
    }

    /// Opens the file, which must still be the one that was inspected.
    ///
    /// # Errors
    /// [`SourceError::Io`] where it cannot be opened, [`SourceError::Changed`] where it is another one now.
    pub fn open(&self) -> Result<OpenSource, SourceError> {
        let mut open = self.open_unchecked()?;
        open.check_unchanged()?;
        if let Some(direct) = &self.direct {
            let second = |flag| self.open_with(flag);
            open.direct = direct.open(&open.file, &self.path, second);
        }
        Ok(open)
    }

    fn open_unchecked(&self) -> Result<OpenSource, SourceError> {
        let io = |source| SourceError::Io { path: self.path.clone(), doing: "open", source };
        let file = match self.open_with(OFlags::empty()) {
            Ok(file) => File::from(file),
            // A link, or something else, took the place of the file or of a folder on the way.
            Err(Errno::LOOP | Errno::XDEV) if self.beneath.is_some() => {
                return Err(SourceError::Changed { path: self.path.clone(), change: Change::Replaced });
            }
            Err(errno) => return Err(io(errno.into())),
        };
        let path = self.path.clone();
        Ok(OpenSource { path, file, direct: None, stamp: self.stamp, sparse: self.sparse })
    }

    fn open_with(&self, flags: OFlags) -> Result<OwnedFd, Errno> {
        if let Some((tree, below)) = &self.beneath {
            return tree.open_file(below, flags);
        }
        // Not blocking: a FIFO that took the file's place would otherwise hold us for ever.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC | flags;
        rustix::io::retry_on_intr(|| rustix::fs::openat(rustix::fs::CWD, &self.path, flags, Mode::empty()))
    }

    /// The hash of all of it. `None` where that was given up, as `go_on` said; it hears before each chunk how
    /// many bytes that has.
    ///
    /// # Errors
    /// As [`Source::open`], and [`SourceError::Changed`] where it changed until it was read.
    pub fn hash(&self, go_on: impl Fn(usize) -> bool) -> Result<Option<Hash>, SourceError> {
        let open = self.open()?;
        let hash = open.hash(Layout::new(self.size()), go_on)?;
        open.check_unchanged()?;
        Ok(hash)
    }

    /// Fills `buf` with all of a file of one chunk, and leaves nothing open.
    ///
    /// # Errors
    /// As [`Source::open`], and [`SourceError::Changed`] where it changed until it was read.
    pub fn read_whole(&self, layout: Layout, buf: &mut [u8]) -> Result<(), SourceError> {
        if let Some(held) = &self.held {
            buf.copy_from_slice(held);
            return Ok(());
        }
        let open = self.open_unchecked()?;
        let read = open.read_chunk(layout, ChunkIndex(0), buf);
        // Once is enough: what is the offered file afterwards was it while it was read. And where it is not,
        // that says more than how reading it failed.
        let now = open.look()?;
        read.and_then(|()| match buf {
            [] => open.check_empty(),
            _ if now != open.stamp => open.check_still(layout, buf),
            _ => Ok(()),
        })
    }
}

/// An open source. Reads at offsets, so that any number of threads share it.
#[derive(Debug)]
pub struct OpenSource {
    path: PathBuf,
    file: File,
    /// Past the page cache.
    direct: Option<DirectFile>,
    stamp: Stamp,
    sparse: bool,
}

/// A file that is hashed.
struct Reading<'a, G> {
    file: &'a OpenSource,
    layout: Layout,
    go_on: G,
}

impl<G: Fn(usize) -> bool> Contents for Reading<'_, G> {
    type Error = SourceError;

    fn read(&mut self, to: &mut [u8], offset: u64) -> Result<(), SourceError> {
        self.file.read_chunk(self.layout, ChunkIndex(offset / CHUNK_BYTES as u64), to)
    }

    fn zeros_at(&self, chunk: ChunkIndex) -> u64 {
        self.file.hole_at(self.layout, chunk)
    }

    fn go_on(&self, bytes: u64) -> bool {
        (self.go_on)(usize::try_from(bytes).unwrap_or(usize::MAX))
    }
}

impl OpenSource {
    /// Fills `buf` with chunk `index`; `buf` has the length that `layout` gives it.
    ///
    /// # Errors
    /// [`SourceError::Io`], or [`SourceError::Changed`] where the file ends before the chunk does.
    pub fn read_chunk(&self, layout: Layout, index: ChunkIndex, buf: &mut [u8]) -> Result<(), SourceError> {
        let offset = layout.offset_of(index).unwrap_or(layout.size());
        match self.read_exact_at(buf, offset) {
            Ok(()) => Ok(()),
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => {
                self.check_unchanged()?;
                Err(SourceError::Io { path: self.path.clone(), doing: "read", source: e })
            }
            Err(source) => Err(SourceError::Io { path: self.path.clone(), doing: "read", source }),
        }
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let done = match &self.direct {
            Some(direct) => direct.read_at(buf, offset)?,
            None => 0,
        };
        match buf.get_mut(done..) {
            Some(rest) if !rest.is_empty() => self.file.read_exact_at(rest, offset + done as u64),
            _ => Ok(()),
        }
    }

    /// Checks that the file is what it was when it was offered.
    ///
    /// # Errors
    /// [`SourceError::Changed`] says how it differs.
    pub fn check_unchanged(&self) -> Result<(), SourceError> {
        self.look().map(drop)
    }

    /// The same, and tells what the file is now: at most its change time differs.
    fn look(&self) -> Result<Stamp, SourceError> {
        let io = |errno: Errno| SourceError::Io {
            path: self.path.clone(),
            doing: "look at",
            source: errno.into(),
        };
        let now = Stamp::of(&rustix::fs::fstat(&self.file).map_err(io)?);
        Change::between(&self.stamp, &now).map_or(Ok(now), |change| Err(self.changed(change)))
    }

    fn changed(&self, change: Change) -> SourceError {
        SourceError::Changed { path: self.path.clone(), change }
    }

    /// Checks that what was read of the file, and has this `hash`, is what is in it. Where only its change
    /// time has moved that takes another read of all of it. False where that was given up, as `go_on` said.
    ///
    /// # Errors
    /// [`SourceError::Changed`] says how it differs.
    pub fn check_content(
        &self,
        layout: Layout,
        hash: &Hash,
        go_on: impl Fn() -> bool,
    ) -> Result<bool, SourceError> {
        if self.look()? == self.stamp {
            return Ok(true);
        }
        match self.hash(layout, |_| go_on())? {
            None => Ok(false),
            Some(now) if now == *hash => Ok(true),
            Some(_) => Err(self.changed(Change::Rewritten)),
        }
    }

    /// The hash of all of it, which is read from its beginning to its end. `None` where that was given up, as
    /// `go_on` said; it hears before each chunk how many bytes that has.
    fn hash(&self, layout: Layout, go_on: impl Fn(usize) -> bool) -> Result<Option<Hash>, SourceError> {
        whole::hash(layout, &mut Reading { file: self, layout, go_on })
    }

    /// The same for a file of one chunk, which is in `content`.
    fn check_still(&self, layout: Layout, content: &[u8]) -> Result<(), SourceError> {
        let mut again = vec![0; content.len()];
        self.read_chunk(layout, ChunkIndex(0), &mut again)?;
        if again == content { Ok(()) } else { Err(self.changed(Change::Rewritten)) }
    }

    /// Checks that a file which is said to be empty has nothing to read: the system makes those of `/proc` as
    /// they are read, and says that they have no bytes.
    fn check_empty(&self) -> Result<(), SourceError> {
        match self.file.read_at(&mut [0], 0) {
            Ok(0) => Ok(()),
            Ok(_) => Err(SourceError::NoSize { path: self.path.clone() }),
            Err(source) => Err(SourceError::Io { path: self.path.clone(), doing: "read", source }),
        }
    }

    /// How many chunks from `first` on lie in a hole, so that they are known to be zeros without being read.
    pub fn hole_at(&self, layout: Layout, first: ChunkIndex) -> u64 {
        let (true, Some(start)) = (self.sparse, layout.offset_of(first)) else { return 0 };
        let end = match rustix::fs::seek(&self.file, SeekFrom::Data(start)) {
            Ok(data) if data < layout.size() => data / CHUNK_BYTES as u64,
            // From here to the end there is none.
            Ok(_) | Err(Errno::NXIO) => layout.chunks(),
            // A file system that does not know holes.
            Err(_) => 0,
        };
        end.saturating_sub(first.0)
    }
}

#[cfg(test)]
#[path = "direct_tests.rs"]
mod tests;
