//! How fast a disk is: a file without a name is written, waited for, dropped from the memory and read back.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::limits::{
    CHUNK_BYTES, DISK_TRIAL_BYTES_MAX, DISK_TRIAL_PIECE_BYTES, DISK_TRIAL_SHARE, DISK_TRIAL_TIME,
};
use crate::name::Escaped;
use crate::os::said::Said;
use crate::store::space::{free_bytes, lives_in_memory};
use crate::units;

/// Why a disk could not be tried. Nothing was to be sent, so each says something else to do than a failed
/// transfer does.
#[derive(Debug, thiserror::Error)]
pub enum TrialError {
    #[error("there is no folder {}; give one whose disk to measure with --dir DIR", Escaped::path(path))]
    NoFolder { path: PathBuf },
    #[error("cannot {action} {}: {}; give another folder with --dir DIR", Escaped::path(path), Said(cause))]
    System { action: &'static str, path: PathBuf, cause: io::Error },
    #[error(
        "no space in {} to measure its disk: {} needed, {} free; make room, or give another folder with --dir DIR",
        Escaped::path(path), units::bytes(*needed), units::bytes(*free)
    )]
    NoSpace { path: PathBuf, needed: u64, free: u64 },
}

/// Bytes, and the time that they took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moved {
    pub bytes: u64,
    pub time: Duration,
}

/// How fast a folder's disk was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskTrial {
    /// Written, and on the device.
    pub write: Moved,
    pub read: Moved,
    /// The folder is in memory: there is no device.
    pub in_memory: bool,
}

/// Tries the disk of `dir` with a file that has no name, so that nothing of it is left whatever happens.
/// `stopped` is asked often; `None` where it says so.
///
/// # Errors
/// [`TrialError`] where the folder cannot be written to, or has too little room.
pub fn try_disk(dir: &Path, stopped: impl Fn() -> bool) -> Result<Option<DiskTrial>, TrialError> {
    let failed = |action| move |error: io::Error| not_done(action, dir, error);
    let mut file = tempfile::tempfile_in(dir).map_err(failed("make a file in"))?;
    let most = room(&file, dir)?;
    let mut block = Block::random().map_err(failed("make up bytes for"))?;
    // Finding room for the file costs something once, and so does the first byte of a device that slept.
    let mut write = |file: &mut File, bytes| write_piece(file, &mut block, bytes, &stopped);
    if !write(&mut file, DISK_TRIAL_PIECE_BYTES).map_err(failed("write to"))? {
        return Ok(None);
    }
    let (started, mut written, mut piece) = (Instant::now(), 0, DISK_TRIAL_PIECE_BYTES);
    while piece > 0 && (written == 0 || started.elapsed() < DISK_TRIAL_TIME) {
        if !write(&mut file, piece).map_err(failed("write to"))? {
            return Ok(None);
        }
        written += piece;
        piece = written.min(most - DISK_TRIAL_PIECE_BYTES - written);
    }
    let write = Moved { bytes: written, time: started.elapsed() };
    drop_from_memory(&file);
    let read = read_back(&mut file, &stopped).map_err(failed("read from"))?;
    Ok(read.map(|read| DiskTrial { write, read, in_memory: lives_in_memory(&file) }))
}

/// How long the file may become: whole pieces, at least two.
fn room(file: &File, dir: &Path) -> Result<u64, TrialError> {
    let free = free_bytes(file).unwrap_or(u64::MAX);
    let most = DISK_TRIAL_BYTES_MAX.min(free / DISK_TRIAL_SHARE);
    let most = most - most % DISK_TRIAL_PIECE_BYTES;
    let least = 2 * DISK_TRIAL_PIECE_BYTES;
    if most < least {
        let needed = least * DISK_TRIAL_SHARE;
        return Err(TrialError::NoSpace { path: dir.into(), needed, free });
    }
    Ok(most)
}

/// Bytes that no device can make smaller, nor find twice.
struct Block {
    bytes: Vec<u8>,
    number: u64,
}

/// The smallest unit that a file system compares to find the same block twice.
const STAMP_EVERY: usize = 4096;

impl Block {
    fn random() -> io::Result<Block> {
        let mut bytes = vec![0; CHUNK_BYTES];
        getrandom::fill(&mut bytes).map_err(io::Error::other)?;
        Ok(Block { bytes, number: 0 })
    }

    fn next(&mut self) -> &[u8] {
        for block in self.bytes.chunks_exact_mut(STAMP_EVERY) {
            self.number += 1;
            block[..8].copy_from_slice(&self.number.to_le_bytes());
        }
        &self.bytes
    }
}

/// Writes so many bytes and waits until the device has them. False where it is to stop.
fn write_piece(
    file: &mut File,
    block: &mut Block,
    bytes: u64,
    stopped: impl Fn() -> bool,
) -> io::Result<bool> {
    for _ in 0..bytes / CHUNK_BYTES as u64 {
        if stopped() {
            return Ok(false);
        }
        file.write_all(block.next())?;
    }
    file.sync_data().map(|()| true)
}

fn read_back(file: &mut File, stopped: impl Fn() -> bool) -> io::Result<Option<Moved>> {
    let mut buffer = vec![0; CHUNK_BYTES];
    file.seek(SeekFrom::Start(0))?;
    let (started, mut bytes) = (Instant::now(), 0);
    while bytes == 0 || started.elapsed() < DISK_TRIAL_TIME {
        if stopped() {
            return Ok(None);
        }
        match file.read(&mut buffer)? {
            0 => break,
            n => bytes += n as u64,
        }
    }
    Ok(Some(Moved { bytes, time: started.elapsed() }))
}

#[cfg(target_os = "linux")]
fn drop_from_memory(file: &File) {
    use rustix::fs::{Advice, fadvise};
    if let Err(errno) = fadvise(file, 0, None, Advice::DontNeed) {
        tracing::debug!(%errno, "the file may be read from memory");
    }
}

#[cfg(not(target_os = "linux"))]
fn drop_from_memory(_file: &File) {}

fn not_done(action: &'static str, dir: &Path, cause: io::Error) -> TrialError {
    let path = dir.into();
    match cause.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => TrialError::NoFolder { path },
        _ => TrialError::System { action, path, cause },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trial_moves_bytes_both_ways_and_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let trial = try_disk(dir.path(), || false).unwrap().unwrap();
        assert!(trial.write.bytes >= DISK_TRIAL_PIECE_BYTES && trial.write.bytes < DISK_TRIAL_BYTES_MAX);
        assert!(trial.read.bytes > 0 && trial.read.bytes <= trial.write.bytes + DISK_TRIAL_PIECE_BYTES);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn it_stops_when_it_is_told_and_names_the_folder_that_is_not_there() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(try_disk(dir.path(), || true).unwrap(), None);
        let missing = dir.path().join("missing");
        let error = try_disk(&missing, || false).unwrap_err().to_string();
        assert!(error.contains("missing"), "{error}");
    }

    #[test]
    fn no_block_is_written_twice() {
        let mut block = Block::random().unwrap();
        let first = block.next().to_vec();
        let second = block.next().to_vec();
        assert!(first.chunks(STAMP_EVERY).all(|a| second.chunks(STAMP_EVERY).all(|b| a != b)));
    }
}
