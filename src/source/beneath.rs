//! A folder that the user named, held open. Everything in it is opened beneath this handle and through no symbolic link, so
//! that a folder which somebody swaps for a link meanwhile leads nowhere.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{AtFlags, Mode, OFlags, Stat};
use rustix::io::{Errno, retry_on_intr};

/// The folder.
#[derive(Debug)]
pub(super) struct Beneath {
    fd: OwnedFd,
    /// Whether symbolic links are to be followed wherever they lead, as the user asked for.
    follow: bool,
}

impl Beneath {
    /// Opens the folder at `path`, which may be a symbolic link: it is the user's own word.
    pub fn open_root(path: &Path, follow: bool) -> Result<Beneath, Errno> {
        let fd = retry_on_intr(|| rustix::fs::open(path, DIRECTORY, Mode::empty()))?;
        Ok(Beneath { fd, follow })
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
        if self.follow {
            return retry_on_intr(|| rustix::fs::openat(&self.fd, below, flags, Mode::empty()));
        }
        match open_in_one_step(self.fd.as_fd(), below, flags) {
            Err(Errno::NOSYS | Errno::PERM) => self.open_step_by_step(below, flags),
            opened => opened,
        }
    }

    /// From folder to folder, each opened in the one before, where the kernel cannot do it in one step.
    fn open_step_by_step(&self, below: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
        let mut names = below.as_os_str().as_bytes().split(|&byte| byte == b'/').peekable();
        let mut folder: Option<OwnedFd> = None;
        while let Some(name) = names.next() {
            let flags = if names.peek().is_some() { DIRECTORY } else { flags };
            let at = folder.as_ref().map_or(self.fd.as_fd(), AsFd::as_fd);
            let next =
                retry_on_intr(|| rustix::fs::openat(at, name, flags | OFlags::NOFOLLOW, Mode::empty()))?;
            folder = Some(next);
        }
        folder.ok_or(Errno::NOENT)
    }
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
        let root = Beneath::open_root(&inside, false).unwrap();
        for step in [Beneath::open, Beneath::open_step_by_step] {
            let open = |below: &str| step(&root, Path::new(below), OFlags::RDONLY | OFlags::CLOEXEC);
            assert!(open("a/b/file").is_ok());
            assert!(open("a/b/none").is_err());
            for bad in ["a/link/file", "a/alias", "a/link"] {
                assert!(open(bad).is_err(), "{bad}");
            }
        }
        assert_eq!(root.open(Path::new("../out/file"), OFlags::RDONLY).unwrap_err(), Errno::XDEV);
        let following = Beneath::open_root(&inside, true).unwrap();
        assert!(following.open(Path::new("a/link/file"), OFlags::RDONLY).is_ok());
    }
}
