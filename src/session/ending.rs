//! How a session ends, decided once and heard by everyone who works for it.

use std::sync::OnceLock;
use std::time::Duration;

use tokio::sync::Notify;

use crate::content::compress::NotCompressed;
use crate::name::Text;
use crate::wire::DecodeError;
use crate::wire::seal::SealError;

/// The other side did what the protocol forbids. Says what was expected and what came.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PeerMisbehaved {
    #[error("it sent {what} that {error}")]
    Malformed { what: &'static str, error: DecodeError },
    #[error("it sent {got} where {expected} was expected")]
    Unexpected { got: &'static str, expected: &'static str },
    #[error("it spoke of file {0}, which is not under way")]
    UnknownFile(u64),
    #[error("it sent chunk {chunk} of file {file}, which that file does not have or has already")]
    WrongChunk { file: u64, chunk: u64 },
    #[error("it sent {got} bytes where file {file} has {expected}")]
    WrongLength { file: u64, got: u64, expected: u64 },
    #[error("it sent bytes for chunk {chunk} of file {file} that {error}")]
    BadlyCompressed { file: u64, chunk: u64, error: NotCompressed },
    #[error("it sent a hole of file {file} that cannot be: {error}")]
    BadHole { file: u64, error: DecodeError },
    #[error("it went past the limit of {limit} {what}")]
    TooMany { what: &'static str, limit: usize },
}

/// Why a session is over.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum End {
    /// Every file has its outcome and both sides know it.
    #[error("complete")]
    Complete,
    /// The peer said that it leaves, and why.
    #[error("the other side gave up: {0}")]
    PeerLeft(Text),
    /// The receiver was told to end, and may be back in a moment: known at both ends.
    #[error("the receiver is shutting down or restarting")]
    Away,
    /// The peer broke the protocol.
    #[error("the other side broke the protocol: {0}")]
    Misbehaved(#[from] PeerMisbehaved),
    /// A frame is not what was sealed: somebody on the way changes what is sent, or the peer is faulty.
    #[error("a data connection was tampered with: {0}")]
    Forged(SealError),
    /// The network, or the peer's process, is gone.
    #[error("the connection was lost: {0}")]
    Lost(String),
    /// The peer is connected but says nothing.
    #[error("the other side has said nothing for {} s: it is frozen or unreachable", .0.as_secs())]
    Silent(Duration),
    /// This machine cannot go on: no thread or socket is to be had.
    #[error("this machine is out of resources: {0}")]
    Exhausted(String),
    /// The receiver's folder is not what its path leads to any more, or cannot be used: known at both ends.
    #[error("{0}")]
    Misplaced(Text),
    /// The receiver's user took the sender from those who may send.
    #[error("the receiver's user removed the sender from those that may send to it")]
    Revoked,
    /// We were asked to stop.
    #[error("interrupted")]
    Stopped,
}

/// Remembers the first [`End`] that anyone decides.
#[derive(Default)]
pub struct Ending {
    end: OnceLock<End>,
    decided: Notify,
}

impl Ending {
    /// Decides how the session ends, unless that was decided before.
    pub fn decide(&self, end: End) {
        if self.end.set(end).is_ok() {
            self.decided.notify_waiters();
        }
    }

    /// How the session ended, if it did.
    pub fn get(&self) -> Option<&End> {
        self.end.get()
    }

    /// Waits until the end is decided.
    pub async fn wait(&self) -> &End {
        loop {
            let decided = self.decided.notified();
            tokio::pin!(decided);
            decided.as_mut().enable();
            if let Some(end) = self.end.get() {
                return end;
            }
            decided.await;
        }
    }
}
