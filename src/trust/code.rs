//! Pairing codes: what a receiver shows and a sender types.
//!
//! A *generated* code is nine symbols of Crockford's base32, shown as `K7Q-M2X-HD4`: 45 random bits that can
//! be read over a telephone. A *fixed* code is any text of at least eight characters that a user chose.
//!
//! The sender cannot know which of the two the receiver uses, and both must feed the same bytes to SPAKE2. So
//! one rule holds for every code on both sides and looks at nothing but its text: leave out spaces and
//! dashes, turn to capitals, read O as 0 and I and L as 1 (as Crockford does); if exactly nine symbols of the
//! alphabet remain, they are the password, otherwise the text as it is without surrounding whitespace. The
//! two kinds get different tags. A fixed code that happens to look like a generated one loses its case and
//! dashes on both sides alike; that is the only price.
//!
//! Text is compared as bytes. Two ways to write the same accented letter (Unicode NFC and NFD) are two codes.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::dir;
use super::dir::{FileError, Guard};
use crate::limits;

/// Crockford's base32 symbols: without I, L, O and U (crockford.com/base32.html).
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

const GENERATED_TAG: &[u8] = b"lanx code: ";
const FIXED_TAG: &[u8] = b"lanx text: ";

/// A pairing code. `Debug` hides it, and its memory is cleared when it is dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Code(Zeroizing<String>);

/// Why a text is no code.
#[derive(Debug, thiserror::Error)]
pub enum CodeError {
    /// Too few characters.
    #[error(
        "expected a code of at least {min} characters, got {0}; the receiving machine shows its code when `lanx recv` starts",
        min = limits::CODE_TEXT_MIN_CHARS
    )]
    TooShort(usize),
    /// Too many bytes.
    #[error(
        "expected a code of at most {max} bytes, got {0}; choose a shorter one",
        max = limits::CODE_TEXT_MAX_BYTES
    )]
    TooLong(usize),
    /// Something that no keyboard types.
    #[error("expected a code of visible characters, got one with a control character in it; type it again")]
    ControlCharacter,
    /// No such file.
    #[error("there is no file {} to read a code from; make one that is yours alone (mode 600), or give another", .0.display())]
    Missing(PathBuf),
    /// A folder cannot be read, whatever its mode is.
    #[error("{} is a folder and not a regular file; give a file with the code in its first line", .0.display())]
    Folder(PathBuf),
    /// The file does not hold text.
    #[error("the first line of {} is not valid UTF-8; write the code into it as text", .0.display())]
    NotText(PathBuf),
    /// The file can be read only once.
    #[error("{} is not a regular file, so the code in it cannot be read again; put it into one, or restart to change it", .0.display())]
    NotAFile(PathBuf),
    /// The file holds text that is no code.
    #[error("the first line of {} is no code: {why}", path.display())]
    InFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: Box<CodeError>,
    },
    /// The file cannot be read, or others can.
    #[error(transparent)]
    File(#[from] FileError),
    /// The system gave no random numbers.
    #[error("cannot draw a code: the system gave no random numbers")]
    NoRandomness,
}

fn not_opened(path: &Path) -> impl FnOnce(io::Error) -> CodeError {
    |error| match error.kind() {
        io::ErrorKind::NotFound => CodeError::Missing(path.to_owned()),
        _ => FileError::io("open", path)(error).into(),
    }
}

impl Code {
    /// A new code of [`limits::CODE_CHARS`] symbols from the system's random numbers.
    ///
    /// # Errors
    /// The system gives none.
    pub fn generate() -> Result<Self, CodeError> {
        let mut random = Zeroizing::new([0; limits::CODE_CHARS]);
        aws_lc_rs::rand::fill(random.as_mut_slice()).map_err(|_| CodeError::NoRandomness)?;
        let mut text = Zeroizing::new(String::with_capacity(2 * limits::CODE_CHARS));
        for (index, byte) in random.iter().enumerate() {
            if index > 0 && index % limits::CODE_GROUP_CHARS == 0 {
                text.push('-');
            }
            // 256 is a multiple of 32, so every symbol is as likely as any other.
            text.push(char::from(ALPHABET[usize::from(byte % 32)]));
        }
        Ok(Self(text))
    }

    /// A code that a person chose or typed. Surrounding whitespace does not count.
    ///
    /// # Errors
    /// It is shorter than [`limits::CODE_TEXT_MIN_CHARS`], longer than [`limits::CODE_TEXT_MAX_BYTES`], or has
    /// a control character inside.
    pub fn from_text(text: &str) -> Result<Self, CodeError> {
        let text = text.trim();
        let chars = text.chars().count();
        if chars < limits::CODE_TEXT_MIN_CHARS {
            return Err(CodeError::TooShort(chars));
        }
        if text.len() > limits::CODE_TEXT_MAX_BYTES {
            return Err(CodeError::TooLong(text.len()));
        }
        if text.chars().any(char::is_control) {
            return Err(CodeError::ControlCharacter);
        }
        Ok(Self(Zeroizing::new(text.to_owned())))
    }

    /// The code in the first line of a file or pipe.
    ///
    /// Links are followed and pipes read, since secret stores hand out both; but like a key of ssh, the file
    /// must belong to this user or root, and nobody else may read or change it.
    ///
    /// # Errors
    /// The file cannot be read, others can read it, it is longer than [`limits::CODE_FILE_MAX_BYTES`], or its
    /// first line is no code.
    pub fn from_file(path: &Path) -> Result<Self, CodeError> {
        Self::read(File::open(path).map_err(not_opened(path))?, path)
    }

    /// The same of a file that can be read again and again. A pipe is given only once what was written to it,
    /// and to open one may take for ever.
    ///
    /// # Errors
    /// Those of [`Code::from_file`], and [`CodeError::NotAFile`].
    pub fn from_regular_file(path: &Path) -> Result<Self, CodeError> {
        let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
        let file = File::options().read(true).custom_flags(flags).open(path).map_err(not_opened(path))?;
        if !file.metadata().map_err(FileError::io("look at", path))?.is_file() {
            return Err(CodeError::NotAFile(path.to_owned()));
        }
        Self::read(file, path)
    }

    fn read(file: File, path: &Path) -> Result<Self, CodeError> {
        let metadata = file.metadata().map_err(FileError::io("look at", path))?;
        // Before its mode: whoever makes a folder private cannot enter it any more.
        if metadata.is_dir() {
            return Err(CodeError::Folder(path.to_owned()));
        }
        let (owner, me) = (metadata.uid(), rustix::process::geteuid().as_raw());
        if owner != me && owner != 0 {
            return Err(FileError::ForeignOwner { path: path.to_owned(), owner, me }.into());
        }
        dir::judge_mode(path, Guard::Secret, &metadata)?;
        let bytes = dir::read_bounded(file, path, limits::CODE_FILE_MAX_BYTES)?;
        let text = std::str::from_utf8(&bytes).map_err(|_| CodeError::NotText(path.to_owned()))?;
        Self::from_text(text.lines().next().unwrap_or_default())
            .map_err(|why| CodeError::InFile { path: path.to_owned(), why: Box::new(why) })
    }

    /// The code itself, for the screen of the machine that chose it.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// What SPAKE2 takes as the password: the same bytes on both sides, by the rule in the module's
    /// description.
    pub(crate) fn password(&self) -> Zeroizing<Vec<u8>> {
        let mut password = Zeroizing::new(Vec::with_capacity(FIXED_TAG.len() + limits::CODE_TEXT_MAX_BYTES));
        match canonical(&self.0) {
            Some(symbols) => {
                password.extend_from_slice(GENERATED_TAG);
                password.extend_from_slice(symbols.as_slice());
            }
            None => {
                password.extend_from_slice(FIXED_TAG);
                password.extend_from_slice(self.0.as_bytes());
            }
        }
        password
    }
}

/// The symbols of a code that looks generated.
fn canonical(text: &str) -> Option<Zeroizing<[u8; limits::CODE_CHARS]>> {
    let mut symbols = Zeroizing::new([0; limits::CODE_CHARS]);
    let mut count = 0;
    for character in text.chars().filter(|&character| !is_separator(character)) {
        let symbol = match character.to_ascii_uppercase() {
            'O' => b'0',
            'I' | 'L' => b'1',
            other => u8::try_from(other).ok().filter(|byte| ALPHABET.contains(byte))?,
        };
        *symbols.get_mut(count)? = symbol;
        count += 1;
    }
    (count == limits::CODE_CHARS).then_some(symbols)
}

/// Spaces, and dashes of every width: telephones turn a hyphen into a longer one.
fn is_separator(character: char) -> bool {
    character.is_whitespace() || matches!(character, '-' | '\u{2010}'..='\u{2015}' | '\u{2212}')
}

impl fmt::Debug for Code {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Code(hidden)")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use proptest::prelude::*;

    use super::*;

    fn password(text: &str) -> Vec<u8> {
        Code::from_text(text).unwrap().password().to_vec()
    }

    #[test]
    fn generated_codes_differ_use_every_symbol_and_are_grouped() {
        let codes: HashSet<String> =
            (0..500).map(|_| Code::generate().unwrap().reveal().to_owned()).collect();
        assert_eq!(codes.len(), 500);
        let symbols: HashSet<char> = codes.iter().flat_map(|code| code.chars()).collect();
        assert_eq!(symbols.len(), ALPHABET.len() + 1);
        for code in &codes {
            let groups: Vec<usize> = code.split('-').map(str::len).collect();
            assert_eq!(groups, [3, 3, 3], "{code}");
            assert!(password(code).starts_with(GENERATED_TAG));
        }
    }

    #[test]
    fn a_generated_code_may_be_typed_in_any_case_with_any_separators_and_lookalikes() {
        let shown = password("K7Q-01X-HD4");
        assert_eq!(shown, b"lanx code: K7Q01XHD4");
        for typed in [
            "k7q-01x-hd4",
            "K7Q01XHD4",
            " k7q 01x hd4\n",
            "K7Q-OIX-HD4",
            "k7qolxhd4",
            "K7Q\u{2013}01X\u{2013}HD4",
            "K-7-Q-0-1-X-H-D-4",
        ] {
            assert_eq!(password(typed), shown, "{typed:?}");
        }
    }

    #[test]
    fn a_fixed_code_is_taken_byte_for_byte_without_surrounding_whitespace() {
        assert_eq!(password(" correct horse\r\n"), b"lanx text: correct horse");
        for other in ["Correct horse", "correcthorse", "correct  horse", "correct-horse"] {
            assert_ne!(password(other), password("correct horse"), "{other:?}");
        }
        // Nine symbols with a U, eight and ten symbols: not the shape of a generated code.
        for text in ["K7Q-M2X-HDU", "K7QM2XHD", "K7QM2XHD45"] {
            assert!(password(text).starts_with(FIXED_TAG), "{text}");
        }
    }

    #[test]
    fn a_fixed_code_that_looks_generated_is_read_the_same_way_on_both_sides() {
        assert_eq!(password("password1"), password("PASS-WORD-1"));
        assert_eq!(password("password1"), b"lanx code: PASSW0RD1");
    }

    proptest! {
        #[test]
        fn typing_what_was_shown_always_gives_the_same_password(text in "\\PC{8,40}") {
            if let Ok(code) = Code::from_text(&text) {
                prop_assert_eq!(password(code.reveal()), code.password().to_vec());
                prop_assert_eq!(password(&format!("  {text}\n")), code.password().to_vec());
            }
        }
    }

    #[test]
    fn codes_that_are_too_short_too_long_or_unprintable_are_refused() {
        assert!(matches!(Code::from_text("  1234567  "), Err(CodeError::TooShort(7))));
        assert!(matches!(Code::from_text(""), Err(CodeError::TooShort(0))));
        assert!(Code::from_text("éééééééé").is_ok());
        assert!(Code::from_text(&"x".repeat(limits::CODE_TEXT_MAX_BYTES)).is_ok());
        let long = "x".repeat(limits::CODE_TEXT_MAX_BYTES + 1);
        assert!(matches!(Code::from_text(&long), Err(CodeError::TooLong(_))));
        assert!(matches!(Code::from_text("abcd\u{1b}efghi"), Err(CodeError::ControlCharacter)));
    }

    #[test]
    fn debug_hides_the_code() {
        let code = Code::from_text("open sesame").unwrap();
        assert_eq!(format!("{code:?}"), "Code(hidden)");
    }

    #[test]
    fn a_code_file_gives_its_first_line_and_only_if_it_is_private() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("code");
        fs::write(&path, "open sesame\r\nand a note\n").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(Code::from_file(&path).unwrap().reveal(), "open sesame");

        for mode in [0o644, 0o604, 0o660] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let error = Code::from_file(&path).unwrap_err().to_string();
            assert!(error.contains("chmod 600"), "{error}");
        }
    }

    #[test]
    fn errors_of_a_code_file_name_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("code");
        let check = || {
            let error = Code::from_file(&path).unwrap_err().to_string();
            assert!(error.contains(&path.display().to_string()), "{error}");
        };
        check();
        let long = vec![b'x'; limits::CODE_FILE_MAX_BYTES + 1];
        for content in [&b""[..], b"short", b"\xff\xfe\xff\xfe\xff\xfe\xff\xfe\xff", &long] {
            fs::write(&path, content).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
            check();
        }
    }
}
