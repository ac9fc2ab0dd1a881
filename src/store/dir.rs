//! One directory, held open: everything lanx does to the destination goes through a handle like this,
//! relative to it and never through a symlink, so that nothing swapped meanwhile can lead anywhere else. How
//! folders beneath the destination are found and made is in [`crate::store::folders`].

use std::hash::BuildHasher;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{Access, AtFlags, Dev, FileType, FlockOperation, Mode, OFlags, RawMode, Stat};
use rustix::io::{Errno, retry_on_intr};

use super::dressed::DressedBeneath;
use super::error::{FileKind, SinkError};
use super::place::{Facts, Left};
use crate::name::RelativePath;
use crate::os::clock::Moment;
use crate::os::stamp::Stamp;

/// A folder just made is for nobody else's eyes until it gets the mode that the sender's has. The sticky bit,
/// which is of no use to one user alone, marks it as one that a transfer has begun: if that was killed, the
/// next one finishes it.
const FOLDER_MODE: RawMode = 0o1700;

/// The setuid bit, which means nothing on a folder, marks one that its owner may not write to and that a
/// transfer has opened to us: if that was killed, the next one closes it.
const OPENED_MARK: RawMode = 0o4000;

/// What is set with that mark.
const OPENED: RawMode = OPENED_MARK | 0o200;

/// A directory handle and the path it is shown by.
#[derive(Debug)]
pub(super) struct Dir {
    fd: OwnedFd,
    path: PathBuf,
    /// Where it is beneath the destination, with `/` between the names; empty for the destination itself.
    below: Box<[u8]>,
    place: Arc<Facts>,
}

impl Dir {
    /// Opens DIR, and makes it (mode 0777 less the umask) when only its last part is missing. DIR itself may
    /// be a symlink: it is the user's own word.
    ///
    /// Also says whether it was made.
    pub(super) fn open_root(path: &Path) -> Result<(Self, bool), SinkError> {
        let (fd, made) = match open_directory(path) {
            Err(Errno::NOENT) => (make_and_open(path)?, true),
            Err(errno) => return Err(not_opened(path, errno)),
            Ok(fd) => (fd, false),
        };
        Self::root(fd, path).map(|dir| (dir, made))
    }

    /// The same, where nothing is to be made.
    pub(super) fn open_existing_root(path: &Path) -> Result<Self, SinkError> {
        let fd = open_directory(path).map_err(|errno| match errno {
            Errno::NOENT => SinkError::Removed { path: path.into() },
            errno => not_opened(path, errno),
        })?;
        Self::root(fd, path)
    }

    fn root(fd: OwnedFd, path: &Path) -> Result<Self, SinkError> {
        let beneath = probe_openat2(fd.as_fd());
        let place = Arc::new(Facts { beneath, ..Facts::default() });
        let dir = Self { fd, path: path.to_owned(), below: Box::default(), place };
        if dir.is_removed() {
            return Err(SinkError::Removed { path: path.into() });
        }
        dir.check_writable()?;
        Ok(dir)
    }

    /// The folder at `below` as a destination of its own, which nothing leads out of; `None` where it is
    /// missing and not to be made. No symbolic link on the way is followed.
    ///
    /// # Errors
    /// [`SinkError::InTheWay`] where something on the way is no directory; otherwise what the system said.
    pub(super) fn root_beneath(&self, below: &RelativePath, make: bool) -> Result<Option<Dir>, SinkError> {
        let mut inner: Option<Dir> = None;
        for name in below.names() {
            let outer = inner.as_ref().unwrap_or(self);
            let opened = match outer.open_folder(name) {
                Err(Errno::NOENT) if make => outer.make_plain_folder(name),
                Err(Errno::NOENT) => return Ok(None),
                opened => opened,
            };
            inner = Some(opened.map_err(|errno| not_entered(outer, name, errno))?);
        }
        let Some(Dir { fd, path, .. }) = inner else { return Ok(None) };
        Self::root(fd, &path).map(Some)
    }

    /// Makes the folder `name` as any program would, and sees to it that its name survives a power cut:
    /// nothing else does that for a folder that no sender offers.
    fn make_plain_folder(&self, name: &[u8]) -> Result<Dir, Errno> {
        match self.writing(|| rustix::fs::mkdirat(&self.fd, name, Mode::from_raw_mode(0o777))) {
            // EXIST: somebody made it a moment ago.
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(errno),
        }
        rustix::fs::fsync(&self.fd)?;
        self.open_folder(name)
    }

    /// Device and inode.
    pub(super) fn identity(&self) -> Result<(Dev, u64), SinkError> {
        let stat = rustix::fs::fstat(&self.fd);
        let stat = stat.map_err(|errno| SinkError::system("look at", self.path.clone(), errno))?;
        Ok((stat.st_dev, stat.st_ino))
    }

    /// Whether something is mounted here: the kernel says so (Linux 5.8), or the folder above is on another
    /// device.
    pub(super) fn is_mount_point(&self) -> Result<bool, SinkError> {
        let failed = |errno| SinkError::system("look at", self.path.clone(), errno);
        #[cfg(target_os = "linux")]
        {
            use rustix::fs::{StatxAttributes, StatxFlags};
            if let Ok(stat) = rustix::fs::statx(&self.fd, "", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS)
                && stat.stx_attributes_mask.contains(StatxAttributes::MOUNT_ROOT)
            {
                return Ok(stat.stx_attributes.contains(StatxAttributes::MOUNT_ROOT));
            }
        }
        let above = rustix::fs::statat(&self.fd, "..", AtFlags::SYMLINK_NOFOLLOW).map_err(failed)?;
        let here = rustix::fs::fstat(&self.fd).map_err(failed)?;
        Ok(above.st_dev != here.st_dev || above.st_ino == here.st_ino)
    }

    /// Has access control lists taken along from now on, or not.
    pub(super) fn take_access_lists(&self, take: bool) {
        self.place.access_lists.store(take, Ordering::Relaxed);
    }

    /// Whether it has been removed and lives on only for those that have it open.
    pub(super) fn is_removed(&self) -> bool {
        rustix::fs::fstat(&self.fd).is_ok_and(|stat| stat.st_nlink == 0)
    }

    /// Waits until the name of this directory is on the device.
    pub(super) fn sync_parent(&self) -> Result<(), SinkError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let parent = rustix::fs::openat(&self.fd, "..", flags, Mode::empty());
        let synced = match parent {
            Ok(parent) => rustix::fs::fsync(parent),
            // One that may be entered and not read: nobody can wait for it.
            Err(Errno::ACCESS) => Ok(()),
            Err(errno) => Err(errno),
        };
        synced.map_err(|errno| SinkError::system("sync", self.path.join(".."), errno))
    }

    /// Asks the kernel whether files can be made here, so that a wrong DIR is told at the start and not after
    /// the first offer. It knows read-only mounts as well.
    fn check_writable(&self) -> Result<(), SinkError> {
        let wanted = Access::WRITE_OK | Access::EXEC_OK;
        match rustix::fs::accessat(&self.fd, ".", wanted, AtFlags::EACCESS) {
            // No way to ask with the effective user (old kernel, other IDs): the first write will tell.
            Ok(()) | Err(Errno::NOSYS | Errno::INVAL) => Ok(()),
            Err(errno) => Err(SinkError::system("write to", self.path.clone(), errno)),
        }
    }

    /// The path of `name` in this directory as the user knows it.
    pub(super) fn path_of(&self, name: &[u8]) -> PathBuf {
        self.path.join(std::ffi::OsStr::from_bytes(name))
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Where it is beneath the destination; empty for the destination itself.
    pub(super) fn below(&self) -> &[u8] {
        &self.below
    }

    pub(super) fn place(&self) -> &Facts {
        &self.place
    }

    /// The folders that were made here, where somebody remembers them.
    pub(super) fn dressed(&self) -> Option<&DressedBeneath> {
        self.place.dressed.get()
    }

    /// From now on remembers them there.
    pub(super) fn remember_dressed(&self, dressed: DressedBeneath) {
        let _ = self.place.dressed.set(dressed);
    }

    /// What ended sessions have left, where somebody remembers that.
    pub(super) fn left(&self) -> Option<&Left> {
        self.place.left.get().map(|left| &**left)
    }

    /// From now on remembers it there.
    pub(super) fn remember_left(&self, left: Arc<Left>) {
        let _ = self.place.left.set(left);
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Opens `name` beneath the handle: no symlink is followed, and a FIFO cannot make it wait.
    pub(super) fn open(&self, name: &[u8], flags: OFlags, mode: Mode) -> Result<OwnedFd, Errno> {
        let flags = flags | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let once = || {
            retry_on_intr(|| match self.place.beneath {
                true => open_beneath(self.fd(), name, flags, mode),
                false => rustix::fs::openat(&self.fd, name, flags, mode),
            })
        };
        let open = || self.place.scarcity.outlast(once);
        if flags.contains(OFlags::CREATE) { self.writing(open) } else { open() }
    }

    /// Opens the folder at `below`, one or more names with `/` between them, in one step of the kernel where
    /// it can keep that beneath the handle; `NOSYS` for several names where it cannot.
    pub(super) fn open_folder(&self, below: &[u8]) -> Result<Dir, Errno> {
        if !self.place.beneath && below.contains(&b'/') {
            return Err(Errno::NOSYS);
        }
        let fd = self.open(below, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())?;
        let whole = self.below_of(below);
        Ok(Dir { fd, path: self.path_of(below), below: whole.into(), place: Arc::clone(&self.place) })
    }

    /// Where `name` is beneath the destination.
    fn below_of(&self, name: &[u8]) -> Vec<u8> {
        if self.below.is_empty() { name.into() } else { [&self.below, &b"/"[..], name].concat() }
    }

    /// Gives a folder that was opened to us for a moment the mode that it had, as `stat` was taken of it now.
    /// It may have been opened by an earlier transfer.
    pub(super) fn close_again(&self, stat: &Stat) {
        let before = self.place.opened.lock().remove(&self.below);
        if let Some(mode) = before.or_else(|| Self::mode_before(stat))
            && let Err(errno) = rustix::fs::fchmod(&self.fd, Mode::from_raw_mode(mode))
        {
            let path = crate::name::Escaped::from(self.path.as_path());
            tracing::warn!(%path, %errno, "could not give a folder its permissions back");
        }
    }

    /// The mode of a folder before a transfer opened it that has not closed it.
    pub(super) fn mode_before(stat: &Stat) -> Option<RawMode> {
        let mode = Mode::from_raw_mode(stat.st_mode).bits();
        (mode & OPENED == OPENED && is_ours(stat)).then_some(mode & !OPENED)
    }

    /// It has a mode of its own by now, so it is not closed again.
    pub(super) fn leave_as_it_is(&self) {
        self.place.opened.lock().remove(&self.below);
    }

    /// The folders that are still to be closed again.
    pub(super) fn opened(&self) -> Vec<Box<[u8]>> {
        self.place.opened.lock().keys().cloned().collect()
    }

    /// Whether it was made by a transfer that has not finished it. Root may have given it away already.
    pub(super) fn is_begun(stat: &Stat) -> bool {
        Mode::from_raw_mode(stat.st_mode).bits() & 0o1777 == FOLDER_MODE
            && (is_ours(stat) || rustix::process::geteuid().is_root())
    }

    /// Notes when this session's sender began to read what it sends.
    pub(super) fn began_at(&self, run: Moment) {
        let _ = self.place.run.set(run);
    }

    /// When this session's sender began, by the clock of the file system: `made`, which has just changed, is
    /// the first file of the session, if nothing was made before.
    pub(super) fn began(&self, made: &Stat) -> (i64, i64) {
        let age = || self.place.run.get().map_or(Duration::ZERO, |run| run.elapsed());
        *self.place.began.get_or_init(|| ago(changed(made), age()))
    }

    /// The same, where `made` has yet to be looked at.
    pub(super) fn note_began(&self, made: BorrowedFd<'_>) {
        if self.place.began.get().is_none()
            && let Ok(stat) = rustix::fs::fstat(made)
        {
            self.began(&stat);
        }
    }

    /// `made`, which has its metadata by now, gets the name `name`.
    pub(super) fn note_published(&self, name: &[u8], made: &Stat) {
        // It may be a file that had the number of one that is gone.
        self.place.left_over.lock().remove(&(made.st_dev, made.st_ino));
        if changed(made) < self.began(made) {
            let mut published = self.place.published.lock();
            // One more than there is room for says that it is full.
            if published.len() <= PUBLISHED_MAX {
                published.insert(self.mark(name));
            }
        }
    }

    fn mark(&self, name: &[u8]) -> u64 {
        let path = String::from_utf8_lossy(&self.below_of(name)).to_lowercase();
        self.place.marks.hash_one(path)
    }

    /// Renames `from`, which `made` was taken of, to `to`, where it replaces a file that is older than what
    /// is sent, and still as it was when it was looked at.
    ///
    /// # Errors
    /// [`NotReplaced::Newer`] where it is not, and what the system said.
    pub(super) fn replace_older(
        &self,
        from: &[u8],
        to: &[u8],
        made: &Stat,
        looked_at: Option<Stamp>,
    ) -> Result<(), NotReplaced> {
        // Else two files, whose names are one to this file system, could both find the old one.
        let _replacing = self.place.replacing.lock();
        let _alone = self.alone();
        let there = self.stat(to)?.filter(|there| kind_of(there) != FileKind::Directory);
        if there
            .is_some_and(|there| !self.is_older(to, &there, made) || !self.is_as_looked_at(&there, looked_at))
        {
            return Err(NotReplaced::Newer);
        }
        self.note_published(to, made);
        match there {
            Some(_) => self.rename_over(from, to)?,
            // What comes in this moment is newer.
            None => match self.rename_new(from, to) {
                Ok(()) => {}
                Err(Errno::EXIST)
                    if self.stat(to)?.is_some_and(|stat| kind_of(&stat) != FileKind::Directory) =>
                {
                    return Err(NotReplaced::Newer);
                }
                Err(errno) if is_unsupported(errno) || errno == Errno::PERM => self.rename_over(from, to)?,
                Err(errno) => return Err(errno.into()),
            },
        }
        if let Some(there) = there.filter(|there| there.st_nlink > 1) {
            let mut left_over = self.place.left_over.lock();
            if left_over.len() < LEFT_OVER_MAX {
                left_over.insert((there.st_dev, there.st_ino));
            }
        }
        Ok(())
    }

    /// Whether it is what stood there when it was looked at. One that lost another of its names to what
    /// arrived was changed by that.
    fn is_as_looked_at(&self, there: &Stat, looked_at: Option<Stamp>) -> bool {
        let (Some(before), now) = (looked_at, Stamp::of(there)) else { return false };
        let is_left_over = || self.place.left_over.lock().contains(&(there.st_dev, there.st_ino));
        now == before || (is_left_over() && now.has_content_of(&before))
    }

    /// Keeps other receivers, and other sessions of this one, from replacing anything in this folder for as
    /// long as it is held; `None` where that cannot be had, as where one of them stands still.
    fn alone(&self) -> Option<OwnedFd> {
        let folder = self.open(b".", OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).ok()?;
        let begun = Instant::now();
        loop {
            match rustix::fs::flock(&folder, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Some(folder),
                Err(Errno::WOULDBLOCK) if begun.elapsed() < ALONE_PATIENCE => thread::sleep(ALONE_LOOK),
                Err(_) => return None,
            }
        }
    }

    fn is_older(&self, name: &[u8], there: &Stat, made: &Stat) -> bool {
        if self.place.left_over.lock().contains(&(there.st_dev, there.st_ino)) {
            return true;
        }
        let published = self.place.published.lock();
        changed(there) < self.began(made)
            && published.len() <= PUBLISHED_MAX
            && !published.contains(&self.mark(name))
    }

    pub(super) fn make_folder(&self, name: &[u8]) -> Result<(), Errno> {
        self.writing(|| rustix::fs::mkdirat(&self.fd, name, Mode::from_raw_mode(FOLDER_MODE)))
    }

    /// Does what needs to write to the directory. A folder of ours that may not be written to, as an earlier
    /// transfer of a read-only folder left it, is opened to us for that: it gets its mode again when the
    /// transfer is through with it. The destination itself is left as the user made it.
    fn writing<T>(&self, act: impl Fn() -> Result<T, Errno>) -> Result<T, Errno> {
        let result = match act() {
            Err(Errno::ACCESS) if self.admit_us() => act(),
            result => result,
        };
        if let Some(dressed) = self.place.dressed.get().filter(|_| result.is_ok()) {
            dressed.outdate(&self.below);
        }
        result
    }

    /// Lets us read, write and search a folder beneath the destination, if it is ours. Whether it does now.
    pub(super) fn admit_us(&self) -> bool {
        !self.below.is_empty()
            && rustix::fs::fstat(&self.fd).is_ok_and(|stat| {
                is_ours(&stat)
                    && self.place.note_opened(&self.below, &stat)
                    && rustix::fs::fchmod(&self.fd, with_access(&stat)).is_ok()
            })
    }

    /// The same for the folder `name` in this one, which cannot even be opened.
    #[cfg(target_os = "linux")]
    pub(super) fn admit_us_to(&self, name: &[u8]) -> bool {
        use std::os::fd::AsRawFd;
        // A handle that asks for no access; only by the way of /proc its mode can be set.
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let Ok(folder) = rustix::fs::openat(&self.fd, name, flags, Mode::empty()) else { return false };
        rustix::fs::fstat(&folder).is_ok_and(|stat| {
            let path = format!("/proc/self/fd/{}", folder.as_raw_fd());
            is_ours(&stat)
                && self.place.note_opened(&self.below_of(name), &stat)
                && rustix::fs::chmod(path, with_access(&stat)).is_ok()
        })
    }

    /// The same for the folder `name` in this one, which cannot even be opened.
    #[cfg(not(target_os = "linux"))]
    pub(super) fn admit_us_to(&self, name: &[u8]) -> bool {
        let nofollow = AtFlags::SYMLINK_NOFOLLOW;
        self.stat(name).is_ok_and(|stat| {
            stat.is_some_and(|stat| {
                kind_of(&stat) == FileKind::Directory
                    && is_ours(&stat)
                    && self.place.note_opened(&self.below_of(name), &stat)
                    && rustix::fs::chmodat(&self.fd, name, with_access(&stat), nofollow).is_ok()
            })
        })
    }

    /// What stands under `name`, a symlink being itself; `None` for nothing.
    pub(super) fn stat(&self, name: &[u8]) -> Result<Option<Stat>, Errno> {
        match rustix::fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(errno),
        }
    }

    /// Whether `name` is the file that `stat` was taken from.
    pub(super) fn is_still(&self, name: &[u8], stat: &Stat) -> Result<bool, Errno> {
        let there = self.stat(name)?;
        Ok(there.is_some_and(|there| there.st_dev == stat.st_dev && there.st_ino == stat.st_ino))
    }

    pub(super) fn unlink(&self, name: &[u8]) -> Result<(), Errno> {
        self.writing(|| rustix::fs::unlinkat(&self.fd, name, AtFlags::empty()))
    }

    /// Renames over whatever file stands at `to`.
    pub(super) fn rename_over(&self, from: &[u8], to: &[u8]) -> Result<(), Errno> {
        self.writing(|| rustix::fs::renameat(&self.fd, from, &self.fd, to))
    }

    /// Renames unless something stands at `to` (`EXIST`), in one step of the kernel.
    #[cfg(any(target_os = "linux", target_os = "macos"))]
    pub(super) fn rename_new(&self, from: &[u8], to: &[u8]) -> Result<(), Errno> {
        let flags = rustix::fs::RenameFlags::NOREPLACE;
        self.writing(|| rustix::fs::renameat_with(&self.fd, from, &self.fd, to, flags))
    }

    /// Renames unless something stands at `to`: not to be had here, so the caller falls back to a link.
    #[cfg(not(any(target_os = "linux", target_os = "macos")))]
    pub(super) fn rename_new(&self, _from: &[u8], _to: &[u8]) -> Result<(), Errno> {
        Err(Errno::NOSYS)
    }

    /// Makes a file without a name, for our eyes only; `None` where that cannot be had.
    pub(super) fn open_unnamed(&self) -> Option<OwnedFd> {
        if self.place.unnamed.load(Ordering::Relaxed) == unnamed::NOT_AT_ALL {
            return None;
        }
        match self.writing(|| retry_on_intr(|| unnamed::open(self.fd()))) {
            Ok(file) => Some(file),
            Err(errno) => {
                // ISDIR: the answer of kernels that do not know the flag.
                if is_unsupported(errno) || errno == Errno::ISDIR {
                    self.place.unnamed.store(unnamed::NOT_AT_ALL, Ordering::Relaxed);
                }
                None
            }
        }
    }

    /// Gives a file that was made without a name this one, unless something has it (`EXIST`); `NOENT` where
    /// that cannot be done here.
    pub(super) fn name_unnamed(&self, file: BorrowedFd<'_>, name: &[u8]) -> Result<(), Errno> {
        let how = &self.place.unnamed;
        if how.load(Ordering::Relaxed) == unnamed::BY_HANDLE {
            match self.writing(|| unnamed::name_by_handle(file, self.fd(), name)) {
                Err(Errno::NOENT | Errno::PERM | Errno::INVAL) => {
                    how.store(unnamed::BY_PROC, Ordering::Relaxed);
                }
                result => return result,
            }
        }
        let named = self.writing(|| unnamed::name_by_proc(file, self.fd(), name));
        if let Err(Errno::NOENT) = named {
            how.store(unnamed::NOT_AT_ALL, Ordering::Relaxed);
        }
        named
    }

    /// Gives the file `from` of `folder` the further name `to` here, unless something stands there (`EXIST`).
    pub(super) fn link(&self, folder: &Dir, from: &[u8], to: &[u8]) -> Result<(), Errno> {
        self.writing(|| rustix::fs::linkat(&folder.fd, from, &self.fd, to, AtFlags::empty()))
    }

    /// Makes the symbolic link `name`, unless something stands there (`EXIST`).
    pub(super) fn symlink(&self, target: &[u8], name: &[u8]) -> Result<(), Errno> {
        self.writing(|| rustix::fs::symlinkat(target, &self.fd, name))
    }

    /// The same directory through the portable calls only, to test those where openat2 exists.
    #[cfg(test)]
    pub(super) fn without_openat2(self) -> Self {
        Self { place: Arc::default(), ..self }
    }
}

/// Files that are made without a name and get one when they are complete.
#[cfg(target_os = "linux")]
mod unnamed {
    use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

    use rustix::fs::{AtFlags, CWD, Mode, OFlags, linkat, openat};
    use rustix::io::Errno;

    /// By their handle, as a process may that made them (since Linux 6.10; before that only with
    /// CAP_DAC_READ_SEARCH).
    pub const BY_HANDLE: u8 = 0;
    /// By their entry in /proc.
    pub const BY_PROC: u8 = 1;
    pub const NOT_AT_ALL: u8 = 2;

    pub fn open(dir: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        openat(dir, ".", flags, Mode::RUSR | Mode::WUSR)
    }

    pub fn name_by_handle(file: BorrowedFd<'_>, dir: BorrowedFd<'_>, name: &[u8]) -> Result<(), Errno> {
        linkat(file, "", dir, name, AtFlags::EMPTY_PATH)
    }

    pub fn name_by_proc(file: BorrowedFd<'_>, dir: BorrowedFd<'_>, name: &[u8]) -> Result<(), Errno> {
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        linkat(CWD, path, dir, name, AtFlags::SYMLINK_FOLLOW)
    }
}

/// There are none here.
#[cfg(not(target_os = "linux"))]
mod unnamed {
    use std::os::fd::{BorrowedFd, OwnedFd};

    use rustix::io::Errno;

    pub const BY_HANDLE: u8 = 0;
    pub const BY_PROC: u8 = 1;
    pub const NOT_AT_ALL: u8 = 2;

    pub fn open(_: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
        Err(Errno::OPNOTSUPP)
    }

    pub fn name_by_handle(_: BorrowedFd<'_>, _: BorrowedFd<'_>, _: &[u8]) -> Result<(), Errno> {
        Err(Errno::NOENT)
    }

    pub use name_by_handle as name_by_proc;
}

impl Facts {
    /// Remembers what mode a folder has that is to be opened to us. Whether there is room for that: what
    /// cannot be closed again is not opened.
    fn note_opened(&self, below: &[u8], stat: &Stat) -> bool {
        let mut opened = self.opened.lock();
        let room = opened.len() < FOLDERS_OPENED_MAX || opened.contains_key(below);
        if room {
            opened.entry(below.into()).or_insert(Mode::from_raw_mode(stat.st_mode).bits());
        }
        room
    }
}

/// Names that are remembered where a file system has no times of change: 1 MiB or so. Once there are more,
/// nothing is replaced there any more in this session.
const PUBLISHED_MAX: usize = 65_536;

/// Files with several names that are remembered: 1 MiB or so. The other names of further ones are not
/// replaced in this session.
const LEFT_OVER_MAX: usize = 65_536;

/// Why something was not replaced.
#[derive(Debug)]
pub(super) enum NotReplaced {
    /// It is not older than the session.
    Newer,
    Failed(Errno),
}

impl From<Errno> for NotReplaced {
    fn from(errno: Errno) -> NotReplaced {
        NotReplaced::Failed(errno)
    }
}

/// How long others that replace something in a folder are waited for: each needs microseconds.
const ALONE_PATIENCE: Duration = Duration::from_millis(500);
const ALONE_LOOK: Duration = Duration::from_micros(500);

/// Folders that one session may have open to us at once.
const FOLDERS_OPENED_MAX: usize = 4096;

/// When something changed last, in seconds and nanoseconds.
#[allow(clippy::useless_conversion, clippy::unnecessary_cast)] // The widths differ by system.
fn changed(stat: &Stat) -> (i64, i64) {
    (stat.st_ctime as i64, stat.st_ctime_nsec as i64)
}

/// The time that was so long before another one, or a little later: a file system's clock ticks every few
/// milliseconds, and what was there before must not look younger for it. Where it tells no more than
/// hundredths of a second it may have no more than every other second.
fn ago((seconds, nanos): (i64, i64), age: Duration) -> (i64, i64) {
    let tick = if nanos % 10_000_000 == 0 { CLOCK_TICK_COARSE } else { CLOCK_TICK };
    let age = age.saturating_sub(tick);
    let (nanos, borrowed) = match nanos - i64::from(age.subsec_nanos()) {
        nanos if nanos < 0 => (nanos + 1_000_000_000, 1),
        nanos => (nanos, 0),
    };
    let seconds = seconds.saturating_sub(i64::try_from(age.as_secs()).unwrap_or(i64::MAX));
    (seconds.saturating_sub(borrowed), nanos)
}

const CLOCK_TICK: Duration = Duration::from_millis(20);
const CLOCK_TICK_COARSE: Duration = Duration::from_secs(2);

/// The mode of a directory with all access for its owner.
fn with_access(stat: &Stat) -> Mode {
    let mode = Mode::from_raw_mode(stat.st_mode);
    // The others are rare, and one bit cannot tell them apart.
    let is_read_only = mode & Mode::RWXU == Mode::RUSR | Mode::XUSR;
    let mark = if is_read_only { Mode::from_raw_mode(OPENED_MARK) } else { Mode::empty() };
    mode | Mode::RWXU | mark
}

fn is_ours(stat: &Stat) -> bool {
    stat.st_uid == rustix::process::geteuid().as_raw()
}

/// Whether an error says that the file system (or a sandbox) does not know the call, rather than that it
/// failed.
pub(super) fn is_unsupported(errno: Errno) -> bool {
    // One number on Linux, two on macOS, so no pattern can list both.
    errno == Errno::OPNOTSUPP || errno == Errno::NOTSUP || matches!(errno, Errno::NOSYS | Errno::INVAL)
}

/// What kind of thing a stat describes.
pub(super) fn kind_of(stat: &Stat) -> FileKind {
    FileType::from_raw_mode(stat.st_mode).into()
}

fn open_directory(path: &Path) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    retry_on_intr(|| rustix::fs::open(path, flags, Mode::empty()))
}

fn make_and_open(path: &Path) -> Result<OwnedFd, SinkError> {
    match rustix::fs::mkdir(path, Mode::from_raw_mode(0o777)) {
        // EXIST: somebody made it a moment ago, or it is a dangling symlink, which opening will tell.
        Ok(()) | Err(Errno::EXIST) => open_directory(path).map_err(|errno| not_opened(path, errno)),
        Err(Errno::NOENT | Errno::NOTDIR) => Err(SinkError::NoParent { path: path.into() }),
        Err(errno) => Err(SinkError::system("make the folder", path.into(), errno)),
    }
}

/// Says what stands in the place of the folder `name` in `parent`.
pub(super) fn not_entered(parent: &Dir, name: &[u8], errno: Errno) -> SinkError {
    let path = parent.path_of(name);
    match parent.stat(name) {
        Ok(Some(stat)) if kind_of(&stat) != FileKind::Directory => {
            SinkError::InTheWay { path, what: kind_of(&stat), expected: FileKind::Directory }
        }
        _ => SinkError::system("open the folder", path, errno),
    }
}

/// Says what stands in DIR's place when it cannot be opened as a directory.
fn not_opened(path: &Path, errno: Errno) -> SinkError {
    let path = path.to_owned();
    match (errno, rustix::fs::stat(&path), rustix::fs::lstat(&path)) {
        (Errno::NOTDIR, Ok(stat), _) | (Errno::NOENT, Err(Errno::NOENT), Ok(stat)) => {
            let what = kind_of(&stat);
            SinkError::NotADirectory { path, what }
        }
        (Errno::NOTDIR, Err(Errno::NOTDIR), _) => SinkError::NoParent { path },
        _ => SinkError::system("open the folder", path, errno),
    }
}

/// Opens with the kernel's own promise that the path stays beneath `dir` and meets no symlink.
#[cfg(target_os = "linux")]
fn open_beneath(dir: BorrowedFd<'_>, name: &[u8], flags: OFlags, mode: Mode) -> Result<OwnedFd, Errno> {
    use rustix::fs::ResolveFlags;
    let fence = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    rustix::fs::openat2(dir, name, flags, mode, fence)
}

#[cfg(not(target_os = "linux"))]
fn open_beneath(_dir: BorrowedFd<'_>, _name: &[u8], _flags: OFlags, _mode: Mode) -> Result<OwnedFd, Errno> {
    Err(Errno::NOSYS)
}

/// Whether openat2 works here: only Linux has it, kernels before 5.6 lack it, and containers' filters may
/// deny it. One harmless call finds out for good.
fn probe_openat2(dir: BorrowedFd<'_>) -> bool {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    retry_on_intr(|| open_beneath(dir, b".", flags, Mode::empty())).is_ok()
}
