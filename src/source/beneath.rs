//! A folder that the user named. Everything in it is opened beneath its handle and through no symbolic link,
//! so that a folder which somebody swaps for a link meanwhile leads nowhere.
//!
//! Thousands of folders may be named, and their files be under way at once, so only a few handles are open:
//! one that was closed meanwhile is opened by its path again, and has to be the same folder then.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use rustix::fs::{AtFlags, Mode, OFlags, Stat};
use rustix::io::{Errno, retry_on_intr};

/// The handles of the folders that were used last.
pub(crate) type Recent = Arc<Mutex<VecDeque<((u64, u64), Arc<OwnedFd>)>>>;

/// As many as that are open at once. One would do for one folder; several receivers and paths take turns.
const RECENT_MAX: usize = 8;

/// The folder.
#[derive(Debug)]
pub(crate) struct Beneath {
    path: PathBuf,
    /// Device and inode.
    identity: (u64, u64),
    recent: Recent,
    /// Whether symbolic links are to be followed wherever they lead, as the user asked for.
    follow: bool,
}

impl Beneath {
    /// Opens the folder at `path`, which may be a symbolic link: it is the user's own word.
    pub fn open_root(path: &Path, follow: bool, recent: &Recent) -> Result<Beneath, Errno> {
        let fd = open_path(path)?;
        let identity = identity(&rustix::fs::fstat(&fd)?);
        let beneath = Beneath { path: path.into(), identity, recent: recent.clone(), follow };
        beneath.keep(Arc::new(fd));
        Ok(beneath)
    }

    /// The handle; `XDEV` where the path leads to another folder by now.
    fn root(&self) -> Result<Arc<OwnedFd>, Errno> {
        let held =
            self.recent.lock().iter().find(|(held, _)| *held == self.identity).map(|(_, fd)| fd.clone());
        if let Some(fd) = held {
            return Ok(fd);
        }
        let fd = Arc::new(open_path(&self.path)?);
        if identity(&rustix::fs::fstat(&fd)?) != self.identity {
            return Err(Errno::XDEV);
        }
        self.keep(fd.clone());
        Ok(fd)
    }

    fn keep(&self, fd: Arc<OwnedFd>) {
        let mut recent = self.recent.lock();
        if recent.len() >= RECENT_MAX {
            recent.pop_front();
        }
        recent.push_back((self.identity, fd));
    }

    /// Opens the file at `below`.
    pub fn open_file(&self, below: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
        // Not blocking: a FIFO that took the file's place would otherwise hold us for ever.
        self.open(below, flags | OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC)
    }

    /// Opens the folder at `below`; an empty path is the folder itself.
    pub fn open_folder(&self, below: &Path) -> Result<OwnedFd, Errno> {
        let below = if below.as_os_str().is_empty() { Path::new(".") } else { below };
        self.open(below, DIRECTORY)
    }

    /// What stands under `name` in `folder`, which is one of this one's.
    pub fn stat(&self, folder: BorrowedFd<'_>, name: &[u8]) -> Result<Stat, Errno> {
        let flags = if self.follow { AtFlags::empty() } else { AtFlags::SYMLINK_NOFOLLOW };
        rustix::fs::statat(folder, name, flags)
    }

    fn open(&self, below: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
        let root = self.root()?;
        if self.follow {
            return retry_on_intr(|| rustix::fs::openat(&root, below, flags, Mode::empty()));
        }
        match open_in_one_step(root.as_fd(), below, flags) {
            Err(Errno::NOSYS | Errno::PERM) => self.open_step_by_step(below, flags),
            opened => opened,
        }
    }

    /// From folder to folder, each opened in the one before, where the kernel cannot do it in one step.
    fn open_step_by_step(&self, below: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
        let root = self.root()?;
        let mut names = below.as_os_str().as_bytes().split(|&byte| byte == b'/').peekable();
        let mut folder: Option<OwnedFd> = None;
        while let Some(name) = names.next() {
            let flags = if names.peek().is_some() { DIRECTORY } else { flags };
            let at = folder.as_ref().map_or(root.as_fd(), AsFd::as_fd);
            let next =
                retry_on_intr(|| rustix::fs::openat(at, name, flags | OFlags::NOFOLLOW, Mode::empty()))?;
            folder = Some(next);
        }
        folder.ok_or(Errno::NOENT)
    }
}

fn open_path(path: &Path) -> Result<OwnedFd, Errno> {
    retry_on_intr(|| rustix::fs::openat(rustix::fs::CWD, path, DIRECTORY, Mode::empty()))
}

/// Device and inode.
#[allow(clippy::useless_conversion, clippy::unnecessary_cast, clippy::cast_sign_loss)] // The widths differ by system.
pub(super) fn identity(stat: &Stat) -> (u64, u64) {
    (stat.st_dev as u64, stat.st_ino as u64)
}

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

#[cfg(target_os = "linux")]
fn open_in_one_step(root: BorrowedFd<'_>, below: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
    use rustix::fs::{ResolveFlags, openat2};
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    // A rename on the way may make the kernel unsure (AGAIN): it says so a few times at most.
    for _ in 0..UNSURE_MAX {
        match openat2(root, below, flags, Mode::empty(), resolve) {
            Err(Errno::AGAIN | Errno::INTR) => {}
            opened => return opened,
        }
    }
    Err(Errno::AGAIN)
}

/// How often a kernel that is unsure is asked again.
#[cfg(target_os = "linux")]
const UNSURE_MAX: u32 = 128;

#[cfg(not(target_os = "linux"))]
fn open_in_one_step(_: BorrowedFd<'_>, _: &Path, _: OFlags) -> Result<OwnedFd, Errno> {
    Err(Errno::NOSYS)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn nothing_is_opened_through_a_link_in_one_step_or_in_several() {
        let room = tempfile::tempdir().unwrap();
        let (inside, outside) = (room.path().join("in"), room.path().join("out"));
        fs::create_dir_all(inside.join("a/b")).unwrap();
        fs::create_dir(&outside).unwrap();
        fs::write(inside.join("a/b/file"), "ours").unwrap();
        fs::write(outside.join("file"), "secret").unwrap();
        symlink(&outside, inside.join("a/link")).unwrap();
        symlink(outside.join("file"), inside.join("a/alias")).unwrap();
        let root = Beneath::open_root(&inside, false, &Recent::default()).unwrap();
        for step in [Beneath::open, Beneath::open_step_by_step] {
            let open = |below: &str| step(&root, Path::new(below), OFlags::RDONLY | OFlags::CLOEXEC);
            assert!(open("a/b/file").is_ok());
            assert!(open("a/b/none").is_err());
            for bad in ["a/link/file", "a/alias", "a/link"] {
                assert!(open(bad).is_err(), "{bad}");
            }
        }
        assert_eq!(root.open(Path::new("../out/file"), OFlags::RDONLY).unwrap_err(), Errno::XDEV);
        let following = Beneath::open_root(&inside, true, &Recent::default()).unwrap();
        assert!(following.open(Path::new("a/link/file"), OFlags::RDONLY).is_ok());
    }

    #[test]
    fn few_of_many_folders_are_open_and_one_that_was_closed_has_to_be_the_same() {
        let room = tempfile::tempdir().unwrap();
        let recent = Recent::default();
        let folders: Vec<Beneath> = (0..4 * RECENT_MAX)
            .map(|n| {
                let path = room.path().join(n.to_string());
                fs::create_dir(&path).unwrap();
                fs::write(path.join("file"), "x").unwrap();
                Beneath::open_root(&path, false, &recent).unwrap()
            })
            .collect();
        assert_eq!(recent.lock().len(), RECENT_MAX);
        for folder in &folders {
            assert!(folder.open_file(Path::new("file"), OFlags::empty()).is_ok());
        }
        assert_eq!(recent.lock().len(), RECENT_MAX);
        fs::rename(room.path().join("0"), room.path().join("moved")).unwrap();
        fs::create_dir(room.path().join("0")).unwrap();
        fs::write(room.path().join("0/file"), "another").unwrap();
        assert_eq!(folders[0].open_file(Path::new("file"), OFlags::empty()).unwrap_err(), Errno::XDEV);
    }
}
