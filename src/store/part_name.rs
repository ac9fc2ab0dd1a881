//! The names of part files, and which of them are in a folder.

use std::sync::Arc;

use rustix::fs::Dir as Entries;
use rustix::io::Errno;

use super::dir::Dir;
use super::owner::Owner;
use super::place::PartPlace;
use crate::limits::{NAME_BYTES_MAX, PART_HASH_HEX_DIGITS, PARTS_PER_NAME_MAX};
use crate::name::{Name, PART_PREFIX, PART_SUFFIX, looks_like_part, shorten};

/// Names of part files that are remembered of one folder, and folders of which they are.
const NAMES_MAX: usize = 10_000;
const FOLDERS_MAX: usize = 256;

/// The folder, and the name that a part file would have in it where locks decide.
pub(super) fn place_of(dir: &Dir, name: &Name, owner: Owner) -> Result<PartPlace, Errno> {
    let stat = rustix::fs::fstat(dir.fd())?;
    Ok(((stat.st_dev, stat.st_ino), part_name_in(dir, name, owner, 0)))
}

/// The name of the part file in `dir`, where names may be shorter than elsewhere: see [`part_file_name`].
/// Where two names may be one (`a` and `A`) it has the hash of the name in it: a file system over FUSE may
/// well lock each of the two for itself, and two files would be written into one part file.
pub(super) fn part_name_in(dir: &Dir, name: &Name, owner: Owner, which: impl Into<Which>) -> Vec<u8> {
    let which = which.into();
    let abilities = &dir.place().abilities;
    let part = part_file_name(name, owner, which, NAME_BYTES_MAX);
    let most = abilities.name_bytes(dir, part.len());
    // Of names that are one to a file system, at most one is made of these alone.
    let is_unique = name.as_bytes().iter().all(|byte| byte.is_ascii() && !byte.is_ascii_uppercase());
    match part.len() <= most && (is_unique || !abilities.may_fold(dir)) {
        true => part,
        false => hashed_part_name(name, owner, which, most),
    }
}

/// The name of the part file: `.{name}.{owner}.lanx-part` or `.{name}.{owner}.{number}.lanx-part`, or where
/// that is longer than `most` bytes that with the hash.
pub(super) fn part_file_name(name: &Name, owner: Owner, which: impl Into<Which>, most: usize) -> Vec<u8> {
    let which = which.into();
    let tail = part_tail(owner, which);
    let part = [PART_PREFIX, name.as_bytes(), tail.as_bytes(), PART_SUFFIX].concat();
    if part.len() <= most { part } else { hashed_part_name(name, owner, which, most) }
}

/// `.{beginning of name}~{BLAKE3 of name, 16 hex digits}.{owner}.{number}.lanx-part`, of `most` bytes.
fn hashed_part_name(name: &Name, owner: Owner, which: Which, most: usize) -> Vec<u8> {
    let (tail, full) = (part_tail(owner, which), name.as_bytes());
    let digest = blake3::hash(full).to_hex();
    let digest: String = digest.chars().take(PART_HASH_HEX_DIGITS).collect();
    let frame = PART_PREFIX.len() + 1 + digest.len() + tail.len() + PART_SUFFIX.len();
    let begin = shorten(full, most.saturating_sub(frame));
    [PART_PREFIX, begin, b"~", digest.as_bytes(), tail.as_bytes(), PART_SUFFIX].concat()
}

fn part_tail(owner: Owner, which: Which) -> String {
    format!(".{owner}{}", which.tail())
}

/// Which of the part files of one name and key it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Which {
    /// Where locks decide: the first that nobody has.
    Number(u32),
    /// That of one session.
    Own(u64),
}

impl From<u32> for Which {
    fn from(number: u32) -> Which {
        Which::Number(number)
    }
}

impl Which {
    /// As it stands behind the key in the name of a part file.
    pub fn tail(self) -> String {
        match self {
            Which::Number(0) => String::new(),
            Which::Number(number) => format!(".{number}"),
            Which::Own(random) => format!(".{random:016x}"),
        }
    }

    /// What the name of a part file ends in.
    fn of(part_name: &[u8]) -> Option<Which> {
        let stem = part_name.strip_suffix(PART_SUFFIX)?;
        let (_, last) = stem.split_at(stem.iter().rposition(|&byte| byte == b'.')? + 1);
        let text = std::str::from_utf8(last).ok()?;
        match text.len() {
            16 if !text.contains('+') => u64::from_str_radix(text, 16).ok().map(Which::Own),
            _ => None,
        }
    }
}

/// The part files of this name and key that were there when the folder was looked through, in this session.
pub(super) fn names_of(dir: &Dir, name: &Name, owner: Owner) -> Vec<Vec<u8>> {
    let all = part_names(dir);
    let own = all
        .iter()
        .filter(|part| Which::of(part).is_some_and(|which| part_name_in(dir, name, owner, which) == ***part));
    let numbered = (0..PARTS_PER_NAME_MAX).map(|number| part_name_in(dir, name, owner, number));
    own.cloned().chain(numbered.filter(|part| all.contains(part))).collect()
}

/// All names of part files in a folder. Looked through once, as it may have a million of others.
fn part_names(dir: &Dir) -> Arc<Vec<Vec<u8>>> {
    let mut known = dir.place().part_names.lock();
    if let Some(names) = known.get(dir.below()) {
        return names.clone();
    }
    let entries = Entries::read_from(dir.fd()).into_iter().flatten().flatten();
    let names =
        entries.map(|entry| entry.file_name().to_bytes().to_vec()).filter(|name| looks_like_part(name));
    let names = Arc::new(names.take(NAMES_MAX).collect::<Vec<_>>());
    if known.len() >= FOLDERS_MAX {
        known.clear();
    }
    known.insert(dir.below().into(), names.clone());
    names
}
