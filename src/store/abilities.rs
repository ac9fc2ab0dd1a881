//! What the destination's file system can do, found out before any bytes are sent for it. Many file systems
//! over FUSE, and those of object stores, lack what others have, and would say so only at the last step.
//!
//! Nothing is tried under a name that somebody may look for: there is a folder for that, which goes at once.

use rustix::fs::{AtFlags, Dir as Entries, Mode, OFlags};
use rustix::io::Errno;

use super::dir::{Dir, is_unsupported, kind_of};
use super::error::{FileKind, SinkError};
use super::folders::parent;
use super::moves::move_new;
use super::part::PART_MODE;
use super::place::{Abilities, Renown};
use super::refused::is_about_a_name;
use crate::limits::NAME_BYTES_MAX;
use crate::name::{PART_PREFIX, PART_SUFFIX};

/// Names of devices, which some file systems refuse whatever their ending (Microsoft, "Naming Files, Paths,
/// and Namespaces").
const DEVICES: [&[u8]; 6] = [b"CON", b"PRN", b"AUX", b"NUL", b"COM", b"LPT"];

/// A name of so many bytes is stored everywhere: eCryptfs has room for 143, others for more.
const SHORT_NAME_BYTES: usize = 100;

/// Lengths that are tried where a file system does not keep what it says of itself: EncFS has room for about
/// 175.
const NAME_LENGTHS: [usize; 4] = [200, 175, 143, SHORT_NAME_BYTES];

/// What the name of a trial's folder says between that of a part file and its random bytes.
const TRIAL: &[u8] = b"try-";
const RANDOM_BYTES: usize = 8;

impl Abilities {
    /// Whether a file can get this path here: whether each name of it can be stored.
    ///
    /// # Errors
    /// [`SinkError::NameUnstorable`] where one cannot.
    pub fn check_names(&self, root: &Dir, path: &[u8]) -> Result<(), SinkError> {
        let folder = parent(path);
        let is_good = *self.good_folder.lock() == folder;
        let names = if is_good { path.get(folder.len()..).unwrap_or(path) } else { path };
        let mut names = names.split(|byte| *byte == b'/').filter(|name| !name.is_empty());
        if let Some((name, errno)) = names.find_map(|name| Some((name, self.refusal(root, name)?))) {
            tracing::debug!(name = %crate::name::Escaped(name), %errno, "the file system refuses a name");
            return Err(SinkError::NameUnstorable { path: root.path_of(path), cause: errno.into() });
        }
        if !is_good {
            folder.clone_into(&mut self.good_folder.lock());
        }
        Ok(())
    }

    /// What the file system says against a name, as far as that can be tried.
    fn refusal(&self, root: &Dir, name: &[u8]) -> Option<Errno> {
        let good = match self.renown(root) {
            _ if is_plain(name) => true,
            Renown::WellKnown => std::str::from_utf8(name).is_ok(),
            Renown::Network => std::str::from_utf8(name)
                .is_ok_and(|name| is_plain(name.replace(|c: char| c.is_alphanumeric(), "x").as_bytes())),
            Renown::Unknown => false,
        };
        if good {
            return None;
        }
        // Where nothing can be tried, the file itself shows what is wrong.
        let trial = Trial::begin(root)?;
        let made = trial.make(name);
        if made.is_ok() {
            trial.remove(name);
        }
        made.err().filter(|errno| is_about_a_name(*errno))
    }

    /// Whether a file can get a name here without the risk of replacing another.
    ///
    /// # Errors
    /// [`SinkError::NoSafeRename`] where it cannot.
    pub fn check_moves(&self, root: &Dir) -> Result<(), SinkError> {
        let safely = *self.moves_safely.get_or_init(|| moves_safely(root, self.renown(root)));
        if safely { Ok(()) } else { Err(SinkError::NoSafeRename { path: root.path().into() }) }
    }

    /// Whether two names may be one here, and each have a lock of its own. Other systems than Linux lock
    /// files, not names.
    pub fn may_fold(&self, dir: &Dir) -> bool {
        cfg!(target_os = "linux") && !self.is_well_known(dir)
    }

    /// How long names may be here, for those that are `wanted` bytes long.
    pub fn name_bytes(&self, dir: &Dir, wanted: usize) -> usize {
        if wanted <= SHORT_NAME_BYTES {
            return NAME_BYTES_MAX;
        }
        *self
            .name_bytes
            .get_or_init(|| if self.is_well_known(dir) { NAME_BYTES_MAX } else { name_bytes(dir) })
    }

    fn is_well_known(&self, dir: &Dir) -> bool {
        self.renown(dir) == Renown::WellKnown
    }

    fn renown(&self, dir: &Dir) -> Renown {
        *self.renown.get_or_init(|| renown(dir))
    }
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

#[cfg(target_os = "linux")]
fn renown(dir: &Dir) -> Renown {
    // linux/magic.h; that of XFS and ZFS stands in their own sources.
    const BTRFS: u64 = 0x9123_683e;
    const EXT4: u64 = 0xef53;
    const F2FS: u64 = 0xf2f5_2010;
    const NFS: u64 = 0x6969;
    const OVERLAY: u64 = 0x794c_7630;
    const RAMFS: u64 = 0x8584_58f6;
    const TMPFS: u64 = 0x0102_1994;
    const XFS: u64 = 0x5846_5342;
    const ZFS: u64 = 0x2fc1_2fc1;
    #[allow(clippy::cast_sign_loss)] // It is a pattern of bits, whose width differs by architecture.
    match rustix::fs::fstatfs(dir.fd()).map(|stat| stat.f_type as u64 & 0xffff_ffff) {
        Ok(BTRFS | EXT4 | F2FS | OVERLAY | RAMFS | TMPFS | XFS | ZFS) => Renown::WellKnown,
        Ok(NFS) => Renown::Network,
        _ => Renown::Unknown,
    }
}

#[cfg(not(target_os = "linux"))]
fn renown(_: &Dir) -> Renown {
    Renown::Unknown
}

fn name_bytes(dir: &Dir) -> usize {
    let told = rustix::fs::fstatvfs(dir.fd()).map_or(NAME_BYTES_MAX, |stat| stat.f_namemax as usize);
    let told = if told == 0 { NAME_BYTES_MAX } else { told.min(NAME_BYTES_MAX) };
    let Some(trial) = Trial::begin(dir) else { return told };
    let lengths = [told].into_iter().chain(NAME_LENGTHS.into_iter().filter(|length| *length < told));
    let mut good = lengths.filter(|length| {
        let name = vec![b'x'; *length];
        let made = trial.make(&name);
        trial.remove(&name);
        made != Err(Errno::NAMETOOLONG)
    });
    good.next().unwrap_or(SHORT_NAME_BYTES)
}

fn moves_safely(root: &Dir, renown: Renown) -> bool {
    let moved = match renown {
        // They can do it. A sandbox that refuses the calls does so whatever their names are, so none needs to
        // be there.
        Renown::WellKnown => random_hex().map_or(Ok(()), |absent| move_new(root, &absent, &absent)),
        Renown::Network | Renown::Unknown => {
            let Some(trial) = Trial::begin(root) else { return true };
            let moved = trial.make(b"a").and_then(|()| move_new(&trial.dir, b"a", b"b"));
            trial.remove(b"a");
            trial.remove(b"b");
            moved
        }
    };
    // All rights to the folder are ours, so a refusal is that of a sandbox. What else may be wrong, the file
    // itself shows.
    !matches!(moved, Err(errno) if is_unsupported(errno) || errno == Errno::PERM)
}

fn random_hex() -> Option<Vec<u8>> {
    let mut random = [0; RANDOM_BYTES];
    getrandom::fill(&mut random).ok()?;
    Some(random.map(|byte| format!("{byte:02x}")).concat().into_bytes())
}

/// Whether a folder of this name was made for a trial. One that is still there belonged to a receiver that
/// was killed.
pub(super) fn is_trial(name: &[u8]) -> bool {
    let random = name.strip_prefix(PART_PREFIX).and_then(|name| name.strip_prefix(TRIAL));
    let random = random.and_then(|name| name.strip_suffix(PART_SUFFIX));
    random.is_some_and(|hex| hex.len() == 2 * RANDOM_BYTES && hex.iter().all(u8::is_ascii_hexdigit))
}

/// Removes the folder of a trial and the empty files in it; what else somebody put there keeps it.
pub(super) fn remove_trial(dir: &Dir, name: &[u8]) -> Result<(), Errno> {
    let folder = dir.open(name, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())?;
    for entry in Entries::read_from(&folder)? {
        let entry = entry?;
        let inner = entry.file_name();
        let stat = rustix::fs::statat(&folder, inner, AtFlags::SYMLINK_NOFOLLOW)?;
        if kind_of(&stat) == FileKind::Regular && stat.st_size == 0 {
            rustix::fs::unlinkat(&folder, inner, AtFlags::empty())?;
        }
    }
    rustix::fs::unlinkat(dir.fd(), name, AtFlags::REMOVEDIR)
}

/// A folder of ours beneath the destination, which is there for a moment.
struct Trial<'a> {
    root: &'a Dir,
    name: Vec<u8>,
    dir: Dir,
}

impl Trial<'_> {
    fn begin(root: &Dir) -> Option<Trial<'_>> {
        let name = [PART_PREFIX, TRIAL, &random_hex()?, PART_SUFFIX].concat();
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
        for renown in [Renown::WellKnown, Renown::Network, Renown::Unknown] {
            assert!(moves_safely(&root, renown), "{renown:?}");
        }
        let strange = Abilities::default();
        strange.renown.set(Renown::Unknown).unwrap();
        strange.check_moves(&root).unwrap();
        strange.check_names(&root, b"folder./CON").unwrap();
        strange.check_names(&root, &[b'x'; NAME_BYTES_MAX]).unwrap();
        let error = strange.check_names(&root, &[b'x'; NAME_BYTES_MAX + 1]).unwrap_err();
        assert!(matches!(error, SinkError::NameUnstorable { .. }), "{error}");
        assert_eq!(strange.name_bytes(&root, NAME_BYTES_MAX), NAME_BYTES_MAX);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
