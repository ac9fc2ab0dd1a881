//! Part files that nobody will resume: found, shown, and removed unless they are in use.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use rustix::fs::{Dir as Entries, FileType, FlockOperation, Mode, OFlags, Stat, flock};
use rustix::io::Errno;

use super::abilities::{is_trial, remove_trial};
use super::dir::{Dir, is_unsupported, kind_of};
use super::error::{FileKind, SinkError};
use super::folders::FindMode;
use super::locks::{REST, locks_decide};
use super::part_name::part_name_in;
use super::sink::Sink;
use super::{folders, space};
use crate::limits::PATH_BYTES_MAX;
use crate::name::{RelativePath, looks_like_part};

/// A part file that lies in the destination or beneath.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StalePart {
    /// Where the folder is beneath the destination.
    folder: Box<[u8]>,
    name: Vec<u8>,
    /// Whether it is the folder in which a receiver tried what the file system can do.
    is_trial: bool,
    /// Where it is, as the user knows it.
    pub path: PathBuf,
    /// What it takes on the disk, in bytes.
    pub bytes: u64,
    /// When it was last written to.
    pub modified: SystemTime,
}

impl StalePart {
    /// Whether somebody may still be writing to it, as far as its age tells.
    fn is_young(&self) -> bool {
        SystemTime::now().duration_since(self.modified).unwrap_or_default() < REST
    }
}

/// What became of a part file that was to be removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removal {
    Removed,
    /// A transfer is writing to it.
    InUse,
    /// It went away meanwhile: published, or removed by somebody else.
    Gone,
}

/// The part files that were found.
#[derive(Debug, Default)]
pub struct PartFiles {
    /// In the order of their paths.
    pub parts: Vec<StalePart>,
    /// The folders that could not be looked through.
    pub unread: Vec<SinkError>,
}

impl Sink {
    /// The part files in the destination and all folders beneath, none of which is reached through a symlink.
    ///
    /// # Errors
    /// The destination itself cannot be read.
    pub fn part_files(&self) -> Result<PartFiles, SinkError> {
        let mut found = PartFiles::default();
        let mut folders = vec![Vec::new()];
        while let Some(below) = folders.pop() {
            match self.look_through(&below, &mut folders, &mut found.parts) {
                Ok(()) => {}
                Err(error) if below.is_empty() => return Err(error),
                // Removed meanwhile.
                Err(error) if error.is_gone() => {}
                Err(error) => found.unread.push(error),
            }
        }
        found.parts.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(found)
    }

    /// Notes the part files of one folder, and which folders are in it.
    fn look_through(
        &self,
        below: &[u8],
        folders: &mut Vec<Vec<u8>>,
        parts: &mut Vec<StalePart>,
    ) -> Result<(), SinkError> {
        let Some(dir) = self.folders.find(below, FindMode::Look)? else { return Ok(()) };
        // Thousands of others will be looked through before it is needed again.
        self.folders.forget(below);
        let failed = |errno| SinkError::system("read", dir.path().into(), errno);
        for entry in Entries::read_from(dir.fd()).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name().to_bytes();
            let is_part = looks_like_part(name);
            let kind = match entry.file_type() {
                kind @ (FileType::RegularFile | FileType::Directory) => kind,
                FileType::Unknown => match dir.stat(name).map_err(failed)? {
                    Some(stat) => FileType::from_raw_mode(stat.st_mode),
                    None => continue,
                },
                _ => continue,
            };
            // Only what lanx makes. Others of such a name are somebody's own.
            let is_ours = if kind == FileType::RegularFile { is_part } else { is_trial(name) };
            if is_ours {
                parts.extend(stale_part(&dir, name).map_err(failed)?);
            } else if kind == FileType::Directory && !is_part && name != b"." && name != b".." {
                let inner = if below.is_empty() { name.to_vec() } else { [below, b"/", name].concat() };
                // Deeper than that nothing was received.
                if inner.len() < PATH_BYTES_MAX {
                    folders.push(inner);
                }
            }
        }
        Ok(())
    }

    /// Bytes of all files in the destination and beneath, as they are long. Of a folder that cannot be read
    /// nothing is counted.
    #[must_use]
    pub fn bytes_there(&self) -> u64 {
        let (mut bytes, mut folders) = (0_u64, vec![Vec::new()]);
        while let Some(below) = folders.pop() {
            let Ok(Some(dir)) = self.folders.find(&below, FindMode::Look) else { continue };
            self.folders.forget(&below);
            for entry in Entries::read_from(dir.fd()).into_iter().flatten().flatten() {
                let name = entry.file_name().to_bytes();
                if matches!(name, b"." | b"..") {
                    continue;
                }
                let Ok(Some(stat)) = dir.stat(name) else { continue };
                match kind_of(&stat) {
                    FileKind::Regular => bytes = bytes.saturating_add(space::length(&stat)),
                    FileKind::Directory => {
                        let inner =
                            if below.is_empty() { name.to_vec() } else { [&below, &b"/"[..], name].concat() };
                        // Deeper than that nothing was received.
                        if inner.len() < PATH_BYTES_MAX {
                            folders.push(inner);
                        }
                    }
                    _ => {}
                }
            }
        }
        bytes
    }

    /// Bytes of the part file that the sender of this session has left for `path`, as it is long.
    #[must_use]
    pub fn unfinished_bytes(&self, path: &RelativePath) -> u64 {
        let folder = self.folders.find(folders::parent(path.as_bytes()), FindMode::Look);
        let Ok(Some(dir)) = folder else { return 0 };
        let name = part_name_in(&dir, &path.name(), self.owner, 0);
        let stat = dir.stat(&name).ok().flatten();
        stat.filter(|stat| kind_of(stat) == FileKind::Regular).map_or(0, |stat| space::length(&stat))
    }

    /// Bytes of the disk that are free, and all that it has; `None` where it does not say.
    #[must_use]
    pub fn disk_bytes(&self) -> Option<(u64, u64)> {
        space::disk_bytes(self.root().fd())
    }

    /// Removes a part file, unless a transfer is using it.
    ///
    /// # Errors
    /// What the system said when it could not be opened or removed.
    pub fn remove_part(&self, part: &StalePart) -> Result<Removal, SinkError> {
        let failed = |errno| SinkError::system("remove", part.path.clone(), errno);
        let Some(dir) = self.folders.find(&part.folder, FindMode::Look)? else { return Ok(Removal::Gone) };
        if part.is_trial {
            return remove_left_trial(part, &dir);
        }
        let file = match dir.open(&part.name, OFlags::RDWR, Mode::empty()) {
            Ok(file) => file,
            Err(Errno::NOENT) => return Ok(Removal::Gone),
            Err(errno) => return Err(failed(errno)),
        };
        if !locks_decide(&dir).map_err(failed)? && part.is_young() {
            return Ok(Removal::InUse);
        }
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            // Then its age decides.
            Err(errno) if is_unsupported(errno) || errno == Errno::NOLCK => {}
            Err(Errno::WOULDBLOCK) => return Ok(Removal::InUse),
            Err(errno) => return Err(failed(errno)),
        }
        // Until the lock was ours its holder may have published it.
        let stat = rustix::fs::fstat(&file).map_err(failed)?;
        if !dir.is_still(&part.name, &stat).map_err(failed)? {
            return Ok(Removal::Gone);
        }
        // A transfer went on with it and was interrupted once more.
        if modified(&stat) != part.modified {
            return Ok(Removal::InUse);
        }
        dir.unlink(&part.name).map_err(failed)?;
        Ok(Removal::Removed)
    }
}

/// Removes the folder of a trial, which takes a moment: an older one was left by a receiver that was killed.
fn remove_left_trial(part: &StalePart, dir: &Dir) -> Result<Removal, SinkError> {
    if part.is_young() {
        return Ok(Removal::InUse);
    }
    match remove_trial(dir, &part.name) {
        Ok(()) => Ok(Removal::Removed),
        Err(Errno::NOENT) => Ok(Removal::Gone),
        Err(errno) => Err(SinkError::system("remove", part.path.clone(), errno)),
    }
}

fn stale_part(dir: &Dir, name: &[u8]) -> Result<Option<StalePart>, Errno> {
    let Some(stat) = dir.stat(name)? else { return Ok(None) };
    let is_trial = match kind_of(&stat) {
        FileKind::Regular => false,
        FileKind::Directory => true,
        _ => return Ok(None),
    };
    Ok(Some(StalePart {
        is_trial,
        path: dir.path_of(name),
        bytes: u64::try_from(stat.st_blocks).unwrap_or(0) * 512,
        modified: modified(&stat),
        folder: dir.below().into(),
        name: name.to_vec(),
    }))
}

fn modified(stat: &Stat) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(stat.st_mtime).unwrap_or(0))
}
