//! From a session's threads to its control connection: messages, never chunks.
//!
//! The queue makes nobody wait, so that nobody who speaks can be held up by a peer that does not read, least of all the
//! task that reads from it. With an honest peer it is bounded by what may be under way: files
//! ([`crate::limits::FILES_IN_FLIGHT_MAX`]), their values ([`crate::limits::VALUES_IN_FLIGHT_MAX`]), stretches of missing
//! chunks, and connection numbers. One that asks on and on without reading the answers is found out by
//! [`OutboxReader::check`].

use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender};
use tokio::sync::Notify;

use super::PeerMisbehaved;
use crate::limits::{OUTBOX_BATCH_MESSAGES, OUTBOX_MESSAGES_MAX};
use crate::protocol::message::{Message, put_framed};

/// Where a session's threads put what is to be said. Clones share one queue.
pub struct Outbox<M> {
    queue: Sender<M>,
    filled: Arc<Notify>,
}

/// Where the control connection takes it.
pub struct OutboxReader<M> {
    queue: Receiver<M>,
    filled: Arc<Notify>,
}

/// A queue and its reader.
pub fn outbox<M>() -> (Outbox<M>, OutboxReader<M>) {
    let (sender, receiver) = crossbeam_channel::unbounded();
    let filled = Arc::new(Notify::new());
    (Outbox { queue: sender, filled: filled.clone() }, OutboxReader { queue: receiver, filled })
}

impl<M> Clone for Outbox<M> {
    fn clone(&self) -> Self {
        Outbox { queue: self.queue.clone(), filled: self.filled.clone() }
    }
}

impl<M> Outbox<M> {
    /// Queues a message. Once the control connection is gone there is nobody left
    /// to tell, and the message is dropped: the session's [`Ending`](super::Ending) says why.
    pub fn send(&self, message: M) {
        if self.queue.send(message).is_ok() {
            self.filled.notify_one();
        }
    }
}

impl<M: Message> OutboxReader<M> {
    /// Demands that the peer reads what it is told.
    ///
    /// # Errors
    /// More than [`OUTBOX_MESSAGES_MAX`] messages wait for it.
    pub fn check(&self) -> Result<(), PeerMisbehaved> {
        match self.queue.len() {
            0..=OUTBOX_MESSAGES_MAX => Ok(()),
            _ => Err(PeerMisbehaved::TooMany {
                what: "answers that it does not read",
                limit: OUTBOX_MESSAGES_MAX,
            }),
        }
    }

    /// Waits for messages and appends all that are there to `to`, each behind its length.
    /// Cancelling it loses nothing.
    pub async fn take_all(&self, to: &mut Vec<u8>) {
        loop {
            self.take_rest(to);
            if !to.is_empty() {
                return;
            }
            self.filled.notified().await;
        }
    }

    /// Appends the messages that are there now, at most one batch.
    pub fn take_rest(&self, to: &mut Vec<u8>) {
        for message in self.queue.try_iter().take(OUTBOX_BATCH_MESSAGES) {
            put_framed(&message, to);
        }
    }
}
