//! What to say next, given what was heard: the two sides of a session, without any socket.
//!
//! A session moves files from a [`sending::Sending`] to a [`receiving::Receiving`]. Each side hears messages
//! through its `handle`, speaks through an [`Outbox`], and moves chunks in worker threads that run
//! [`send_chunks`](send_worker::send_chunks) and [`receive_chunks`](receive_worker::receive_chunks) over whatever
//! byte stream a transport hands them.

pub mod ending;
pub mod framing;
mod incoming;
pub mod outbox;
pub mod receive_worker;
pub mod receiving;
mod receiving_compare;
mod run;
pub mod send_worker;
pub mod sending;

use std::sync::atomic::{AtomicU64, Ordering};

use crate::name::Name;
use crate::protocol::message::Failure;
use crate::tree::Hash;

pub use ending::{End, Ending, PeerMisbehaved};
pub use outbox::{Outbox, OutboxReader, outbox};

/// What became of one file, for whoever tells the user.
#[derive(Clone, Debug)]
pub struct FileReport {
    /// The name it was offered under.
    pub name: Name,
    pub size: u64,
    /// The BLAKE3 hash of the whole file, where it was verified.
    pub hash: Option<Hash>,
    pub status: FileStatus,
}

/// How one file ended.
#[derive(Clone, Debug)]
pub enum FileStatus {
    /// Verified and there under its name.
    Stored,
    /// Verified and there under this name, because its own was taken.
    Renamed(Name),
    /// It was there already.
    Identical,
    Failed(Failure),
}

/// Hears of each file as it ends. Called from worker threads: it must be quick.
pub trait Observer: Send + Sync {
    fn file(&self, report: &FileReport);
}

/// How far a session has come. Bytes are counted where the receiver has written them.
#[derive(Debug, Default)]
pub struct Progress {
    /// Bytes in the files offered so far.
    pub offered: AtomicU64,
    /// Bytes that crossed the network and were written.
    pub written: AtomicU64,
    /// Bytes that were at the receiver already and proved to be right.
    pub kept: AtomicU64,
    /// Files that have an outcome.
    pub files_done: AtomicU64,
}

impl Progress {
    pub(crate) fn add(counter: &AtomicU64, n: u64) {
        counter.fetch_add(n, Ordering::Relaxed);
    }

    /// Reads one of the counters.
    pub fn get(counter: &AtomicU64) -> u64 {
        counter.load(Ordering::Relaxed)
    }
}
