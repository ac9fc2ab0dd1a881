//! Making sure that what was written is on the device, and reading it back from there.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use rustix::io::Errno;

use super::dir::Dir;
use super::error::SinkError;
use super::existing::ExistingFile;
use super::folders::FindMode;
use super::part::Part;
use super::sink::Sink;
use super::{folders, space};
use crate::content::chunk::{ChunkIndex, Layout};
use crate::content::tree::Hash;
use crate::content::whole::{self, Contents};
use crate::limits::HOLE_CHUNKS_MAX;
use crate::name::RelativePath;
#[cfg(target_os = "linux")]
use crate::os::rlimit;

impl Part {
    /// Waits until the bytes written so far are on the device, so that little is left to do at the end.
    ///
    /// # Errors
    /// What the device said.
    pub fn sync_data(&self) -> Result<(), SinkError> {
        self.sync_by(|| sync_bytes(self.file.as_fd()))
    }

    /// Waits until bytes, length, mode and times are on the device.
    ///
    /// # Errors
    /// What the device said, now or at an earlier sync.
    pub fn sync(&self) -> Result<(), SinkError> {
        self.sync_by(|| rustix::fs::fsync(&self.file))
    }

    /// The same for one that was synced with others.
    ///
    /// # Errors
    /// What the device said at an earlier sync.
    pub fn synced(&self) -> Result<(), SinkError> {
        self.sync_by(|| Ok(()))
    }

    fn sync_by(&self, sync: impl FnOnce() -> Result<(), Errno>) -> Result<(), SinkError> {
        let mut unsynced = self.unsynced.lock();
        let now = sync().err();
        *unsynced = unsynced.or(now);
        match *unsynced {
            None => Ok(()),
            Some(errno) => Err(space::refused("sync", self.file.as_fd(), self.size(), &self.path(), errno)),
        }
    }

    /// Reads the file back and hashes it. What is in memory is dropped first, so that the bytes come from the
    /// device; they must have been synced, as only then they can be dropped. Where the storage is memory
    /// there is nothing to drop.
    ///
    /// # Errors
    /// What the device said, or [`SinkError::UnexpectedEnd`].
    pub fn reread(&self) -> Result<Hash, SinkError> {
        reread(self.file.as_fd(), self.size(), |bytes, offset| self.read_at(bytes, offset))
    }
}

impl ExistingFile {
    /// Waits until the file is on the device, as it is now, and so are its name and the names of the folders
    /// that it is in: whoever put it there may not have waited.
    ///
    /// # Errors
    /// What the device said.
    pub fn sync(&self) -> Result<(), SinkError> {
        let file = self.descriptor()?;
        rustix::fs::fsync(&*file).map_err(|errno| SinkError::system("sync", self.path(), errno))?;
        let mut below = self.below();
        loop {
            below = folders::parent(below);
            match self.folders().find(below, FindMode::Look) {
                Ok(Some(dir)) => sync(&dir)?,
                // One that may be entered and not read: nobody can wait for it.
                Ok(None) | Err(SinkError::Permission { .. }) => {}
                Err(error) => return Err(error),
            }
            if below.is_empty() {
                return Ok(());
            }
        }
    }

    /// As [`Part::reread`].
    ///
    /// # Errors
    /// What the device said, or [`SinkError::UnexpectedEnd`].
    pub fn reread(&self) -> Result<Hash, SinkError> {
        let file = self.descriptor()?;
        reread(file.as_fd(), self.size(), |bytes, offset| self.read_at(bytes, offset))
    }
}

fn reread(
    file: BorrowedFd<'_>,
    size: u64,
    read_at: impl Fn(&mut [u8], u64) -> Result<(), SinkError>,
) -> Result<Hash, SinkError> {
    if let Err(errno) = forget(file) {
        tracing::debug!(%errno, "the page cache could not be dropped");
    }
    let hash = whole::hash(Layout::new(size), &mut Device { file, size, read_at })?;
    Ok(hash.unwrap_or(Hash::from_bytes([0; 32])))
}

/// What the device has of a file.
struct Device<'a, R> {
    file: BorrowedFd<'a>,
    size: u64,
    read_at: R,
}

impl<R: Fn(&mut [u8], u64) -> Result<(), SinkError>> Contents for Device<'_, R> {
    type Error = SinkError;

    fn read(&mut self, to: &mut [u8], offset: u64) -> Result<(), SinkError> {
        (self.read_at)(to, offset)
    }

    /// A GiB of which the file system says that nothing is in it: the device has nothing to be read of that.
    fn zeros_at(&self, first: ChunkIndex) -> u64 {
        let layout = Layout::new(self.size);
        let is_hole = first.0.is_multiple_of(HOLE_CHUNKS_MAX)
            && layout
                .range_of(first, HOLE_CHUNKS_MAX)
                .is_some_and(|bytes| space::is_hole(self.file, bytes.start, bytes.end - bytes.start));
        if is_hole { HOLE_CHUNKS_MAX } else { 0 }
    }
}

impl Sink {
    /// Waits until the names that these parts got are on the device, and the folders that were made for them.
    ///
    /// # Errors
    /// What the device said.
    pub fn sync_names<'a>(&self, parts: impl IntoIterator<Item = &'a Part>) -> Result<(), SinkError> {
        let mut folders: Vec<&Arc<Dir>> = Vec::new();
        let parts: Vec<&Part> = parts.into_iter().collect();
        for part in &parts {
            if !folders.iter().any(|dir| dir.below() == part.dir.below()) {
                folders.push(&part.dir);
            }
        }
        if folders.len() > 1 && self.sync_together(parts).is_ok() {
            return Ok(());
        }
        folders.into_iter().try_for_each(|dir| self.sync_folder(dir))
    }

    /// Waits until what was made by other means than parts is on the device: folders (those marked so) with
    /// their modes and times, and the names of links.
    ///
    /// # Errors
    /// What the device said.
    pub fn sync_entries<'a>(
        &self,
        entries: impl IntoIterator<Item = (&'a RelativePath, bool)>,
    ) -> Result<(), SinkError> {
        let mut synced = Vec::new();
        for (path, is_folder) in entries {
            let path = path.as_bytes();
            let below = if is_folder { path } else { folders::parent(path) };
            let found = match self.folders.find(below, FindMode::Look) {
                // It was dressed so that not even we may open it.
                Err(SinkError::Permission { .. }) => {
                    self.folders.find(folders::parent(below), FindMode::Look)?
                }
                found => found?,
            };
            let Some(dir) = found else {
                return Err(SinkError::system("sync", self.root().path_of(below), Errno::NOENT));
            };
            self.sync_with_all(&dir, &mut synced)?;
        }
        Ok(())
    }

    /// Syncs the file system of a folder, unless that is among the `synced`: for many entries one wait
    /// instead of one each.
    #[cfg(target_os = "linux")]
    fn sync_with_all(&self, dir: &Arc<Dir>, synced: &mut Vec<u64>) -> Result<(), SinkError> {
        let failed = |errno| SinkError::system("sync", dir.path().into(), errno);
        let device = rustix::fs::fstat(dir.fd()).map_err(failed)?.st_dev;
        if !synced.contains(&device) {
            rustix::fs::syncfs(dir.fd()).map_err(failed)?;
            synced.push(device);
        }
        Ok(())
    }

    #[cfg(not(target_os = "linux"))]
    fn sync_with_all(&self, dir: &Arc<Dir>, _synced: &mut Vec<u64>) -> Result<(), SinkError> {
        self.sync_folder(dir)
    }

    /// Syncs a folder, and those it is in as far as their names for one another are new.
    fn sync_folder(&self, dir: &Arc<Dir>) -> Result<(), SinkError> {
        sync(dir)?;
        let mut below = dir.below();
        while self.folders.take_unsynced(below) {
            if below.is_empty() {
                return self.root().sync_parent();
            }
            below = folders::parent(below);
            // One that is gone took with it what is to be synced.
            if let Some(dir) = self.folders.find(below, FindMode::Look)? {
                sync(&dir)?;
            }
        }
        Ok(())
    }

    /// Waits until everything written so far to the file systems of these parts is on the device: for many
    /// small files one wait instead of one each. Says nothing of errors that were met before, see
    /// [`Part::synced`].
    ///
    /// # Errors
    /// What the device said, of these files or of others. `NOSYS` where the system has no such call, or one that is silent
    /// about errors; then each is to be synced by itself.
    pub fn sync_together<'a>(&self, parts: impl IntoIterator<Item = &'a Part>) -> Result<(), SinkError> {
        let failed = |errno| SinkError::system("sync", self.path().into(), errno);
        // What could not be written is told to those that were open then, and once to each. So the one that
        // was opened first asks: no other had been written to before.
        let mut first: Vec<&Part> = Vec::new();
        for part in parts {
            // A folder beneath the destination can be another file system.
            match first.iter_mut().find(|other| other.identity.0 == part.identity.0) {
                Some(other) if part.opened < other.opened => *other = part,
                Some(_) => {}
                None => first.push(part),
            }
        }
        first.into_iter().try_for_each(|part| sync_file_system(part.file.as_fd())).map_err(failed)
    }
}

/// Waits until the bytes of a file are on the device, and what is needed to find them.
#[cfg(target_os = "linux")]
fn sync_bytes(file: BorrowedFd<'_>) -> Result<(), Errno> {
    rustix::fs::fdatasync(file)
}

#[cfg(not(target_os = "linux"))]
fn sync_bytes(file: BorrowedFd<'_>) -> Result<(), Errno> {
    rustix::fs::fsync(file)
}

/// Has memory forget what it has of a file, so that the next who reads it reads the device.
#[cfg(target_os = "linux")]
fn forget(file: BorrowedFd<'_>) -> Result<(), Errno> {
    rustix::fs::fadvise(file, 0, None, rustix::fs::Advice::DontNeed)
}

/// There is no such call here.
#[cfg(not(target_os = "linux"))]
fn forget(_file: BorrowedFd<'_>) -> Result<(), Errno> {
    Err(Errno::NOSYS)
}

#[cfg(target_os = "linux")]
fn sync_file_system(file: BorrowedFd<'_>) -> Result<(), Errno> {
    // syncfs(2): before Linux 5.8 it tells nothing of what could not be written.
    if rlimit::is_at_least(5, 8) { rustix::fs::syncfs(file) } else { Err(Errno::NOSYS) }
}

#[cfg(not(target_os = "linux"))]
fn sync_file_system(_file: BorrowedFd<'_>) -> Result<(), Errno> {
    Err(Errno::NOSYS)
}

fn sync(dir: &Dir) -> Result<(), SinkError> {
    rustix::fs::fsync(dir.fd()).map_err(|errno| SinkError::system("sync", dir.path().into(), errno))
}
