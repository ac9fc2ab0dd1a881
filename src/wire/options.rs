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

use std::time::Duration;

use super::VERSION;
use super::fields::{DecodeError, Reader, Writer};
use crate::content::compress::Codecs;
use crate::limits::{INTO_BYTES_MAX, OFFERS_BYTES_MIN};

/// The highest version that this side speaks, u16. Without it there is no hello and no welcome.
const HIGHEST_VERSION: u8 = 1;

/// The mark of the folder that the receiver puts files into, 16 bytes; see `session/destination.rs`.
const DESTINATION: u8 = 2;

/// In a welcome: the receiver takes only the changed parts of changed files, as the sender has asked. Empty.
const GRANTS_DELTA: u8 = 3;

/// In a welcome: what the open offers of the session may weigh, u32.
const OFFERS_BYTES: u8 = 4;

/// In a hello: codecs that the sender may compress chunks with. In a welcome: which of these the receiver
/// takes. A bit for each, u8.
const CODECS: u8 = 5;

/// In a hello: the folder beneath the receiver's own that the sender wants its files in. In a welcome: the
/// same, where they go there. A path as in an offer, of at most [`INTO_BYTES_MAX`] bytes.
const INTO: u8 = 6;

/// In a welcome: the receiver takes one file and writes it to its standard output, so the file needs no name.
/// Empty.
const TO_OUTPUT: u8 = 7;

/// In a welcome: the receiver remembers hashes of files, so that an offer may come with one. Empty.
const REMEMBERS: u8 = 8;
/// In a welcome: the receiver does not remember whoever proves its code, and wants it each time. Empty.
const FORGETS: u8 = 9;

/// In a hello: how long ago the sender began to read what it sends, in milliseconds, u64 of at most
/// [`AGE_MAX`].
const AGE: u8 = 10;

/// In a welcome: the receiver takes a hole in one frame, however many chunks it has. Empty.
const TAKES_HOLES: u8 = 11;

/// Ten years: no run is older.
const AGE_MAX: Duration = Duration::from_secs(10 * 365 * 86_400);

/// What one side says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The highest version that it speaks. The preface names one in the clear, where anybody on the way can
    /// change it; this is said inside TLS.
    pub highest_version: u16,
    /// In a welcome: by which a sender on the same machine recognises the receiver's folder.
    pub destination: Option<[u8; 16]>,
    /// In a welcome: whether only the changed parts of changed files are sent, as the sender has asked.
    pub grants_delta: bool,
    /// In a welcome: what the open offers of the session may weigh. Where it is not said,
    /// [`OFFERS_BYTES_MIN`].
    pub offers_bytes: Option<u32>,
    /// Codecs that the sender may use, and in a welcome those of them that the receiver takes.
    pub codecs: Codecs,
    /// The folder beneath the receiver's own that files go to, as the sender wishes or the receiver grants.
    pub into: Option<Vec<u8>>,
    /// In a welcome: whether the file goes to the receiver's standard output.
    pub to_output: bool,
    /// In a welcome: whether the receiver remembers hashes of files.
    pub remembers: bool,
    /// In a welcome: whether the receiver wants its code each time.
    pub forgets: bool,
    /// In a hello: how long ago the sender began to read what it sends. What the receiver has that is younger
    /// is not replaced.
    pub age: Option<Duration>,
    /// In a welcome: whether a hole of many chunks may come in one frame.
    pub takes_holes: bool,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            highest_version: VERSION,
            destination: None,
            grants_delta: false,
            offers_bytes: None,
            codecs: Codecs::NONE,
            into: None,
            to_output: false,
            remembers: false,
            forgets: false,
            age: None,
            takes_holes: false,
        }
    }
}

impl Options {
    pub(super) fn put(&self, w: &mut Writer) {
        let mut options = vec![(HIGHEST_VERSION, self.highest_version.to_le_bytes().to_vec())];
        options.extend(self.destination.map(|mark| (DESTINATION, mark.to_vec())));
        options.extend(self.grants_delta.then(|| (GRANTS_DELTA, Vec::new())));
        options.extend(self.offers_bytes.map(|bytes| (OFFERS_BYTES, bytes.to_le_bytes().to_vec())));
        options.extend((!self.codecs.is_empty()).then(|| (CODECS, vec![self.codecs.bits()])));
        options.extend(self.into.clone().map(|folder| (INTO, folder)));
        options.extend(self.to_output.then(|| (TO_OUTPUT, Vec::new())));
        options.extend(self.remembers.then(|| (REMEMBERS, Vec::new())));
        options.extend(self.forgets.then(|| (FORGETS, Vec::new())));
        options.extend(self.age.map(|age| {
            let millis = age.min(AGE_MAX).as_millis();
            (AGE, u64::try_from(millis).unwrap_or(u64::MAX).to_le_bytes().to_vec())
        }));
        options.extend(self.takes_holes.then(|| (TAKES_HOLES, Vec::new())));
        w.u8(options.len() as u8);
        for (tag, value) in options {
            w.u8(tag).string(&value, u16::MAX.into());
        }
    }

    /// # Errors
    /// [`DecodeError`], also where both sides speak a higher version than the one that this is said in: then somebody on
    /// the way has changed a preface.
    pub(super) fn take(r: &mut Reader) -> Result<Options, DecodeError> {
        let (mut highest_version, mut destination, mut grants_delta) = (None, None, false);
        let (mut offers_bytes, mut codecs, mut last) = (None, Codecs::NONE, 0);
        let (mut into, mut to_output, mut remembers, mut forgets) = (None, false, false, false);
        let (mut age, mut takes_holes) = (None, false);
        for _ in 0..r.u8("a number of options")? {
            let tag = r.u8("an option")?;
            if tag <= last {
                let why = format!("{tag} follows {last}");
                return Err(DecodeError::BadValue { what: "an option", why });
            }
            last = tag;
            let value = r.string(u16::MAX.into(), "an option")?;
            let mut r = Reader::new(value);
            match tag {
                HIGHEST_VERSION => highest_version = Some(r.u16("a version")?),
                DESTINATION => destination = Some(r.array("a mark")?),
                GRANTS_DELTA => grants_delta = true,
                OFFERS_BYTES => offers_bytes = Some(offers(&mut r)?),
                CODECS => codecs = Codecs::from_bits(r.u8("a set of codecs")?),
                INTO => into = Some(folder(&mut r)?),
                TO_OUTPUT => to_output = true,
                REMEMBERS => remembers = true,
                FORGETS => forgets = true,
                AGE => age = Some(how_long(&mut r)?),
                TAKES_HOLES => takes_holes = true,
                _ => continue,
            }
            r.end()?;
        }
        let highest_version =
            highest_version.ok_or(DecodeError::Truncated { what: "its highest version" })?;
        check_version(VERSION, VERSION, highest_version)?;
        Ok(Options {
            highest_version,
            destination,
            grants_delta,
            offers_bytes,
            codecs,
            into,
            to_output,
            remembers,
            forgets,
            age,
            takes_holes,
        })
    }
}

fn offers(value: &mut Reader) -> Result<u32, DecodeError> {
    match value.u32("a number of bytes")? {
        bytes if bytes as usize >= OFFERS_BYTES_MIN => Ok(bytes),
        bytes => {
            let why = format!("{bytes} are fewer than {OFFERS_BYTES_MIN}, which there are in any case");
            Err(DecodeError::BadValue { what: "what offers may weigh", why })
        }
    }
}

fn how_long(value: &mut Reader) -> Result<Duration, DecodeError> {
    match Duration::from_millis(value.u64("an age")?) {
        age if age <= AGE_MAX => Ok(age),
        age => {
            let why = format!("{} s are more than ten years", age.as_secs());
            Err(DecodeError::BadValue { what: "the age of a transfer", why })
        }
    }
}

fn folder(value: &mut Reader) -> Result<Vec<u8>, DecodeError> {
    let what = "a folder to send into";
    let len = value.rest().len();
    if len > INTO_BYTES_MAX {
        return Err(DecodeError::TooLong { what, got: len as u64, limit: INTO_BYTES_MAX as u64 });
    }
    value.bytes(len, what).map(<[u8]>::to_vec)
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
        assert_eq!(take(b"\x03\x01\x02\0\x02\0\xf0\0\0\xff\x03\0abc"), Ok(Options::default()));
        let marked = Options { destination: Some(*b"0123456789abcdef"), ..Options::default() };
        let mut bytes = Vec::new();
        marked.put(&mut Writer(&mut bytes));
        assert_eq!(bytes, b"\x02\x01\x02\0\x02\0\x02\x10\x000123456789abcdef");
        assert_eq!(take(&bytes), Ok(marked));
    }

    #[test]
    fn what_offers_may_weigh_is_these_bytes() {
        let options = Options { offers_bytes: Some(0x0102_0304), ..Options::default() };
        let bytes = b"\x02\x01\x02\0\x02\0\x04\x04\0\x04\x03\x02\x01";
        let mut written = Vec::new();
        options.put(&mut Writer(&mut written));
        assert_eq!(written, bytes);
        assert_eq!(take(bytes), Ok(options));
        assert!(take(b"\x02\x01\x02\0\x02\0\x04\x04\0\0\0\x02\0").is_ok(), "the least there is");
        assert!(take(b"\x02\x01\x02\0\x02\0\x04\x04\0\xff\xff\x01\0").is_err(), "one less");
        assert!(take(b"\x02\x01\x02\0\x02\0\x04\x03\0\0\0\x02").is_err());
    }

    #[test]
    fn a_delta_is_granted_by_an_option_without_a_value() {
        let granted = Options { grants_delta: true, ..Options::default() };
        assert_eq!(take(b"\x02\x01\x02\0\x02\0\x03\0\0"), Ok(granted));
        assert!(take(b"\x02\x01\x02\0\x02\0\x03\x01\0\x01").is_err());
    }

    #[test]
    fn holes_are_taken_by_an_option_without_a_value() {
        let takes = Options { takes_holes: true, ..Options::default() };
        let bytes = b"\x02\x01\x02\0\x02\0\x0b\0\0";
        let mut written = Vec::new();
        takes.put(&mut Writer(&mut written));
        assert_eq!((&written[..], take(bytes)), (&bytes[..], Ok(takes)));
        assert!(take(b"\x02\x01\x02\0\x02\0\x0b\x01\0\x01").is_err());
    }

    #[test]
    fn a_folder_to_send_into_is_its_path_and_no_longer_than_it_may_be() {
        let options =
            Options { into: Some(b"a/b".to_vec()), to_output: true, forgets: true, ..Options::default() };
        let bytes = b"\x04\x01\x02\0\x02\0\x06\x03\0a/b\x07\0\0\x09\0\0";
        let mut written = Vec::new();
        options.put(&mut Writer(&mut written));
        assert_eq!((&written[..], take(bytes)), (&bytes[..], Ok(options)));
        assert!(take(b"\x02\x01\x02\0\x02\0\x07\x01\0\x01").is_err());
        let of = |len: usize| {
            let mut bytes = b"\x02\x01\x02\0\x02\0\x06".to_vec();
            bytes.extend((len as u16).to_le_bytes());
            bytes.resize(bytes.len() + len, b'a');
            take(&bytes)
        };
        assert!(of(INTO_BYTES_MAX).is_ok() && of(INTO_BYTES_MAX + 1).is_err());
    }

    #[test]
    fn an_age_is_milliseconds_and_no_more_than_ten_years() {
        let options = Options { age: Some(Duration::from_millis(0x0102)), ..Options::default() };
        let bytes = b"\x02\x01\x02\0\x02\0\x0a\x08\0\x02\x01\0\0\0\0\0\0";
        let mut written = Vec::new();
        options.put(&mut Writer(&mut written));
        assert_eq!((&written[..], take(bytes)), (&bytes[..], Ok(options)));
        let of = |millis: u64| {
            let mut bytes = b"\x02\x01\x02\0\x02\0\x0a\x08\0".to_vec();
            bytes.extend(millis.to_le_bytes());
            take(&bytes)
        };
        assert!(of(315_360_000_000).is_ok() && of(315_360_000_001).is_err() && of(u64::MAX).is_err());
        assert!(take(b"\x02\x01\x02\0\x02\0\x0a\x04\0\x02\x01\0\0").is_err());
    }

    #[test]
    fn codecs_are_a_byte_of_which_unknown_bits_mean_nothing() {
        let options = Options { codecs: Codecs::ALL, ..Options::default() };
        let bytes = b"\x02\x01\x02\0\x02\0\x05\x01\0\x05";
        let mut written = Vec::new();
        options.put(&mut Writer(&mut written));
        assert_eq!((&written[..], take(bytes)), (&bytes[..], Ok(options.clone())));
        assert_eq!(take(b"\x02\x01\x02\0\x02\0\x05\x01\0\xf7"), Ok(options));
        let lz4 = Options { codecs: Codecs::from_bits(1), ..Options::default() };
        assert_eq!(take(b"\x02\x01\x02\0\x02\0\x05\x01\0\x01"), Ok(lz4));
        assert_eq!(take(b"\x02\x01\x02\0\x02\0\x05\x01\0\xf0"), Ok(Options::default()));
        assert!(take(b"\x02\x01\x02\0\x02\0\x05\0\0").is_err());
        assert!(take(b"\x02\x01\x02\0\x02\0\x05\x02\0\x03\x03").is_err());
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
