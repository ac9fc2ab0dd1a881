//! What sender and receiver say to each other before a session begins; `PROTOCOL.md` tells the whole
//! conversation.

use super::fields::{DecodeError, Reader, Writer};
use super::options::Options;
use super::seal::Cipher;
use crate::limits::{CONNECTIONS_MAX, PEER_NAME_MAX_CHARS};
use crate::name::Text;

/// Names a session: whoever opens a data connection says which one it belongs to.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct SessionId(pub [u8; 16]);

/// A SPAKE2 message; see `trust/pairing.rs`.
pub type PakeMessage = [u8; 33];

/// A proof of the code; see `trust/pairing.rs`.
pub type PakeProof = [u8; 32];

/// How a sender introduces itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// Data connections that are wanted at most.
    pub connections: u8,
    /// The cipher that is fast here.
    pub cipher: Cipher,
    /// Whether the receiver is to prove the code even if it would let the sender in without: the sender has
    /// one, and does not know the receiver.
    pub prove: bool,
    pub wishes: Wishes,
    /// The session that this one goes on with, after its control connection was lost. The receiver ends that
    /// one first, so that its part files are free.
    pub resumes: Option<SessionId>,
    /// What the sender's machine calls itself; for people, and believed by nobody.
    pub name: Text,
    pub options: Options,
}

/// How a sender would like its files to be taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wishes {
    /// Nothing is to be stored: the sender only wants to know what would be.
    pub dry_run: bool,
    /// Of a file that differs from one that the receiver has, only what differs is to be sent.
    pub delta: bool,
    /// There are no files: the sender wants to know how fast the network is, and sends probes.
    pub measure: bool,
}

/// Why a sender may not come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Barred {
    /// The receiver does not know it and offers no code.
    NoCode,
    /// The code is not the receiver's.
    WrongCode,
    /// Too many wrong codes: try again after so many seconds.
    Later { seconds: u32 },
    /// As many are served, and as many wait, as may.
    Busy,
}

/// Why a sender that was let in has to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// Transfers that the receiver serves.
    pub serving: u32,
    /// How many of these are of the same key; where everybody is let in, from the same network.
    pub own: u32,
    /// Senders that will be served before this one if nobody else comes.
    pub before: u32,
}

impl Hello {
    pub(super) fn put(&self, w: &mut Writer) {
        w.u8(self.connections)
            .u8(self.cipher.to_byte())
            .u8(self.prove.into())
            .u8(self.wishes.dry_run.into())
            .u8(self.wishes.delta.into())
            .u8(self.wishes.measure.into());
        match self.resumes {
            None => w.u8(0),
            Some(session) => w.u8(1).bytes(&session.0),
        };
        w.string(self.name.truncated(PEER_NAME_MAX_CHARS).as_bytes(), PEER_NAME_MAX_CHARS);
        self.options.put(w);
    }

    pub(super) fn take(r: &mut Reader) -> Result<Hello, DecodeError> {
        let (connections, cipher) = (connections(r)?, cipher(r)?);
        let prove = r.flag("a wish for proof")?;
        let wishes = Wishes {
            dry_run: r.flag("a wish for a dry run")?,
            delta: r.flag("a wish for what differs")?,
            measure: r.flag("a wish to measure")?,
        };
        let resumes = match r.flag("a session to resume")? {
            false => None,
            true => Some(SessionId(r.array("a session to resume")?)),
        };
        let name = Text::from_foreign(r.string(PEER_NAME_MAX_CHARS, "a machine's name")?);
        let options = Options::take(r)?;
        Ok(Hello { connections, cipher, prove, wishes, resumes, name, options })
    }
}

impl Barred {
    pub(super) fn put(self, w: &mut Writer) {
        match self {
            Barred::NoCode => drop(w.u8(1)),
            Barred::WrongCode => drop(w.u8(2)),
            Barred::Later { seconds } => drop(w.u8(3).u32(seconds)),
            Barred::Busy => drop(w.u8(4)),
        }
    }

    pub(super) fn take(r: &mut Reader) -> Result<Barred, DecodeError> {
        match r.u8("a reason")? {
            1 => Ok(Barred::NoCode),
            2 => Ok(Barred::WrongCode),
            3 => Ok(Barred::Later { seconds: r.u32("a time to wait")? }),
            4 => Ok(Barred::Busy),
            tag => Err(DecodeError::UnknownTag { what: "a reason", tag }),
        }
    }
}

impl Waiting {
    pub(super) fn put(self, w: &mut Writer) {
        w.u32(self.serving).u32(self.own).u32(self.before);
    }

    pub(super) fn take(r: &mut Reader) -> Result<Waiting, DecodeError> {
        Ok(Waiting {
            serving: r.u32("a number of transfers")?,
            own: r.u32("a number of transfers")?,
            before: r.u32("a place in a queue")?,
        })
    }
}

pub(super) fn cipher(r: &mut Reader) -> Result<Cipher, DecodeError> {
    let byte = r.u8("a cipher")?;
    Cipher::try_from(byte).map_err(|_| DecodeError::UnknownTag { what: "a cipher", tag: byte })
}

pub(super) fn connections(r: &mut Reader) -> Result<u8, DecodeError> {
    match r.u8("a number of connections")? {
        n @ 1..=CONNECTIONS_MAX => Ok(n),
        n => Err(DecodeError::BadValue {
            what: "a number of connections",
            why: format!("{n} is not between 1 and {CONNECTIONS_MAX}"),
        }),
    }
}
