//! Foreign text, made fit to be shown.

use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Foreign bytes, shown so that they can do nothing to a terminal, a log or a page.
///
/// UTF-8 text stays readable. Control characters, line and paragraph separators, characters that are
/// invisible or turn the direction of writing, and bytes that are not UTF-8 are shown by their code: `\n`,
/// `\x1b`, `\u{202e}`, `\xff`. A backslash is doubled, so different bytes never look the same. Quotation
/// marks are left alone: text for JSON still goes through a JSON writer.
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

/// Foreign text that is a sentence, perhaps with escaped names in it: shown like [`Escaped`], but backslashes
/// are left as they are, so that escaping twice changes nothing.
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

/// Control characters (C0, DEL, C1) and the characters that change or hide what stands around them: those
/// with `Bidi_Control` or `Default_Ignorable_Code_Point` in the Unicode Character Database, the separators
/// U+2028 and U+2029, and the interlinear marks. Variation selectors are left, as emoji need them.
pub(crate) fn is_unsafe_to_show(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}' | '\u{180e}'
            | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}'
            | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e00ff}')
}

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
