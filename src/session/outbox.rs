//! From a session's threads to its control connection: messages, never chunks.
//!
//! The queue makes nobody wait, so that nobody who speaks can be held up by a peer that does not read, least of all the
//! task that reads from it. With an honest peer it is bounded by what may be under way: files
//! ([`crate::limits::FILES_IN_FLIGHT_MAX`]), their values ([`crate::limits::VALUES_IN_FLIGHT_MAX`]), stretches of missing
//! chunks, and connection numbers. One that asks on and on without reading the answers is found out by
//! [`OutboxReader::check`].

use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::PeerMisbehaved;
use crate::limits::OUTBOX_MESSAGES_MAX;
use crate::wire::message::{Message, put_framed};

/// Where a session's threads put what is to be said. Clones share one queue.
pub struct Outbox<M> {
    shared: Arc<Shared>,
    says: PhantomData<fn(M)>,
}

/// Where the control connection takes it.
pub struct OutboxReader<M> {
    shared: Arc<Shared>,
    says: PhantomData<fn() -> M>,
}

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    filled: Notify,
    nudged: AtomicBool,
}

/// Messages as they travel: whoever says one writes it, so that none passes from the memory of one thread to another's.
#[derive(Default)]
struct Queue {
    bytes: Vec<u8>,
    messages: usize,
    /// Messages that were taken last, and may still be on their way out.
    taken: usize,
    /// Nobody takes them any more.
    closed: bool,
}

/// A queue and its reader.
pub fn outbox<M>() -> (Outbox<M>, OutboxReader<M>) {
    let shared = Arc::new(Shared::default());
    (Outbox { shared: shared.clone(), says: PhantomData }, OutboxReader { shared, says: PhantomData })
}

impl<M> Clone for Outbox<M> {
    fn clone(&self) -> Self {
        Outbox { shared: self.shared.clone(), says: PhantomData }
    }
}

impl<M: Message> Outbox<M> {
    /// Queues a message. Once the control connection is gone there is nobody left
    /// to tell, and the message is dropped: the session's [`Ending`](crate::session::Ending) says why.
    pub fn send(&self, message: &M) {
        let mut queue = self.shared.queue.lock();
        if queue.closed {
            return;
        }
        put_framed(message, &mut queue.bytes);
        queue.messages += 1;
        let first = queue.messages == 1;
        drop(queue);
        // With the first of them all are taken.
        if first {
            self.shared.filled.notify_one();
        }
    }

    /// Has the control connection say now what it says by itself from time to time.
    pub fn nudge(&self) {
        self.shared.nudged.store(true, Ordering::Relaxed);
        self.shared.filled.notify_one();
    }
}

impl<M> OutboxReader<M> {
    /// Demands that the peer reads what it is told.
    ///
    /// # Errors
    /// More than [`OUTBOX_MESSAGES_MAX`] messages wait for it.
    pub fn check(&self) -> Result<(), PeerMisbehaved> {
        let queue = self.shared.queue.lock();
        match queue.messages + queue.taken {
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
            let nudged = self.shared.nudged.swap(false, Ordering::Relaxed);
            if nudged || !to.is_empty() {
                return nudged;
            }
            self.shared.filled.notified().await;
        }
    }

    /// Appends the messages that are there now to those that have not been written; an empty `to` says that all have.
    pub fn take_rest(&self, to: &mut Vec<u8>) {
        let mut queue = self.shared.queue.lock();
        let new = std::mem::take(&mut queue.messages);
        if to.is_empty() {
            queue.taken = new;
            std::mem::swap(to, &mut queue.bytes);
        } else {
            queue.taken += new;
            to.append(&mut queue.bytes);
        }
    }
}

impl<M> Drop for OutboxReader<M> {
    fn drop(&mut self) {
        *self.shared.queue.lock() = Queue { closed: true, ..Queue::default() };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::message::SenderMessage;

    #[test]
    fn what_is_taken_and_not_written_counts_as_unread() {
        let (outbox, reader) = outbox();
        let say = |messages| (0..messages).for_each(|_| outbox.send(&SenderMessage::Beat));
        let mut writing = Vec::new();
        say(OUTBOX_MESSAGES_MAX / 2);
        reader.take_rest(&mut writing);
        say(OUTBOX_MESSAGES_MAX - OUTBOX_MESSAGES_MAX / 2);
        assert_eq!(reader.check(), Ok(()));
        say(1);
        assert!(reader.check().is_err());
        reader.take_rest(&mut writing);
        assert!(reader.check().is_err(), "they are only elsewhere");
        writing.clear();
        reader.take_rest(&mut writing);
        assert_eq!(reader.check(), Ok(()));
    }

    #[test]
    fn nothing_is_kept_for_a_connection_that_is_gone() {
        let (outbox, reader) = outbox();
        outbox.send(&SenderMessage::Beat);
        drop(reader);
        outbox.send(&SenderMessage::Beat);
        let queue = outbox.shared.queue.lock();
        assert_eq!((queue.bytes.capacity(), queue.messages), (0, 0));
    }
}
