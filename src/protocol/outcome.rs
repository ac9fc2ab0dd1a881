//! What became of a file.

use super::codec::{DecodeError, Reader, Writer};
use super::text::Text;
use crate::limits::{TEXT_BYTES_MAX, WIRE_NAME_BYTES_MAX};

/// Whose doing it is that a file did not arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cause {
    /// The receiver would have to overwrite something, or may not use that name.
    Refused,
    /// The receiver could not store it.
    Storage,
    /// The sender could not read it, or it changed meanwhile.
    Source,
    /// What arrived is not what was sent.
    Verification,
}

/// Why a file did not arrive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub cause: Cause,
    pub text: Text,
}

/// What became of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Verified, and there under its name.
    Stored,
    /// Verified, and there under this other name.
    Renamed(Vec<u8>),
    /// The receiver had it already.
    Identical,
    /// The receiver would take it, had this not been a dry run.
    Wanted,
    Failed(Failure),
}

pub(super) fn text(r: &mut Reader) -> Result<Text, DecodeError> {
    let bytes = r.string(TEXT_BYTES_MAX, "a text")?;
    Ok(Text::from_foreign(bytes))
}

pub(super) fn put_text(w: &mut Writer, text: &Text) {
    w.string(text.truncated(TEXT_BYTES_MAX).as_bytes(), TEXT_BYTES_MAX);
}

impl Failure {
    pub fn new(cause: Cause, text: impl Into<Text>) -> Failure {
        Failure { cause, text: text.into() }
    }

    pub(super) fn put(&self, w: &mut Writer) {
        w.u8(match self.cause {
            Cause::Refused => 1,
            Cause::Storage => 2,
            Cause::Source => 3,
            Cause::Verification => 4,
        });
        put_text(w, &self.text);
    }

    pub(super) fn take(r: &mut Reader) -> Result<Failure, DecodeError> {
        let cause = match r.u8("a cause")? {
            1 => Cause::Refused,
            2 => Cause::Storage,
            3 => Cause::Source,
            4 => Cause::Verification,
            tag => return Err(DecodeError::UnknownTag { what: "a cause", tag }),
        };
        Ok(Failure { cause, text: text(r)? })
    }
}

impl Outcome {
    pub(super) fn put(&self, w: &mut Writer) {
        match self {
            Outcome::Stored => drop(w.u8(1)),
            Outcome::Renamed(name) => drop(w.u8(2).string(name, WIRE_NAME_BYTES_MAX)),
            Outcome::Identical => drop(w.u8(3)),
            Outcome::Failed(failure) => failure.put(w.u8(4)),
            Outcome::Wanted => drop(w.u8(5)),
        }
    }

    pub(super) fn take(r: &mut Reader) -> Result<Outcome, DecodeError> {
        Ok(match r.u8("an outcome")? {
            1 => Outcome::Stored,
            2 => Outcome::Renamed(r.string(WIRE_NAME_BYTES_MAX, "a name")?.to_vec()),
            3 => Outcome::Identical,
            4 => Outcome::Failed(Failure::take(r)?),
            5 => Outcome::Wanted,
            tag => return Err(DecodeError::UnknownTag { what: "an outcome", tag }),
        })
    }
}
