//! A part file: where a file waits, locked, until it is complete and verified.
//!
//! It belongs to the key that sends the file: it is called `.{name}.v2-{key}.lanx-part`, or
//! `.{name}.v2-{key}.{n}.lanx-part` when others hold the ones before, and no other key's session opens it.
//! Its bytes are never believed: they only save sending what a comparison shows to be right. So the worst
//! that a wrong part file can cause is a comparison for nothing.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rustix::fs::{Dev, FlockOperation, Mode, OFlags, RawMode, Stat};
use rustix::io::{Errno, retry_on_intr};

use super::dir::{Dir, is_unsupported, kind_of};
use super::error::{FileKind, SinkError};
use super::existing::ExistingFile;
use super::io::{DataExtents, read_exact_at, write_all_at};
use super::locks::{REST, locks_decide};
use super::owner::Owner;
use super::part_name::{names_of, part_name_in, place_of};
use super::refused::not_named;
use super::space;
use crate::limits::{CHUNK_BYTES, FILE_BYTES_MAX, PART_RACES_MAX, PARTS_PER_NAME_MAX};
use crate::name::Name;
use crate::os::direct::{Direct, DirectFile};
use crate::os::stamp::Stamp;

/// How long a part file in use is waited for before another one is begun beside it. A session whose sender is
/// gone ends within milliseconds, on a busy machine within tenths of a second.
const PART_RELEASE_PATIENCE: Duration = Duration::from_millis(500);

/// How long nothing is waited for after that was in vain.
const PART_RELEASE_PAUSE: Duration = Duration::from_secs(10);

/// How often it is looked at meanwhile.
const PART_RELEASE_LOOK: Duration = Duration::from_millis(5);

/// Zeros that are written at once where a file system knows no holes.
const ZEROS_BYTES: usize = 64 * 1024;

/// Nobody else reads or writes a file that is not complete.
pub(super) const PART_MODE: RawMode = 0o600;

/// A part file that this value alone holds, by an exclusive lock, until it is published, discarded or
/// dropped.
///
/// Threads share it by reference. Dropping it keeps the file, so that the transfer can be resumed, except
/// that of a stream, and a part that was empty and into which nothing was written but holes.
#[derive(Debug)]
pub struct Part {
    pub(super) dir: Arc<Dir>,
    pub(super) file: OwnedFd,
    pub(super) name: Name,
    pub(super) owner: Owner,
    pub(super) part_name: Vec<u8>,
    pub(super) size: Size,
    /// Device and inode of the file.
    pub(super) identity: (Dev, u64),
    /// Past the page cache.
    pub(super) direct: Option<DirectFile>,
    /// What holds only zeros is to take no room.
    pub(super) sparse: bool,
    existing_len: u64,
    /// What stood under its name when it was looked at. Where there is something else by the time it is
    /// published, that stays.
    pub(super) looked_at: Option<Stamp>,
    /// Before anything was written to it.
    pub(super) opened: Instant,
    /// Why it was not synced. The system tells each error once, and takes what it could not write for
    /// written. Held during each sync.
    pub(super) unsynced: Mutex<Option<Errno>>,
    written: AtomicBool,
    /// Published or discarded: the part name is none of our business any more.
    pub(super) settled: AtomicBool,
}

/// Opens the first part file of this name and key that nobody has, or makes it.
pub(super) fn open_numbered(
    dir: &Dir,
    name: &Name,
    owner: Owner,
    room: u64,
) -> Result<(Vec<u8>, Locked), SinkError> {
    let target = dir.path_of(name.as_bytes());
    for number in 0..PARTS_PER_NAME_MAX {
        let part_name = part_name_in(dir, name, owner, number);
        let patience = if number == 0 { PART_RELEASE_PATIENCE } else { Duration::ZERO };
        let locked =
            lock(dir, &part_name, patience).map_err(|refused| not_opened(dir, &target, room, refused))?;
        if let Some(locked) = locked {
            return Ok((part_name, locked));
        }
    }
    Err(SinkError::PartsBusy { path: target, tried: PARTS_PER_NAME_MAX })
}

impl Part {
    /// Begins with what was opened for it, to which nobody else writes, and makes room.
    pub(super) fn begin(
        dir: &Arc<Dir>,
        name: &Name,
        owner: Owner,
        part_name: Vec<u8>,
        locked: Locked,
        size: Size,
        form: Form,
    ) -> Result<Self, SinkError> {
        let room = size.room();
        let part = Self {
            dir: Arc::clone(dir),
            file: locked.file,
            name: name.clone(),
            owner,
            part_name,
            size,
            identity: (locked.stat.st_dev, locked.stat.st_ino),
            direct: None,
            sparse: form == Form::Sparse,
            existing_len: space::length(&locked.stat).min(room),
            looked_at: None,
            opened: Instant::now(),
            unsynced: Mutex::default(),
            written: AtomicBool::new(false),
            settled: AtomicBool::new(false),
        };
        if part.is_fresh() {
            part.dir.began(&locked.stat);
        }
        part.prepare(locked.stat, form, &dir.path_of(name.as_bytes()))?;
        Ok(part)
    }

    /// Cuts off what a longer file left behind, hides the bytes again if an earlier publishing had opened
    /// them to others, and makes room.
    fn prepare(&self, mut stat: Stat, form: Form, target: &Path) -> Result<(), SinkError> {
        if Mode::from_raw_mode(stat.st_mode).bits() & 0o777 != PART_MODE {
            self.set_part_mode();
        }
        let size = self.size.room();
        if space::length(&stat) > size {
            stat = retry_on_intr(|| rustix::fs::ftruncate(&self.file, size))
                .and_then(|()| rustix::fs::fstat(&self.file))
                .map_err(|errno| SinkError::system("shorten", self.part_path(), errno))?;
        }
        match form {
            Form::Plain => space::reserve(&self.dir, self.file.as_fd(), &stat, size, target),
            Form::Sparse | Form::Shared => space::set_length(self.file.as_fd(), &stat, size, target),
        }
    }

    /// Best effort: a file system without modes has nothing to hide.
    pub(super) fn set_part_mode(&self) {
        if let Err(errno) = rustix::fs::fchmod(&self.file, Mode::from_raw_mode(PART_MODE)) {
            tracing::debug!(part = %crate::name::Escaped(&self.part_name), %errno, "could not set the mode of a part file");
        }
    }

    /// Has it replace what stands there now and nothing else.
    pub(super) fn look(&mut self) {
        self.looked_at = self.dir.stat(self.name.as_bytes()).ok().flatten().map(|stat| Stamp::of(&stat));
    }

    /// Has it replace what was looked at and nothing else.
    #[must_use]
    pub fn in_place_of(mut self, looked_at: Option<Stamp>) -> Part {
        self.looked_at = looked_at;
        self
    }

    /// Bytes that were in the part file when it was opened, at most [`size`](Self::size). They prove nothing;
    /// where space was taken ahead they include ranges never written, see
    /// [`data_extents`](Self::data_extents).
    #[must_use]
    pub fn existing_len(&self) -> u64 {
        self.existing_len
    }

    /// Whether there is nothing to compare with.
    #[must_use]
    pub fn is_fresh(&self) -> bool {
        self.existing_len == 0
    }

    /// The agreed size of the file in bytes; of a stream that has not ended the most that it can have.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size.bytes()
    }

    /// The name it was opened for.
    #[must_use]
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// The final path as the user knows it.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.dir.path_of(self.name.as_bytes())
    }

    /// The path of the part file itself, to tell the user where an unfinished file waits.
    #[must_use]
    pub fn part_path(&self) -> PathBuf {
        self.dir.path_of(&self.part_name)
    }

    /// Writes all of `buf` at `offset`, in bytes. Many threads may write at once, best to ranges that do not
    /// overlap. After an error the part is still good for further writes and for resuming. In a sparse file
    /// whole blocks of zeros become holes.
    ///
    /// # Errors
    /// [`SinkError::OutOfRange`] outside of the agreed size, before anything is written;
    /// [`SinkError::NoSpace`] when the disk or the quota is full; otherwise what the system said.
    pub fn write_at(&self, buf: &[u8], offset: u64) -> Result<(), SinkError> {
        let end = self.check_range(offset, buf.len() as u64)?;
        if !self.sparse {
            return self.write_data(buf, offset);
        }
        for stretch in space::stretches(buf, offset, end == self.size()) {
            let at = offset.saturating_add(stretch.range.start as u64);
            match stretch.is_zeros {
                true => self.clear(at, stretch.range.len() as u64)?,
                false => self.write_data(buf.get(stretch.range).unwrap_or_default(), at)?,
            }
        }
        Ok(())
    }

    /// Makes `bytes` bytes from `offset` zeros: a hole in a sparse file, written zeros in any other.
    ///
    /// # Errors
    /// As for [`Part::write_at`].
    pub fn write_zeros(&self, offset: u64, bytes: u64) -> Result<(), SinkError> {
        self.check_range(offset, bytes)?;
        if self.sparse { self.clear(offset, bytes) } else { self.fill(offset, bytes) }
    }

    fn check_range(&self, offset: u64, bytes: u64) -> Result<u64, SinkError> {
        match offset.checked_add(bytes) {
            Some(end) if end <= self.size() => Ok(end),
            _ => Err(SinkError::OutOfRange { path: self.path(), offset, bytes, size: self.size() }),
        }
    }

    fn write_data(&self, buf: &[u8], offset: u64) -> Result<(), SinkError> {
        let result = self.write_all_at(buf, offset);
        let done = result.map_or_else(|(done, _)| done, |()| buf.len());
        self.note_written(done);
        result.map_err(|(_, errno)| self.not_written(offset.saturating_add(buf.len() as u64), errno))
    }

    /// Makes a hole. A new file is one, except where something was written; what an earlier transfer left may
    /// be data or space taken ahead, and goes.
    fn clear(&self, offset: u64, bytes: u64) -> Result<(), SinkError> {
        let file = self.file.as_fd();
        if bytes == 0 || (self.is_fresh() && space::is_hole(file, offset, bytes)) {
            return Ok(());
        }
        match space::punch(file, offset, bytes) {
            Ok(()) => Ok(()),
            Err(errno) if is_unsupported(errno) || errno == Errno::PERM => self.fill(offset, bytes),
            Err(errno) => Err(self.not_written(offset.saturating_add(bytes), errno)),
        }
    }

    fn fill(&self, mut offset: u64, mut bytes: u64) -> Result<(), SinkError> {
        static ZEROS: [u8; ZEROS_BYTES] = [0; ZEROS_BYTES];
        while bytes > 0 {
            let now = bytes.min(ZEROS_BYTES as u64);
            self.write_data(ZEROS.get(..now as usize).unwrap_or(&ZEROS), offset)?;
            offset += now;
            bytes -= now;
        }
        Ok(())
    }

    fn note_written(&self, bytes: usize) {
        // Looking first keeps the threads from passing the cache line around.
        if bytes > 0 && !self.written.load(Ordering::Relaxed) {
            self.written.store(true, Ordering::Relaxed);
        }
    }

    /// `end` is as far as it would have been written.
    fn not_written(&self, end: u64, errno: Errno) -> SinkError {
        let needed = self.size.room().max(end);
        space::refused("write", self.file.as_fd(), needed, &self.path(), errno)
    }

    /// Fills `buf` from `offset`, in bytes.
    ///
    /// # Errors
    /// [`SinkError::UnexpectedEnd`] when the part is shorter, otherwise what the system said.
    pub fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<(), SinkError> {
        read_exact_at(self.file.as_fd(), buf, offset, || self.part_path())
    }

    /// Whether that range surely holds nothing, so that it reads as zeros.
    #[must_use]
    pub fn is_hole(&self, offset: u64, bytes: u64) -> bool {
        space::is_hole(self.file.as_fd(), offset, bytes)
    }

    /// The ranges within the agreed size that may hold data: a chunk outside of them is surely missing.
    #[must_use]
    pub fn data_extents(&self) -> DataExtents<'_> {
        DataExtents::new(self.file.as_fd(), self.size())
    }

    /// Removes the part file, unless its name belongs to another file by now. Threads that still write to it
    /// write into nothing.
    ///
    /// # Errors
    /// What the system said when it could not be removed.
    pub fn discard(&self) -> Result<(), SinkError> {
        self.settled.store(true, Ordering::Relaxed);
        self.remove().map_err(|errno| SinkError::system("remove", self.part_path(), errno))
    }

    fn remove(&self) -> Result<(), Errno> {
        let stat = rustix::fs::fstat(&self.file)?;
        if self.dir.is_still(&self.part_name, &stat)? {
            self.dir.unlink(&self.part_name)?;
        }
        Ok(())
    }
}

impl Part {
    /// Notes what stays of it for the next session of this program.
    fn note_left(&self) {
        if let (Some(left), Ok(place)) = (self.dir.left(), place_of(&self.dir, &self.name, self.owner))
            && matches!(locks_decide(&self.dir), Ok(false))
        {
            left.put(place, (self.part_name.clone(), self.identity));
        }
    }

    /// Removes what other sessions have left of this file, once it has its name and they are surely gone.
    pub(super) fn remove_left_by_others(&self) {
        if !matches!(locks_decide(&self.dir), Ok(false)) {
            return;
        }
        let Some(now) = self.stat() else { return };
        for other in names_of(&self.dir, &self.name, self.owner) {
            let at_rest = |stat: &Stat| {
                is_our_kind(stat, false) && stat.st_ctime < now.st_ctime - REST.as_secs() as i64
            };
            if matches!(self.dir.stat(&other), Ok(Some(stat)) if at_rest(&stat)) {
                let _ = self.dir.unlink(&other);
            }
        }
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        let holds_something = self.existing_len > 0 || *self.written.get_mut();
        if *self.settled.get_mut() {
            return;
        }
        if holds_something && self.size.can_resume() {
            return self.note_left();
        }
        if let Err(errno) = self.remove() {
            tracing::debug!(part = %crate::name::Escaped(&self.part_name), %errno, "could not remove a part file that is of no use");
        }
    }
}

/// How a part file takes room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// All of it is taken ahead, where that is cheap.
    Plain,
    /// As it is written: much of it may share what an older file takes, see [`Part::take_over`]. What was
    /// taken ahead would stay taken.
    Shared,
    /// As it is written, and what holds only zeros takes none.
    Sparse,
}

// Chunks of an older version of the file that need not be sent.

impl Part {
    /// Puts `content`, which was read from `older` at `offset`, into the part file at the same place: by
    /// sharing the blocks of the older file where the file system can (btrfs, XFS), otherwise by writing it.
    /// Never anything else, also where somebody writes to the older file meanwhile.
    ///
    /// # Errors
    /// As [`Part::write_at`].
    pub fn take_over(&self, older: &ExistingFile, content: &[u8], offset: u64) -> Result<(), SinkError> {
        self.check_range(offset, content.len() as u64)?;
        // In a sparse one zeros are to be holes, whatever they are in the older file.
        if !self.sparse && self.share(older, content.len(), offset) && self.holds(content, offset) {
            self.note_written(content.len());
            return Ok(());
        }
        self.write_at(content, offset)
    }

    /// Has the system copy a range, which it does without copying where it can. False where it cannot, or not
    /// all of it.
    #[cfg(target_os = "linux")]
    fn share(&self, older: &ExistingFile, len: usize, offset: u64) -> bool {
        let Ok(from) = older.descriptor() else { return false };
        let (mut read_at, mut write_at, mut left) = (offset, offset, len);
        while left > 0 {
            let copied = retry_on_intr(|| {
                rustix::fs::copy_file_range(&*from, Some(&mut read_at), &self.file, Some(&mut write_at), left)
            });
            match copied {
                Ok(0) | Err(_) => return false,
                Ok(copied) => left = left.saturating_sub(copied),
            }
        }
        true
    }

    #[cfg(not(target_os = "linux"))]
    fn share(&self, _older: &ExistingFile, _len: usize, _offset: u64) -> bool {
        false
    }

    /// Whether this is what the part file has there.
    fn holds(&self, content: &[u8], offset: u64) -> bool {
        const PIECE_BYTES: usize = 32 * 1024;
        let mut there = [0; PIECE_BYTES];
        content.chunks(PIECE_BYTES).zip((offset..).step_by(PIECE_BYTES)).all(|(piece, at)| {
            there
                .get_mut(..piece.len())
                .is_some_and(|there| self.read_at(there, at).is_ok() && there == piece)
        })
    }
}

// Part files that are written past the page cache.

impl Part {
    /// Has whole chunks written past the page cache from now on. Not those of a sparse file, of which any
    /// block may become a hole, nor a file of one chunk, which is not worth a second handle.
    pub(super) fn open_directly(&mut self, direct: &Arc<Direct>) {
        if self.sparse || self.size.room() <= CHUNK_BYTES as u64 {
            return;
        }
        let second = |flag| self.dir.open(&self.part_name, OFlags::WRONLY | flag, Mode::empty());
        self.direct = direct.open(&self.file, &self.path(), second);
    }

    /// Writes all of `buf` at `offset`, past the page cache as far as that goes.
    pub(super) fn write_all_at(&self, buf: &[u8], offset: u64) -> Result<(), (usize, Errno)> {
        let done = match &self.direct {
            Some(direct) => direct.write_at(buf, offset)?,
            None => 0,
        };
        let rest = buf.get(done..).unwrap_or_default();
        write_all_at(self.file.as_fd(), rest, offset.saturating_add(done as u64))
            .map_err(|(more, errno)| (done + more, errno))
    }
}

// Getting hold of a part file: opened or made, locked, and still the one that its name stands for.

/// An open part file under our lock.
pub(super) struct Locked {
    pub file: OwnedFd,
    pub stat: Stat,
}

/// What one attempt at a part name came to.
enum Opening {
    Ours(Locked),
    /// In use by another transfer.
    InUse,
    /// Nothing that we would write into.
    NotForUs,
    /// It changed hands between opening and locking.
    Lost,
}

/// What was tried, and what the system said.
pub(super) type Refused = (&'static str, Errno);

pub(super) const MAKING: &str = "make a part file for";

pub(super) fn not_opened(dir: &Dir, target: &Path, size: u64, refused: Refused) -> SinkError {
    match refused {
        (MAKING, errno) => not_named(MAKING, dir, size, target.to_owned(), errno),
        (action, errno) => space::refused(action, dir.fd(), size, target, errno),
    }
}

/// Opens or makes a part file and locks it; `None` for one that is not for us.
///
/// One in use is waited for a moment: a sender that was killed and started again can be back before its last
/// session has let go of what it had, and would begin anew beside it. Where that was in vain, it is not done
/// again for a while: two senders with the same files would wait for each of them.
pub(super) fn lock(dir: &Dir, part_name: &[u8], patience: Duration) -> Result<Option<Locked>, Refused> {
    lock_by(dir, part_name, patience, thread::sleep)
}

/// The same with any way to wait between two looks.
pub(super) fn lock_by(
    dir: &Dir,
    part_name: &[u8],
    patience: Duration,
    mut wait: impl FnMut(Duration),
) -> Result<Option<Locked>, Refused> {
    let (begun, vain) = (Instant::now(), &dir.place().waited_in_vain);
    let mut races = 0;
    while races < PART_RACES_MAX {
        match attempt(dir, part_name)? {
            Opening::Ours(locked) => return Ok(Some(locked)),
            Opening::InUse if patience.is_zero() => return Ok(None),
            Opening::InUse if vain.lock().is_some_and(|at| at.elapsed() < PART_RELEASE_PAUSE) => {
                return Ok(None);
            }
            Opening::InUse if begun.elapsed() < patience => wait(PART_RELEASE_LOOK),
            Opening::InUse => {
                *vain.lock() = Some(Instant::now());
                return Ok(None);
            }
            Opening::NotForUs => return Ok(None),
            Opening::Lost => races += 1,
        }
    }
    Ok(None)
}

fn attempt(dir: &Dir, part_name: &[u8]) -> Result<Opening, Refused> {
    // A new one first: most files are new, and then one call does it.
    let new = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL;
    match dir.open(part_name, new, Mode::from_raw_mode(PART_MODE)) {
        Ok(file) => claim(dir, part_name, file, true),
        Err(Errno::EXIST | Errno::LOOP) => attempt_existing(dir, part_name),
        Err(errno) => Err((MAKING, errno)),
    }
}

fn attempt_existing(dir: &Dir, part_name: &[u8]) -> Result<Opening, Refused> {
    // Looked at before it is opened, as opening a device can have effects of its own.
    match dir.stat(part_name) {
        Ok(Some(stat)) if is_our_kind(&stat, false) => {}
        Ok(Some(_)) => return Ok(Opening::NotForUs),
        Ok(None) => return Ok(Opening::Lost),
        Err(errno) => return Err(("look at the part file for", errno)),
    }
    match dir.open(part_name, OFlags::RDWR, Mode::empty()) {
        Ok(file) => claim(dir, part_name, file, false),
        Err(Errno::NOENT) => Ok(Opening::Lost),
        Err(Errno::LOOP | Errno::ACCESS | Errno::PERM | Errno::NXIO | Errno::ISDIR) => Ok(Opening::NotForUs),
        Err(errno) => Err(("open the part file for", errno)),
    }
}

/// Locks an open part file, then looks whether it is still the one its name stands for: until the lock was
/// ours, its former holder could publish or remove it.
fn claim(dir: &Dir, part_name: &[u8], file: OwnedFd, is_new: bool) -> Result<Opening, Refused> {
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(Errno::WOULDBLOCK) => return Ok(Opening::InUse),
        // Without locks nobody can know whether an old part is in use, but one just made is surely free, and
        // everybody else here leaves it alone for the same reason.
        Err(errno) if is_unsupported(errno) || errno == Errno::NOLCK => {
            if !is_new {
                return Ok(Opening::NotForUs);
            }
        }
        Err(errno) => return Err(("lock the part file for", errno)),
    }
    let stat = rustix::fs::fstat(&file).map_err(|errno| ("look at the part file for", errno))?;
    let still_there = dir.is_still(part_name, &stat).map_err(|errno| ("look at the part file for", errno))?;
    Ok(match (still_there, is_our_kind(&stat, is_new)) {
        (false, _) => Opening::Lost,
        (true, false) => Opening::NotForUs,
        (true, true) => Opening::Ours(Locked { file, stat }),
    })
}

/// Whether a file is one that lanx would make: regular, with one name, and ours. A new file is ours whatever
/// owner the file system shows: some show the one they were mounted for.
pub(super) fn is_our_kind(stat: &Stat, is_new: bool) -> bool {
    kind_of(stat) == FileKind::Regular
        && stat.st_nlink <= 1
        && (is_new || stat.st_uid == rustix::process::geteuid().as_raw())
}

// A part file that grows with a stream: how long it will be nobody knows until it has ended.

/// How long a part file is to be.
#[derive(Debug)]
pub(super) enum Size {
    Agreed(u64),
    /// Known when the stream has ended.
    Stream(OnceLock<u64>),
}

impl Size {
    /// Bytes; the most that may come while the end is not known.
    pub fn bytes(&self) -> u64 {
        match self {
            Size::Agreed(bytes) => *bytes,
            Size::Stream(end) => end.get().copied().unwrap_or(FILE_BYTES_MAX),
        }
    }

    /// Bytes to make room for ahead.
    pub fn room(&self) -> u64 {
        match self {
            Size::Agreed(bytes) => *bytes,
            Size::Stream(_) => 0,
        }
    }

    /// Whether what is in the part file may serve a later transfer.
    pub fn can_resume(&self) -> bool {
        matches!(self, Size::Agreed(_))
    }
}

impl Part {
    /// The stream has ended and has so many bytes. Nothing comes of it for any other file, or a second time.
    pub fn end_at(&self, bytes: u64) {
        if let Size::Stream(end) = &self.size {
            let _ = end.set(bytes);
        }
    }
}
