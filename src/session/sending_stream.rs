//! What is not sent all at once: a file that the receiver takes in order, as far as it has asked for it; and a stream, whose
//! chunks are queued as they are read, and whose length is told when it has ended.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::run::{Attempt, Run};
use super::sending::{Queue, Sending};
use super::{End, PeerMisbehaved};
use crate::chunk::{ChunkIndex, FileId, Layout};
use crate::protocol::message::{Against, SenderMessage};
use crate::source::{Reached, Stream};

impl Sending {
    /// Hears of all that comes of `stream`, also before it is offered.
    pub fn follow(self: &Arc<Self>, stream: &Stream) {
        // The stream may outlive the session.
        let sending = Arc::downgrade(self);
        stream.attach(move || {
            if let Some(sending) = sending.upgrade() {
                sending.stream_grew();
            }
        });
    }

    /// Has something of the file to be compared; of a stream nobody has.
    pub(super) fn compare(&self, file: FileId, against: Against) -> Result<(), PeerMisbehaved> {
        let attempt = self.begin(file, against)?;
        match attempt.file.layout.is_open() {
            false => {
                self.will_share(&attempt, ChunkIndex(0), 0);
                Ok(())
            }
            true => Err(PeerMisbehaved::Unexpected {
                got: "a comparison of a stream",
                expected: "a wish for all of it",
            }),
        }
    }

    /// Sends a file as far as the receiver has asked for it.
    pub(super) fn send_up_to(&self, file: FileId, end: ChunkIndex) -> Result<(), End> {
        let mut queue = self.queue.lock();
        let entry = queue.files.get_mut(&file).ok_or(PeerMisbehaved::UnknownFile(file.0))?;
        let layout = entry.file.layout;
        let first = std::mem::replace(&mut entry.asked_up_to, end.0);
        if layout.is_single() || end.0 <= first || end.0 > layout.chunks() {
            return Err(PeerMisbehaved::WrongChunk { file: file.0, chunk: end.0 }.into());
        }
        let attempt = entry.attempt.clone().filter(|_| first > 0);
        drop(queue);
        let attempt = match attempt {
            Some(attempt) => attempt,
            None => self.begin(file, Against::Part)?,
        };
        self.in_order.store(true, Ordering::Relaxed);
        if layout.is_open() {
            self.want_stream(file, end.0);
            return Ok(());
        }
        if first == 0 {
            self.will_share(&attempt, ChunkIndex(0), layout.chunks());
        }
        self.enqueue_missing(attempt, ChunkIndex(first), end.0 - first)
    }

    /// The receiver wants the stream as far as chunk `end`.
    pub(super) fn want_stream(&self, file: FileId, end: u64) {
        if let Some(entry) = self.queue.lock().files.get_mut(&file) {
            entry.asked_up_to = end;
        }
        self.stream_grew();
    }

    /// More is known of the stream, or more of it is wanted.
    fn stream_grew(&self) {
        let wanted = self.queue.lock().queue_stream();
        // Whoever offers waits until it is known what to offer.
        self.settled.notify_all();
        let Some((attempt, queued, reached)) = wanted else { return };
        match queued {
            0 => {}
            1 => drop(self.to_send.notify_one()),
            _ => drop(self.to_send.notify_all()),
        }
        match reached.end {
            Some(Ok(bytes)) => self.stream_ended(&attempt, bytes),
            Some(Err(error)) => self.withdraw(&attempt, &error),
            None => {}
        }
    }

    fn stream_ended(&self, attempt: &Attempt, bytes: u64) {
        let file = &attempt.file;
        if attempt.is_over() || file.length.set(Some(bytes)).is_err() {
            return;
        }
        self.progress.stream_ended(bytes);
        // Before the hash, which whoever hashes the last chunk may say from now on.
        self.outbox.send(&SenderMessage::Length { file: file.id, bytes });
        // A stream was offered only because it has two chunks, and each was read once.
        if let Ok(Some(hash)) = attempt.tree.lock().close(Layout::new(bytes)) {
            self.say_root(file, hash);
        }
    }
}

impl Queue {
    /// Queues what was read of the stream and is wanted. Returns how many chunks that were, and how far it was read, once it
    /// is wanted at all.
    fn queue_stream(&mut self) -> Option<(Arc<Attempt>, u64, Reached)> {
        let entry = self.files.get_mut(&self.stream?)?;
        let attempt = entry.attempt.clone()?;
        let reached = entry.file.item.stream()?.reached();
        let end = reached.chunks.min(entry.asked_up_to);
        let count = end.saturating_sub(entry.queued);
        if count > 0 {
            let run = Run::missing(attempt.clone(), ChunkIndex(entry.queued), count);
            entry.queued = end;
            self.send.push_back(Arc::new(run));
        }
        Some((attempt, count, reached))
    }
}
