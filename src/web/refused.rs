//! What becomes of a file that a client puts: stored, or refused and why.

use std::io;

use crate::content::tree::Hash;
use crate::name::RelativePath;
use crate::store::{Published, SinkError};

/// A file that is in place.
#[derive(Clone, Debug)]
pub struct Stored {
    pub path: RelativePath,
    pub size: u64,
    pub hash: Hash,
    pub published: Published,
}

/// Why it is not.
#[derive(Debug)]
pub enum Refused {
    /// What was sent cannot be taken so.
    Request(&'static str),
    /// Something is there.
    Taken,
    /// Something is there, and the client wanted nothing to be.
    Unwanted,
    /// It is not what its digest says.
    Digest,
    /// It ended short, or too little came for too long.
    Short,
    /// The time of the link is over.
    Over,
    /// More files or bytes than may be put here.
    Quota,
    /// The disk would have less room than is to stay.
    Full,
    /// It would be hidden here.
    Hidden,
    /// There are too many.
    Busy,
    /// It is not its turn yet.
    Waits(Waits),
    Store(SinkError),
    Thread(io::Error),
    /// There is no such upload, or no longer.
    Unknown,
    /// Some of its pieces are not there.
    Incomplete,
}

impl From<SinkError> for Refused {
    fn from(error: SinkError) -> Refused {
        match error {
            SinkError::Exists { .. } => Refused::Taken,
            error => Refused::Store(error),
        }
    }
}

/// Why an upload waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waits {
    /// Uploads under way, those of the same network among them, and those that come before.
    pub serving: u32,
    pub own: u32,
    pub before: u32,
}

/// Hears of that, each time that it changes.
pub type Hears = Box<dyn FnMut(Waits) + Send>;
