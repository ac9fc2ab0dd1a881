//! From a session's threads to its control connection: messages, never chunks.
//!
//! To speak makes nobody wait, so that nobody can be held up by a peer that does not read while it holds
//! something, least of all the task that reads from it. Whoever is about to take more from the peer waits
//! before it does ([`Outbox::wait_for_room`], [`OutboxReader::room`]) until the peer has read what it was
//! told.

use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::{Condvar, Mutex};
use tokio::sync::Notify;

use crate::limits::OUTBOX_BYTES_MAX;
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
    /// More than [`OUTBOX_BYTES_MAX`] is unread.
    full: AtomicBool,
    /// Told when it no longer is.
    room: Condvar,
    room_async: Notify,
}

/// Messages as they travel: whoever says one writes it, so that none passes from the memory of one thread to
/// another's.
#[derive(Default)]
struct Queue {
    bytes: Vec<u8>,
    /// Bytes that were taken last, and may still be on their way out.
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
        let first = queue.bytes.is_empty();
        put_framed(message, &mut queue.bytes);
        self.shared.look(&queue);
        drop(queue);
        // With the first of them all are taken.
        if first {
            self.shared.filled.notify_one();
        }
    }

    /// Waits until the peer has read most of what it was told, or the queue is closed.
    pub fn wait_for_room(&self) {
        if self.has_room() {
            return;
        }
        let mut queue = self.shared.queue.lock();
        while !self.has_room() {
            self.shared.room.wait(&mut queue);
        }
    }

    /// Whether nobody would have to wait for the peer.
    pub fn has_room(&self) -> bool {
        !self.shared.full.load(Ordering::Relaxed)
    }

    /// Nobody is to wait any more, and nothing that is said goes out.
    pub fn close(&self) {
        self.shared.close();
    }

    /// Has the control connection say now what it says by itself from time to time.
    pub fn nudge(&self) {
        self.shared.nudged.store(true, Ordering::Relaxed);
        self.shared.filled.notify_one();
    }
}

impl<M> OutboxReader<M> {
    /// Waits until the peer has read most of what it was told.
    pub async fn room(&self) {
        while self.shared.full.load(Ordering::Relaxed) {
            let room = self.shared.room_async.notified();
            tokio::pin!(room);
            room.as_mut().enable();
            if self.shared.full.load(Ordering::Relaxed) {
                room.await;
            }
        }
    }

    /// Waits for messages and appends all that are there to `to`, each behind its length. Returns whether it
    /// was nudged ([`Outbox::nudge`]). Cancelling it loses nothing.
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

    /// Appends the messages that are there now to those that have not been written; an empty `to` says that
    /// all have.
    pub fn take_rest(&self, to: &mut Vec<u8>) {
        let mut queue = self.shared.queue.lock();
        if to.is_empty() {
            queue.taken = queue.bytes.len();
            std::mem::swap(to, &mut queue.bytes);
        } else {
            queue.taken += queue.bytes.len();
            to.append(&mut queue.bytes);
        }
        self.shared.look(&queue);
    }
}

impl Shared {
    /// Looks whether the peer is behind.
    fn look(&self, queue: &Queue) {
        let full = !queue.closed && queue.bytes.len() + queue.taken > OUTBOX_BYTES_MAX;
        if self.full.swap(full, Ordering::Relaxed) && !full {
            self.room.notify_all();
            self.room_async.notify_waiters();
        }
    }

    fn close(&self) {
        let mut queue = self.queue.lock();
        *queue = Queue { closed: true, ..Queue::default() };
        self.look(&queue);
    }
}

impl<M> Drop for OutboxReader<M> {
    fn drop(&mut self) {
        self.shared.close();
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;
    use crate::wire::message::SenderMessage;

    /// Says more than may be unread.
    fn fill(outbox: &Outbox<SenderMessage>) {
        (0..=OUTBOX_BYTES_MAX / 5).for_each(|_| outbox.send(&SenderMessage::Beat));
    }

    #[test]
    fn what_is_taken_and_not_written_counts_as_unread() {
        let (outbox, reader) = outbox();
        let mut writing = Vec::new();
        fill(&outbox);
        reader.take_rest(&mut writing);
        assert!(!outbox.has_room(), "it is only elsewhere");
        thread::scope(|scope| {
            let waiting = scope.spawn(|| outbox.wait_for_room());
            reader.take_rest(&mut writing);
            assert!(!waiting.is_finished());
            writing.clear();
            reader.take_rest(&mut writing);
        });
        assert!(outbox.has_room());
    }

    #[test]
    fn nothing_is_kept_and_nobody_waits_for_a_connection_that_is_gone() {
        for by_hand in [true, false] {
            let (outbox, reader) = outbox();
            fill(&outbox);
            thread::scope(|scope| {
                scope.spawn(|| outbox.wait_for_room());
                if by_hand { outbox.close() } else { drop(reader) }
            });
            fill(&outbox);
            assert!(outbox.has_room());
            let queue = outbox.shared.queue.lock();
            assert_eq!((queue.bytes.capacity(), queue.taken), (0, 0));
        }
    }
}
