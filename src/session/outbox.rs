//! From a session's threads to its control connection: messages, never chunks.
//!
//! The queue makes nobody wait, so that nobody who speaks can be held up by a peer that does not read, least of all the
//! task that reads from it. With an honest peer it is bounded by what may be under way: files
//! ([`crate::limits::FILES_IN_FLIGHT_MAX`]), their values ([`crate::limits::VALUES_IN_FLIGHT_MAX`]), stretches of missing
//! chunks, and connection numbers. One that asks on and on without reading the answers is found out by
//! [`OutboxReader::check`].

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crossbeam_channel::{Receiver, Sender};
use tokio::sync::Notify;

use super::PeerMisbehaved;
use crate::limits::{OUTBOX_BATCH_MESSAGES, OUTBOX_MESSAGES_MAX};
use crate::protocol::message::{Message, put_framed};

/// Where a session's threads put what is to be said. Clones share one queue.
pub struct Outbox<M> {
    queue: Sender<M>,
    waker: Arc<Waker>,
}

/// Wakes whoever takes it.
#[derive(Default)]
struct Waker {
    filled: Notify,
    nudged: AtomicBool,
}

/// Where the control connection takes it.
pub struct OutboxReader<M> {
    queue: Receiver<M>,
    waker: Arc<Waker>,
}

/// A queue and its reader.
pub fn outbox<M>() -> (Outbox<M>, OutboxReader<M>) {
    let (sender, receiver) = crossbeam_channel::unbounded();
    let waker = Arc::new(Waker::default());
    (Outbox { queue: sender, waker: waker.clone() }, OutboxReader { queue: receiver, waker })
}

impl<M> Clone for Outbox<M> {
    fn clone(&self) -> Self {
        Outbox { queue: self.queue.clone(), waker: self.waker.clone() }
    }
}

impl<M> Outbox<M> {
    /// Queues a message. Once the control connection is gone there is nobody left
    /// to tell, and the message is dropped: the session's [`Ending`](super::Ending) says why.
    pub fn send(&self, message: M) {
        if self.queue.send(message).is_ok() {
            self.waker.filled.notify_one();
        }
    }

    /// Has the control connection say now what it says by itself from time to time.
    pub fn nudge(&self) {
        self.waker.nudged.store(true, Ordering::Relaxed);
        self.waker.filled.notify_one();
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

    /// Waits for messages and appends all that are there to `to`, each behind its length. Returns whether it was nudged
    /// ([`Outbox::nudge`]). Cancelling it loses nothing.
    pub async fn take_all(&self, to: &mut Vec<u8>) -> bool {
        loop {
            self.take_rest(to);
            let nudged = self.waker.nudged.swap(false, Ordering::Relaxed);
            if nudged || !to.is_empty() {
                return nudged;
            }
            self.waker.filled.notified().await;
        }
    }

    /// Appends the messages that are there now, at most one batch.
    pub fn take_rest(&self, to: &mut Vec<u8>) {
        for message in self.queue.try_iter().take(OUTBOX_BATCH_MESSAGES) {
            put_framed(&message, to);
        }
    }
}
