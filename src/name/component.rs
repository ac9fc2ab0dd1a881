//! One component of a path.

use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;

use thiserror::Error;

use super::shown::{Escaped, is_unsafe_to_show};

use crate::limits::{NAME_BYTES_MAX, PATH_BYTES_MAX, SHOWN_NAME_BYTES_MAX};

/// How the name of a part file begins: hidden from a plain `ls`.
pub(crate) const PART_PREFIX: &[u8] = b".";
/// How the name of a part file ends.
pub(crate) const PART_SUFFIX: &[u8] = b".lanx-part";

/// One path component, 1 to 255 bytes long: not `.` or `..`, without `/` and NUL, and not a part file's name.
/// Anything else a Unix file name may hold is kept byte for byte. [`Display`](fmt::Display) is escaped.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(pub(super) Box<[u8]>);

impl Name {
    /// Takes a name that came over the wire.
    ///
    /// # Errors
    /// [`BadName`] when the bytes are no single path component or look like a part file.
    pub fn from_wire(bytes: &[u8]) -> Result<Self, BadName> {
        checked(bytes).map(|bytes| Self(bytes.into()))
    }

    /// Takes a name found on this machine, under the same rules: what cannot be received is not sent either.
    ///
    /// # Errors
    /// [`BadName`] as for [`Name::from_wire`].
    pub fn from_local(name: &OsStr) -> Result<Self, BadName> {
        Self::from_wire(name.as_bytes())
    }

    /// The bytes as they came.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The name for use in a local path.
    #[must_use]
    pub fn as_os_str(&self) -> &OsStr {
        OsStr::from_bytes(&self.0)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Escaped(&self.0).fmt(f)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Name({self})")
    }
}

/// A name that was refused, and why. The name inside is escaped and cut short, so the message is fit to
/// print.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("the file name \"{shown}\"{} {fault}; rename it on the sending side", in_path(.within))]
pub struct BadName {
    pub(super) fault: NameFault,
    pub(super) shown: String,
    /// The path that the name stands in.
    pub(super) within: Option<String>,
}

fn in_path(path: &Option<String>) -> String {
    path.as_ref().map_or(String::new(), |path| format!(" in \"{path}\""))
}

impl BadName {
    /// What is wrong with the name.
    #[must_use]
    pub fn fault(&self) -> NameFault {
        self.fault
    }

    pub(super) fn too_long_a_path(bytes: &[u8]) -> BadName {
        BadName { fault: NameFault::PathTooLong { bytes: bytes.len() }, shown: shown(bytes), within: None }
    }
}

/// What can be wrong with a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum NameFault {
    /// No bytes at all.
    #[error("is empty, one to {NAME_BYTES_MAX} bytes were expected")]
    Empty,
    /// `.` or `..`.
    #[error("is no name of a file")]
    Dots,
    /// Holds a `/`.
    #[error("contains '/', which no single name has")]
    Slash,
    /// Holds a NUL byte.
    #[error("contains a NUL byte, which no file name can hold")]
    Nul,
    /// Longer than a file name may be.
    #[error("is {bytes} bytes long, at most {NAME_BYTES_MAX} are possible")]
    TooLong {
        /// Its length in bytes.
        bytes: usize,
    },
    /// In folders so deep that the whole path is longer than a path may be.
    #[error("is {bytes} bytes long with its folders, at most {PATH_BYTES_MAX} are possible")]
    PathTooLong {
        /// Its length in bytes.
        bytes: usize,
    },
    /// Looks like one of lanx's own part files.
    #[error("looks like one of lanx's own part files, which nobody else may address")]
    PartFile,
}

pub(super) fn checked(name: &[u8]) -> Result<&[u8], BadName> {
    match fault(name) {
        None => Ok(name),
        Some(fault) => Err(BadName { fault, shown: shown(name), within: None }),
    }
}

pub(super) fn fault(name: &[u8]) -> Option<NameFault> {
    if name.is_empty() {
        return Some(NameFault::Empty);
    }
    // Length first: every later look at the name is then bounded.
    if name.len() > NAME_BYTES_MAX {
        return Some(NameFault::TooLong { bytes: name.len() });
    }
    if name == b"." || name == b".." {
        return Some(NameFault::Dots);
    }
    if name.contains(&b'/') {
        return Some(NameFault::Slash);
    }
    if name.contains(&0) {
        return Some(NameFault::Nul);
    }
    looks_like_part(name).then_some(NameFault::PartFile)
}

/// Whether some file system could take this name for a part file's. Not only the exact bytes count: APFS and
/// FAT ignore case, FAT drops dots and spaces at the end, and HFS+ skips invisible characters when it
/// compares.
pub(crate) fn looks_like_part(name: &[u8]) -> bool {
    // Nearly all names: a first character that can be seen and is another.
    if name.first().is_some_and(|byte| matches!(byte, b' '..=b'~') && !PART_PREFIX.contains(byte)) {
        return false;
    }
    let visible: String = String::from_utf8_lossy(name).chars().filter(|&c| !is_unsafe_to_show(c)).collect();
    let plain = visible.trim_end_matches(['.', ' ']).as_bytes();
    let Some(tail) = plain.len().checked_sub(PART_SUFFIX.len()).and_then(|at| plain.get(at..)) else {
        return false;
    };
    plain.starts_with(PART_PREFIX) && tail.eq_ignore_ascii_case(PART_SUFFIX)
}

/// The longest beginning of `name` within `max_bytes` that does not cut a character in two. Text that is not
/// UTF-8 is cut at the byte, as it has no characters.
pub(crate) fn shorten(name: &[u8], max_bytes: usize) -> &[u8] {
    let Some(cut) = name.get(..max_bytes) else {
        return name;
    };
    let cut = match std::str::from_utf8(name) {
        Ok(text) => (0..=max_bytes).rev().find(|&at| text.is_char_boundary(at)).and_then(|at| name.get(..at)),
        Err(_) => Some(cut),
    };
    cut.unwrap_or_default()
}

/// A name or path of which the beginning is enough, escaped: for messages that have more to say than a long
/// name.
pub(crate) fn shown(name: &[u8]) -> String {
    let part = shorten(name, SHOWN_NAME_BYTES_MAX);
    let more = if part.len() < name.len() { "..." } else { "" };
    format!("{}{more}", Escaped(part))
}
