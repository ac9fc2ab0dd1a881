//! From a session's threads to its control connection: messages, never chunks.
//!
//! The queue has no bound of its own, so that nobody who speaks can be made to wait by a peer that does not read, least of
//! all the task that reads from it. What may stand in it is bounded by what may be under way: files
//! ([`crate::limits::FILES_IN_FLIGHT_MAX`]), their values ([`crate::limits::VALUES_IN_FLIGHT_MAX`]), stretches of missing
//! chunks, and connection numbers. A file is under way until its outcome was heard: a sender that offers more before is sent
//! away (see [`crate::limits::ANSWERS_UNHEARD_MAX`]).

use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender};
use tokio::sync::Notify;

use crate::limits::OUTBOX_BATCH_MESSAGES;
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
    /// How many messages wait to be said.
    pub fn waiting(&self) -> usize {
        self.queue.len()
    }

    /// Queues a message. Once the control connection is gone there is nobody left
    /// to tell, and the message is dropped: the session's [`Ending`](super::Ending) says why.
    pub fn send(&self, message: M) {
        if self.queue.send(message).is_ok() {
            self.filled.notify_one();
        }
    }
}

impl<M: Message> OutboxReader<M> {
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
