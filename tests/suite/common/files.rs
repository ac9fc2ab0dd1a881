//! Files to send, and what became of them.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use lanx::store::Owner;

use super::peer::identity;

/// Bytes of a chunk on the wire: sizes around it are where the interesting cases are.
pub const CHUNK: usize = lanx::limits::CHUNK_BYTES;

/// `len` bytes that look random and are the same for the same `seed` (the SplitMix64 sequence of Steele, Lea and
/// Flood, 2014).
pub fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bytes.extend_from_slice(&(z ^ (z >> 31)).to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

/// Makes a file of `len` bytes of noise, with a mode and a modification time that no default would give it.
pub fn make(dir: &Path, name: impl AsRef<OsStr>, len: usize) -> PathBuf {
    let seed = len as u64 ^ name.as_ref().len() as u64;
    make_of(dir, name, &noise(seed, len))
}

/// Makes a file of these bytes, as [`make`] does.
pub fn make_of(dir: &Path, name: impl AsRef<OsStr>, content: &[u8]) -> PathBuf {
    let path = dir.join(name.as_ref());
    fs::write(&path, content).unwrap();
    let nanos = 123_456_789 + content.len() as u32 % 1000;
    set_modified(&path, SystemTime::UNIX_EPOCH + Duration::new(1_234_567_890, nanos));
    fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
    path
}

pub fn set_modified(path: &Path, time: SystemTime) {
    File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
}

/// Everything there is to compare of a file.
#[derive(PartialEq, Eq, Debug)]
pub struct Look {
    pub inode: u64,
    pub mode: u32,
    pub modified: (i64, i64),
    pub changed: (i64, i64),
    pub content: Vec<u8>,
}

pub fn look(path: &Path) -> Look {
    let metadata = fs::symlink_metadata(path).unwrap_or_else(|e| panic!("{path:?}: {e}"));
    Look {
        inode: metadata.ino(),
        mode: metadata.mode(),
        modified: (metadata.mtime(), metadata.mtime_nsec()),
        changed: (metadata.ctime(), metadata.ctime_nsec()),
        content: read(path),
    }
}

pub fn read(path: &Path) -> Vec<u8> {
    fs::read(path).unwrap_or_else(|e| panic!("{path:?}: {e}"))
}

/// Demands that `copy` is `original` in bytes, mode and time of modification.
#[track_caller]
pub fn assert_same(original: &Path, copy: &Path) {
    let (a, b) = (look(original), look(copy));
    assert_eq!(a.content.len(), b.content.len(), "size of {copy:?}");
    let differs = a.content.iter().zip(&b.content).position(|(x, y)| x != y);
    assert_eq!(differs, None, "first byte of {copy:?} that differs");
    assert_eq!(format!("{:o}", b.mode), format!("{:o}", a.mode), "mode of {copy:?}");
    assert_eq!(b.modified, a.modified, "modification time of {copy:?}");
}

/// Demands that each of `originals` is in `dir`, the same, under its own name.
#[track_caller]
pub fn assert_arrived<P: AsRef<Path>>(originals: &[P], dir: &Path) {
    for original in originals {
        let original = original.as_ref();
        assert_same(original, &dir.join(original.file_name().unwrap()));
    }
}

/// The names in a folder, sorted, hidden ones and all.
pub fn listing(dir: &Path) -> Vec<OsString> {
    let mut names: Vec<OsString> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    names
}

/// The names in a folder without those of unfinished files.
pub fn finished(dir: &Path) -> Vec<String> {
    let names = listing(dir).into_iter().map(|name| name.to_string_lossy().into_owned());
    names.filter(|name| !name.ends_with(".lanx-part")).collect()
}

/// The part file in which `name`, sent by the user of the scene that `dir` is in, waits at the receiver until it is complete.
pub fn part_path(dir: &Path, name: &str) -> PathBuf {
    let config = dir.ancestors().map(|dir| dir.join("config")).find(|config| config.is_dir());
    let owner = Owner::of_key(&identity(&config.expect("a scene")).fingerprint().0);
    dir.join(format!(".{name}.{owner}.lanx-part"))
}

/// The part files of `name`, whoever sends it.
pub fn parts_of(dir: &Path, name: &str) -> Vec<OsString> {
    let mut parts = listing(dir);
    let is_part = |text: &str| text.starts_with(&format!(".{name}.v2-")) && text.ends_with(".lanx-part");
    parts.retain(|part| part.to_str().is_some_and(is_part));
    parts
}

/// Bytes of `original` that are in `copy` at their place already, in whole pieces of 64 KiB.
pub fn bytes_in_common(original: &[u8], copy: &Path) -> u64 {
    let Ok(copy) = fs::read(copy) else { return 0 };
    let pieces = original.chunks(65_536).zip(copy.chunks(65_536));
    pieces.filter(|(a, b)| a == b).map(|(a, _)| a.len() as u64).sum()
}
