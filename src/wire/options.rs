//! The end of *hello* and *welcome*: what one side can do besides, and the other may ignore.
//!
//! ```text
//! bytes  field
//! 1      number of options; each of them:
//! 1      tag: each one larger than the one before, so that none comes twice
//! 2      length of the value, u16
//! n      value
//! ```
//! Whoever does not know a tag skips it, so what comes later needs no new version of
//! the protocol. A known tag with a value of the wrong form ends the connection.

use super::VERSION;
use super::codec::{DecodeError, Reader, Writer};

/// The highest version that this side speaks, u16. Without it there is no hello and no welcome.
const HIGHEST_VERSION: u8 = 1;

/// In a welcome: the receiver takes only the changed parts of changed files, as the sender has asked. Empty.
const GRANTS_DELTA: u8 = 2;

/// What one side says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The highest version that it speaks. The preface names one in the clear, where anybody on the way can change it; this
    /// is said inside TLS.
    pub highest_version: u16,
    /// In a welcome: whether only the changed parts of changed files are sent, as the sender has asked.
    pub grants_delta: bool,
}

impl Default for Options {
    fn default() -> Options {
        Options { highest_version: VERSION, grants_delta: false }
    }
}

impl Options {
    pub(super) fn put(&self, w: &mut Writer) {
        w.u8(1 + u8::from(self.grants_delta));
        put(w, HIGHEST_VERSION, &self.highest_version.to_le_bytes());
        if self.grants_delta {
            put(w, GRANTS_DELTA, &[]);
        }
    }

    /// # Errors
    /// [`DecodeError`], also where both sides speak a higher version than the one that this is said in: then somebody on
    /// the way has changed a preface.
    pub(super) fn take(r: &mut Reader) -> Result<Options, DecodeError> {
        let (mut highest_version, mut grants_delta, mut last) = (None, false, 0);
        for _ in 0..r.u8("a number of options")? {
            let tag = r.u8("an option")?;
            if tag <= last {
                let why = format!("{tag} follows {last}");
                return Err(DecodeError::BadValue { what: "an option", why });
            }
            last = tag;
            let value = r.string(u16::MAX.into(), "an option")?;
            match tag {
                HIGHEST_VERSION => highest_version = Some(number(value)?),
                GRANTS_DELTA => {
                    Reader::new(value).end()?;
                    grants_delta = true;
                }
                _ => {}
            }
        }
        let highest_version =
            highest_version.ok_or(DecodeError::Truncated { what: "its highest version" })?;
        check_version(VERSION, VERSION, highest_version)?;
        Ok(Options { highest_version, grants_delta })
    }
}

fn put(w: &mut Writer, tag: u8, value: &[u8]) {
    w.u8(tag).string(value, u16::MAX.into());
}

fn number(value: &[u8]) -> Result<u16, DecodeError> {
    let mut r = Reader::new(value);
    let number = r.u16("a version")?;
    r.end().map(|()| number)
}

/// The version that was agreed on has to be the highest that both sides speak.
fn check_version(agreed: u16, ours: u16, theirs: u16) -> Result<(), DecodeError> {
    let highest = ours.min(theirs);
    if highest == agreed {
        return Ok(());
    }
    let why = format!(
        "the sides speak versions up to {ours} and {theirs} and were made to agree on {agreed}; somebody on the way changes what is sent"
    );
    Err(DecodeError::BadValue { what: "a version", why })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(bytes: &[u8]) -> Result<Options, DecodeError> {
        Options::take(&mut Reader::new(bytes))
    }

    #[test]
    fn unknown_options_are_skipped() {
        assert_eq!(take(b"\x01\x01\x02\0\x02\0"), Ok(Options::default()));
        assert_eq!(take(b"\x03\x01\x02\0\x02\0\x07\0\0\xff\x03\0abc"), Ok(Options::default()));
    }

    #[test]
    fn a_delta_is_granted_by_an_option_without_a_value() {
        let granted = Options { grants_delta: true, ..Options::default() };
        assert_eq!(take(b"\x02\x01\x02\0\x02\0\x02\0\0"), Ok(granted));
        assert!(take(b"\x02\x01\x02\0\x02\0\x02\x01\0\x01").is_err());
    }

    #[test]
    fn options_that_cannot_be_are_refused() {
        let bad: [&[u8]; 9] = [
            b"\0",
            b"\x01\x02\x01\0x",
            b"\x02\x01\x02\0\x02\0\x01\x02\0\x02\0",
            b"\x03\x01\x02\0\x02\0\x09\0\0\x09\0\0",
            b"\x02\x01\x02\0\x02\0\x00\0\0",
            b"\x01\x01\x01\0\x02",
            b"\x01\x01\x03\0\x02\0\0",
            b"\x02\x01\x02\0\x02\0\x02\x05\0abc",
            b"\x02\x01\x02\0\x02\0\x02",
        ];
        for bytes in bad {
            assert!(take(bytes).is_err(), "{bytes:?}");
        }
    }

    #[test]
    fn a_version_below_the_highest_of_both_is_a_forgery() {
        assert!(
            check_version(2, 2, 2).is_ok()
                && check_version(2, 2, 3).is_ok()
                && check_version(2, 3, 2).is_ok()
        );
        for (agreed, ours, theirs) in [(2, 3, 3), (2, 3, 4), (2, 2, 1), (2, 4, 3)] {
            let error = check_version(agreed, ours, theirs).unwrap_err().to_string();
            assert!(error.contains("somebody on the way"), "{error}");
        }
        assert!(take(b"\x01\x01\x02\0\x01\0").is_err());
        assert!(take(b"\x01\x01\x02\0\x03\0").is_ok());
    }
}
