//! What is to be got and how, and what becomes of that.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use hyper::header::HeaderMap;
use tokio::runtime::Runtime;

use super::dial::DialError;
use super::target::Target;
use crate::content::entry::Metadata;
use crate::content::tree::{ChunkValue, Hash, joined_of};
use crate::name::RelativePath;
use crate::os::said::Said;
use crate::session::Progress;
use crate::session::rate_limit::Pace;
use crate::store::{Published, Sink, SinkError};
use crate::web::pieces::PIECE_BYTES;

/// Between two tries, at first and at most.
pub(super) const PAUSE_FIRST: Duration = Duration::from_millis(200);
pub(super) const PAUSE_MAX: Duration = Duration::from_secs(5);

/// How long a server may tell us to wait, and how long we wait where it does not say.
pub(super) const BUSY_MAX: Duration = Duration::from_secs(60);
pub(super) const BUSY_DEFAULT: Duration = Duration::from_secs(1);

/// How often it is looked whether to stop, and whether there should be more connections.
pub(super) const LOOK: Duration = Duration::from_millis(100);

/// What is to be got, and how.
#[derive(Clone)]
pub struct Job {
    pub target: Target,
    /// Fields for this server alone: a token, and what the user gave.
    pub fields: HeaderMap,
    /// Where it goes, where that is not for the server to say.
    pub path: Option<RelativePath>,
    pub sink: Arc<Sink>,
    pub expected: Option<Expected>,
    pub connections_most: u8,
    pub limit: Option<Arc<Pace>>,
    pub silence: Duration,
    pub retry_for: Duration,
    /// The mode that a file gets for which there is none in `dress`.
    pub mode: u32,
    /// What it gets instead of that mode and the time that the server says.
    pub dress: Option<Metadata>,
    pub progress: Arc<Progress>,
    /// Of all files together, where there are several.
    pub whole: Option<Arc<Progress>>,
    pub stop: Arc<AtomicBool>,
    /// Hears what a person should know meanwhile.
    pub told: Arc<dyn Fn(&str) + Send + Sync>,
}

/// A file that is in place.
#[derive(Clone, Debug)]
pub struct Done {
    pub path: RelativePath,
    pub published: Published,
    pub size: u64,
    pub hash: Hash,
    /// By what it was shown to be the right one.
    pub verified_by: Option<&'static str>,
    /// It was there already.
    pub identical: bool,
    pub connections: u8,
}

/// Why it is not.
#[derive(Debug, thiserror::Error)]
pub enum Failed {
    #[error(transparent)]
    Dial(#[from] DialError),
    #[error(
        "{host} does not let this in ({status}); give the token by LANX_TOKEN or --token-file, or what else it asks for by --header"
    )]
    NotLetIn { host: String, status: u16 },
    #[error("{url} cannot be had: {why}; check the address")]
    Refused { url: String, why: String },
    #[error("{url} keeps changing while it is got; try again when nobody writes to it")]
    Changing { url: String },
    #[error(
        "{name} is not what was expected: its {kind} is {got}; what had come was removed; find out where it comes from"
    )]
    Mismatch { name: RelativePath, kind: &'static str, got: String },
    #[error(
        "there is no name for {url}; give it one with -o FILE, or get all that is in a folder of a lanx with -r"
    )]
    NoName { url: String },
    #[error(transparent)]
    Store(#[from] SinkError),
    #[error("interrupted; run the same command again to go on")]
    Interrupted,
    #[error("cannot start a thread: {}; let this user have more of them", Said(.0))]
    Thread(io::Error),
}

/// Why an attempt has come to nothing.
pub(super) enum Ended {
    /// For good.
    Over(Failed),
    Changed,
    NoRanges,
    /// Where the address led to it is not to be had any more, as a link that is good for a while only.
    Astray,
    Busy(Option<Duration>),
    Lost(DialError),
}

impl From<DialError> for Ended {
    fn from(error: DialError) -> Ended {
        if error.may_pass() { Ended::Lost(error) } else { Ended::Over(error.into()) }
    }
}

impl From<SinkError> for Ended {
    fn from(error: SinkError) -> Ended {
        Ended::Over(error.into())
    }
}

pub(super) fn runtime() -> io::Result<Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

/// What the file has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    Blake3(Hash),
    Sha256([u8; 32]),
}

impl Expected {
    pub fn kind(&self) -> &'static str {
        match self {
            Expected::Blake3(_) => "BLAKE3",
            Expected::Sha256(_) => "SHA-256",
        }
    }
}

/// The values that a lanx tells of the pieces of a file, one after the other: 8 MiB for each TiB.
pub(super) struct Values {
    pub size: u64,
    pub bytes: Vec<u8>,
}

impl Values {
    /// The piece that begins there: its length, and its value.
    pub fn at(&self, at: u64) -> Option<(u64, ChunkValue)> {
        let (values, _) = self.bytes.as_chunks::<32>();
        let number = usize::try_from(at / PIECE_BYTES).ok().filter(|_| at.is_multiple_of(PIECE_BYTES))?;
        Some((PIECE_BYTES.min(self.size.checked_sub(at)?), *values.get(number)?))
    }

    /// Each piece: where it begins, its length, and its value.
    pub fn pieces(&self) -> impl Iterator<Item = (u64, u64, ChunkValue)> {
        let starts = (0..self.size).step_by(usize::try_from(PIECE_BYTES).unwrap_or(usize::MAX));
        starts.map_while(|at| self.at(at).map(|(bytes, value)| (at, bytes, value)))
    }

    /// The hash of the file; `None` where they are not those of all of it.
    pub fn hash(&self) -> Option<Hash> {
        joined_of(self.size, &|at| self.at(at))
    }
}
