//! The only door for a foreign file name, and the one place where foreign text is made fit to be shown.
//!
//! A [`Name`] is one path component that is safe to hand to the kernel beneath a directory handle. It keeps its
//! bytes as they came: an odd name is still the user's name. What is odd about it is dealt with where it is
//! shown, by [`Escaped`]. A [`RelativePath`] is made of names.

mod path;

use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use thiserror::Error;

use crate::limits::{NAME_BYTES_MAX, PATH_BYTES_MAX, SHOWN_NAME_BYTES_MAX};
pub use path::RelativePath;

/// How the name of a part file begins: hidden from a plain `ls`.
pub(crate) const PART_PREFIX: &[u8] = b".";
/// How the name of a part file ends.
pub(crate) const PART_SUFFIX: &[u8] = b".lanx-part";

/// One path component, 1 to 255 bytes long: not `.` or `..`, without `/` and NUL, and not a part file's name.
/// Anything else a Unix file name may hold is kept byte for byte. [`Display`](fmt::Display) is escaped.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Box<[u8]>);

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

/// A name that was refused, and why. The name inside is escaped and cut short, so the message is fit to print.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("the file name \"{shown}\"{} {fault}; rename it on the sending side", in_path(.within))]
pub struct BadName {
    fault: NameFault,
    shown: String,
    /// The path that the name stands in.
    within: Option<String>,
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

    fn too_long_a_path(bytes: &[u8]) -> BadName {
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

fn checked(name: &[u8]) -> Result<&[u8], BadName> {
    match fault(name) {
        None => Ok(name),
        Some(fault) => Err(BadName { fault, shown: shown(name), within: None }),
    }
}

fn fault(name: &[u8]) -> Option<NameFault> {
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
/// FAT ignore case, FAT drops dots and spaces at the end, and HFS+ skips invisible characters when it compares.
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

/// A name or path of which the beginning is enough, escaped: for messages that have more to say than a long name.
pub(crate) fn shown(name: &[u8]) -> String {
    let part = shorten(name, SHOWN_NAME_BYTES_MAX);
    let more = if part.len() < name.len() { "..." } else { "" };
    format!("{}{more}", Escaped(part))
}

/// Foreign bytes, shown so that they can do nothing to a terminal, a log or a page.
///
/// UTF-8 text stays readable. Control characters, line and paragraph separators, characters that are invisible
/// or turn the direction of writing, and bytes that are not UTF-8 are shown by their code: `\n`, `\x1b`,
/// `\u{202e}`, `\xff`. A backslash is doubled, so different bytes never look the same. Quotation marks are
/// left alone: text for JSON still goes through a JSON writer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Escaped<'a>(pub &'a [u8]);

impl<'a> Escaped<'a> {
    /// A path of this machine.
    #[must_use]
    pub fn path(path: &'a Path) -> Self {
        Self::from(path)
    }
}

impl<'a> From<&'a Path> for Escaped<'a> {
    fn from(path: &'a Path) -> Self {
        Self(path.as_os_str().as_bytes())
    }
}

impl<'a> From<&'a OsStr> for Escaped<'a> {
    fn from(text: &'a OsStr) -> Self {
        Self(text.as_bytes())
    }
}

impl<'a> From<&'a str> for Escaped<'a> {
    fn from(text: &'a str) -> Self {
        Self(text.as_bytes())
    }
}

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        show(self.0, "\\\\", f)
    }
}

/// Foreign text that is a sentence, perhaps with escaped names in it: shown like [`Escaped`], but backslashes are left
/// as they are, so that escaping twice changes nothing.
#[derive(Debug, Clone, Copy)]
pub struct Sentence<'a>(pub &'a [u8]);

impl fmt::Display for Sentence<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        show(self.0, "\\", f)
    }
}

/// A sentence for a person that holds nothing a terminal would act on: what a peer wrote is escaped on its
/// way in, so that it is safe wherever it is printed, logged or quoted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text(String);

impl Text {
    /// From bytes that a peer sent.
    pub fn from_foreign(bytes: &[u8]) -> Text {
        Text(Sentence(bytes).to_string())
    }

    /// The longest beginning of it that takes at most `limit` bytes.
    pub fn truncated(&self, limit: usize) -> &str {
        let mut end = self.0.len().min(limit);
        while !self.0.is_char_boundary(end) {
            end -= 1;
        }
        &self.0[..end]
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Text {
        Text::from_foreign(text.as_bytes())
    }
}

impl From<String> for Text {
    fn from(text: String) -> Text {
        Text::from_foreign(text.as_bytes())
    }
}

fn show(bytes: &[u8], backslash: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    use fmt::Write;
    for piece in bytes.utf8_chunks() {
        for c in piece.valid().chars() {
            match c {
                '\\' => f.write_str(backslash)?,
                '\n' => f.write_str("\\n")?,
                '\r' => f.write_str("\\r")?,
                '\t' => f.write_str("\\t")?,
                c if c.is_ascii_control() => write!(f, "\\x{:02x}", u32::from(c))?,
                c if is_unsafe_to_show(c) => write!(f, "\\u{{{:x}}}", u32::from(c))?,
                c => f.write_char(c)?,
            }
        }
        for byte in piece.invalid() {
            write!(f, "\\x{byte:02x}")?;
        }
    }
    Ok(())
}

/// Foreign text or bytes as a string that is fit to be shown; see [`Escaped`].
#[must_use]
pub fn escape(text: impl AsRef<[u8]>) -> String {
    Escaped(text.as_ref()).to_string()
}

/// Control characters (C0, DEL, C1) and the characters that change or hide what stands around them: those with
/// `Bidi_Control` or `Default_Ignorable_Code_Point` in the Unicode Character Database, the separators U+2028 and
/// U+2029, and the interlinear marks. Variation selectors are left, as emoji need them.
pub(crate) fn is_unsafe_to_show(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}' | '\u{180e}'
            | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}'
            | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e00ff}')
}

#[cfg(test)]
mod tests;

#[cfg(test)]
mod text_tests {
    use super::*;

    #[test]
    fn a_terminal_finds_nothing_to_act_on() {
        let text = Text::from_foreign(b"red \x1b[31m\r\n\x07 \xe2\x80\xae \xff C:\\x");
        assert_eq!(text.to_string(), "red \\x1b[31m\\r\\n\\x07 \\u{202e} \\xff C:\\x");
    }

    #[test]
    fn is_cut_between_characters() {
        assert_eq!(Text::from("aé").truncated(2), "a");
        assert_eq!(Text::from("aé").truncated(3), "aé");
    }
}
