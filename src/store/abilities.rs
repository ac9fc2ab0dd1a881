//! What the destination's file system can do, found out before any bytes are sent for it. Many file systems over FUSE, and
//! those of object stores, lack what others have, and would say so only at the last step.
//!
//! Nothing is tried under a name that somebody may look for: there is a folder for that, which goes at once.

use std::sync::OnceLock;

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;

use super::dir::Dir;
use super::error::SinkError;
use super::part::PART_MODE;
use super::publish::move_new;
use crate::name::{Name, PART_PREFIX, PART_SUFFIX};

/// What is known of a file system. Asked when first needed.
#[derive(Debug, Default)]
pub(super) struct Abilities {
    pub(super) well_known: OnceLock<bool>,
    moves_safely: OnceLock<bool>,
}

/// Names of devices, which some file systems refuse whatever their ending (Microsoft, "Naming Files, Paths, and Namespaces").
const DEVICES: [&[u8]; 6] = [b"CON", b"PRN", b"AUX", b"NUL", b"COM", b"LPT"];

/// A name of so many bytes is stored everywhere: eCryptfs has room for 143, others for more.
const SHORT_NAME_BYTES: usize = 100;

impl Abilities {
    /// Whether a file can get this name here.
    ///
    /// # Errors
    /// [`SinkError::NameUnstorable`] where it cannot.
    pub fn check_name(&self, root: &Dir, name: &Name) -> Result<(), SinkError> {
        if is_plain(name.as_bytes()) || self.is_well_known(root) {
            return Ok(());
        }
        // Where nothing can be tried, the file itself shows what is wrong.
        let Some(trial) = Trial::begin(root) else { return Ok(()) };
        match trial.make(name.as_bytes()) {
            Ok(()) => {
                trial.remove(name.as_bytes());
                Ok(())
            }
            Err(errno) if is_about_a_name(errno) => {
                let path = root.path_of(name.as_bytes());
                Err(SinkError::NameUnstorable { path, cause: errno.into() })
            }
            Err(_) => Ok(()),
        }
    }

    /// Whether a file can get a name here without the risk of replacing another.
    ///
    /// # Errors
    /// [`SinkError::NoSafeRename`] where it cannot.
    pub fn check_moves(&self, root: &Dir) -> Result<(), SinkError> {
        let safely = *self.moves_safely.get_or_init(|| self.is_well_known(root) || moves_safely(root));
        if safely { Ok(()) } else { Err(SinkError::NoSafeRename { path: root.path().into() }) }
    }

    /// Whether two names may be one here, and each have a lock of its own. Other systems than Linux lock files, not names.
    pub fn may_fold(&self, dir: &Dir) -> bool {
        cfg!(target_os = "linux") && !self.is_well_known(dir)
    }

    fn is_well_known(&self, root: &Dir) -> bool {
        *self.well_known.get_or_init(|| is_well_known(root))
    }
}

/// Whether the system said that it does not like the name, and nothing else.
pub(super) fn is_about_a_name(errno: Errno) -> bool {
    matches!(errno, Errno::INVAL | Errno::ILSEQ | Errno::NAMETOOLONG)
}

/// Whether no file system is known to refuse it.
fn is_plain(name: &[u8]) -> bool {
    let stem = name.split(|byte| *byte == b'.').next().unwrap_or_default();
    let device = DEVICES.iter().any(|device| {
        stem.get(..device.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(device))
            && stem.len() <= device.len() + 1
    });
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.+ ".contains(byte);
    !device
        && name.len() <= SHORT_NAME_BYTES
        && name.iter().all(plain)
        && !matches!(name.last(), Some(b'.' | b' '))
}

/// Whether it is one of those that take any name of 255 bytes and know renames that replace nothing.
#[cfg(target_os = "linux")]
fn is_well_known(root: &Dir) -> bool {
    // linux/magic.h; that of XFS, bcachefs and ZFS stands in their own sources.
    const BTRFS: u64 = 0x9123_683e;
    const EXT4: u64 = 0xef53;
    const F2FS: u64 = 0xf2f5_2010;
    const OVERLAY: u64 = 0x794c_7630;
    const RAMFS: u64 = 0x8584_58f6;
    const TMPFS: u64 = 0x0102_1994;
    const XFS: u64 = 0x5846_5342;
    const ZFS: u64 = 0x2fc1_2fc1;
    #[allow(clippy::cast_sign_loss)] // It is a pattern of bits, whose width differs by architecture.
    rustix::fs::fstatfs(root.fd()).is_ok_and(|stat| {
        [BTRFS, EXT4, F2FS, OVERLAY, RAMFS, TMPFS, XFS, ZFS].contains(&(stat.f_type as u64 & 0xffff_ffff))
    })
}

#[cfg(not(target_os = "linux"))]
fn is_well_known(_: &Dir) -> bool {
    false
}

fn moves_safely(root: &Dir) -> bool {
    let Some(trial) = Trial::begin(root) else { return true };
    let moved = trial.make(b"a").and_then(|()| move_new(&trial.dir, b"a", b"b"));
    trial.remove(b"a");
    trial.remove(b"b");
    // What else may be wrong, the file itself shows.
    !matches!(moved, Err(errno) if super::dir::is_unsupported(errno))
}

/// A folder of ours beneath the destination, which is there for a moment.
struct Trial<'a> {
    root: &'a Dir,
    name: Vec<u8>,
    dir: Dir,
}

impl Trial<'_> {
    fn begin(root: &Dir) -> Option<Trial<'_>> {
        let mut random = [0; 8];
        getrandom::fill(&mut random).ok()?;
        let random = random.map(|byte| format!("{byte:02x}")).concat();
        let name = [PART_PREFIX, b"try-", random.as_bytes(), PART_SUFFIX].concat();
        root.make_folder(&name).ok()?;
        match root.open_folder(&name) {
            Ok(dir) => Some(Trial { root, name, dir }),
            Err(_) => {
                let _ = rustix::fs::unlinkat(root.fd(), &name[..], AtFlags::REMOVEDIR);
                None
            }
        }
    }

    fn make(&self, name: &[u8]) -> Result<(), Errno> {
        let new = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
        self.dir.open(name, new, Mode::from_raw_mode(PART_MODE)).map(drop)
    }

    fn remove(&self, name: &[u8]) {
        let _ = self.dir.unlink(name);
    }
}

impl Drop for Trial<'_> {
    fn drop(&mut self) {
        if let Err(errno) = rustix::fs::unlinkat(self.root.fd(), &self.name[..], AtFlags::REMOVEDIR) {
            let path = self.root.path_of(&self.name);
            tracing::warn!(path = %crate::name::Escaped::from(path.as_path()), %errno, "could not remove a folder made for a moment");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn names_that_some_file_system_refuses_are_not_plain() {
        for plain in ["a", "photo 1.jpg", ".profile", "Contents", "COM10x.txt", "lpt"] {
            assert_eq!(is_plain(plain.as_bytes()), plain != "lpt", "{plain}");
        }
        let long = "x".repeat(SHORT_NAME_BYTES + 1);
        for odd in ["CON", "con.txt", "COM1", "lpt9.log", "dot.", "space ", "a:b", "a\\b", "é", "a\n", &long]
        {
            assert!(!is_plain(odd.as_bytes()), "{odd}");
        }
        assert!(!is_plain(b"\xff"));
    }

    #[test]
    fn a_trial_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let (root, _) = Dir::open_root(Path::new(folder.path())).unwrap();
        assert!(moves_safely(&root));
        let strange = Abilities::default();
        strange.well_known.set(false).unwrap();
        strange.check_moves(&root).unwrap();
        strange.check_name(&root, &Name::from_wire(b"CON").unwrap()).unwrap();
        let long = Name::from_wire(&[b'x'; 255]).unwrap();
        strange.check_name(&root, &long).unwrap();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
