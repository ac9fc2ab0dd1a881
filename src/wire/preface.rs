//! The first bytes of every connection, in the clear: who speaks, which version, what for.
//!
//! ```text
//! offset  bytes  field
//! 0       4      "lanx"
//! 4       2      version, u16
//! 6       1      role: 0 control, 1 data       (from a receiver: its status)
//! 7       1      0
//! ```
//! The receiver answers a control connection with the same eight bytes and a status in the place of the role:
//! 0 welcome, 1 another version is spoken here, 2 too busy, 3 about to end. The layout of these eight bytes
//! never changes, so that any two versions can tell each other apart.
//!
//! A data connection goes on with the session it belongs to (16 bytes) and its number there (u32), counted
//! from 0 and below the number of connections that the receiver granted. The tag of a frame without payload
//! that has these 28 bytes as its header follows: it proves that the sender knows the session (see
//! [`crate::wire::seal`]).

use super::VERSION;
use super::fields::DecodeError;
use super::message::SessionId;

/// Bytes in a preface.
pub const PREFACE_BYTES: usize = 8;

const MAGIC: [u8; 4] = *b"lanx";

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Control,
    Data,
}

/// What a data connection says behind its preface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Belonging {
    pub session: SessionId,
    pub connection: u32,
}

/// Bytes in a [`Belonging`].
pub const BELONGING_BYTES: usize = 20;

impl Belonging {
    pub fn encode(self) -> [u8; BELONGING_BYTES] {
        let mut bytes = [0; BELONGING_BYTES];
        bytes[..16].copy_from_slice(&self.session.0);
        bytes[16..].copy_from_slice(&self.connection.to_le_bytes());
        bytes
    }

    /// The preface and this: what the first frame of a data connection has as its header.
    pub fn hello(self) -> [u8; PREFACE_BYTES + BELONGING_BYTES] {
        let mut bytes = [0; PREFACE_BYTES + BELONGING_BYTES];
        bytes[..PREFACE_BYTES].copy_from_slice(&Role::Data.encode());
        bytes[PREFACE_BYTES..].copy_from_slice(&self.encode());
        bytes
    }

    pub fn decode(bytes: [u8; BELONGING_BYTES]) -> Belonging {
        let (session, connection) = bytes.split_at(16);
        Belonging {
            session: SessionId(session.try_into().unwrap_or_default()),
            connection: u32::from_le_bytes(connection.try_into().unwrap_or_default()),
        }
    }
}

/// How a receiver answers a control connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    Welcome,
    OtherVersion,
    Busy,
    /// The receiver is being stopped or restarted.
    Away,
}

/// Why the first bytes are not a preface that can be answered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PrefaceError {
    #[error("it does not speak lanx")]
    NotLanx,
    #[error("it speaks version {theirs} of the protocol and this lanx speaks {VERSION}")]
    Version { theirs: u16 },
    #[error("its first bytes name an unknown purpose: {0}")]
    Malformed(DecodeError),
}

fn encode(version: u16, tag: u8) -> [u8; PREFACE_BYTES] {
    let [a, b, c, d] = MAGIC;
    let [low, high] = version.to_le_bytes();
    [a, b, c, d, low, high, tag, 0]
}

fn decode(bytes: [u8; PREFACE_BYTES]) -> Result<(u16, u8), PrefaceError> {
    let [a, b, c, d, low, high, tag, zero] = bytes;
    if [a, b, c, d] != MAGIC || zero != 0 {
        return Err(PrefaceError::NotLanx);
    }
    Ok((u16::from_le_bytes([low, high]), tag))
}

fn unknown(what: &'static str, tag: u8) -> PrefaceError {
    PrefaceError::Malformed(DecodeError::UnknownTag { what, tag })
}

impl Role {
    pub fn encode(self) -> [u8; PREFACE_BYTES] {
        encode(VERSION, self as u8)
    }

    /// # Errors
    /// [`PrefaceError`] for foreign bytes, another version, or an unknown role.
    pub fn decode(bytes: [u8; PREFACE_BYTES]) -> Result<Role, PrefaceError> {
        match decode(bytes)? {
            (VERSION, 0) => Ok(Role::Control),
            (VERSION, 1) => Ok(Role::Data),
            (VERSION, tag) => Err(unknown("a role", tag)),
            (theirs, _) => Err(PrefaceError::Version { theirs }),
        }
    }
}

impl Status {
    pub fn encode(self) -> [u8; PREFACE_BYTES] {
        encode(VERSION, self as u8)
    }

    /// # Errors
    /// [`PrefaceError`] for foreign bytes, another version, or an unknown status.
    pub fn decode(bytes: [u8; PREFACE_BYTES]) -> Result<Status, PrefaceError> {
        match decode(bytes)? {
            (VERSION, 0) => Ok(Status::Welcome),
            (VERSION, 2) => Ok(Status::Busy),
            (VERSION, 3) => Ok(Status::Away),
            (VERSION, tag) => Err(unknown("a status", tag)),
            (theirs, _) => Err(PrefaceError::Version { theirs }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_these_bytes() {
        assert_eq!(Role::Control.encode(), *b"lanx\x02\x00\x00\x00");
        assert_eq!(Role::Data.encode(), *b"lanx\x02\x00\x01\x00");
        assert_eq!(Status::Welcome.encode(), *b"lanx\x02\x00\x00\x00");
        assert_eq!(Status::OtherVersion.encode(), *b"lanx\x02\x00\x01\x00");
        assert_eq!(Status::Busy.encode(), *b"lanx\x02\x00\x02\x00");
        assert_eq!(Status::Away.encode(), *b"lanx\x02\x00\x03\x00");
    }

    #[test]
    fn a_data_connection_goes_on_with_these_bytes() {
        let belonging = Belonging { session: SessionId(*b"0123456789abcdef"), connection: 0x0102_0304 };
        assert_eq!(belonging.encode(), *b"0123456789abcdef\x04\x03\x02\x01");
        assert_eq!(Belonging::decode(belonging.encode()), belonging);
    }

    #[test]
    fn tells_strangers_from_other_versions() {
        assert_eq!(Role::decode(*b"GET / HT"), Err(PrefaceError::NotLanx));
        assert_eq!(Role::decode(*b"SSH-2.0-"), Err(PrefaceError::NotLanx));
        assert_eq!(Role::decode(*b"lanx\x02\x00\x00\x01"), Err(PrefaceError::NotLanx));
        assert_eq!(Role::decode(*b"lanx\x01\x00\x00\x00"), Err(PrefaceError::Version { theirs: 1 }));
        assert_eq!(Status::decode(*b"lanx\x07\x01\x01\x00"), Err(PrefaceError::Version { theirs: 263 }));
        assert!(matches!(Role::decode(*b"lanx\x02\x00\x02\x00"), Err(PrefaceError::Malformed(_))));
        assert!(matches!(Status::decode(*b"lanx\x02\x00\x04\x00"), Err(PrefaceError::Malformed(_))));
    }
}
