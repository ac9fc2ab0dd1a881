//! What the sender's workers take and give back: chunks to send, values, and hashes.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::attempt::{Attempt, Dealt, Run};
use super::lanes::Line;
use super::{Lanes, Sending};
use crate::content::chunk::ChunkIndex;
use crate::content::entry::{Cause, Failure};
use crate::content::tree::{ChunkValue, Hash, Subtree};
use crate::session::ending::{End, PeerMisbehaved};
use crate::source::SourceError;
use crate::wire::message::SenderMessage;

impl Sending {
    /// The next chunk of `held`, which is exchanged for the next run with work in `lanes` where it has none.
    /// Calls `idle` before waiting, so that nothing lies unflushed meanwhile. `None` once the session, or the worker's
    /// own connection, is closed, or the connection is one too many.
    pub(super) fn next(
        &self,
        held: &mut Option<Arc<Run>>,
        lanes: Lanes,
        line: Option<&Line>,
        mut idle: impl FnMut() -> io::Result<()>,
    ) -> io::Result<Option<Dealt>> {
        loop {
            if line.is_some_and(Line::is_retired) {
                self.to_send.notify_one();
                return Ok(None);
            }
            if let Some(dealt) = held.as_ref().and_then(|run| run.deal(self.dealt_together)) {
                return Ok(Some(dealt));
            }
            *held = None;
            let mut queue = self.queue.lock();
            let mut flushed = false;
            *held = loop {
                if queue.closed || line.is_some_and(|line| line.is_closed() || line.is_retired()) {
                    // It may have been the one who was told of a chunk.
                    self.to_send.notify_one();
                    return Ok(None);
                }
                if let Some(run) = queue.front(lanes) {
                    break Some(run);
                }
                if flushed {
                    match lanes {
                        Lanes::All => self.to_send.wait(&mut queue),
                        Lanes::Compare => self.to_compare.wait(&mut queue),
                    }
                } else {
                    drop(queue);
                    idle()?;
                    flushed = true;
                    queue = self.queue.lock();
                }
            };
        }
    }

    /// Chunks that were not hashed, as they could not be sent.
    pub(super) fn resend(&self, attempt: &Arc<Attempt>, dealt: Dealt) {
        let run = Run::missing(attempt.clone(), dealt.first, dealt.count);
        self.queue.lock().send.push_back(Arc::new(run));
        self.to_send.notify_one();
    }

    /// Chunks that were hashed and did not arrive.
    pub(super) fn deal_again(&self, attempt: &Arc<Attempt>, dealt: Dealt) {
        if !attempt.is_over() {
            // In front: the receiver may wait for just this one to finish a file.
            self.queue.lock().send.push_front(Arc::new(Run::again(attempt.clone(), dealt)));
            self.to_send.notify_one();
        }
    }

    pub(super) fn withdraw(&self, attempt: &Attempt, error: &SourceError) {
        let cause = if error.is_passing() { Cause::Changed } else { Cause::Source };
        let failure = Failure::new(cause, error.to_string());
        if attempt.end() && attempt.file.withdrawn.set(failure.clone()).is_ok() {
            self.outbox.send(&SenderMessage::Withdraw { file: attempt.file.id, failure });
        }
    }

    /// Says the value of a chunk that the receiver has asked for, and the hash after the last one. Of a file of one chunk they
    /// are the same.
    pub(super) fn say_value(
        &self,
        attempt: &Attempt,
        chunk: ChunkIndex,
        value: ChunkValue,
    ) -> Result<(), End> {
        let file = &attempt.file;
        if file.is_large() {
            attempt.there.fetch_add(1, Ordering::Relaxed);
            self.outbox.send(&SenderMessage::Value { file: file.id, chunk, value });
        }
        self.hashed(attempt, &[Subtree::of_chunk(chunk, value)], false)
    }

    /// Takes in the values of chunks that were read, or of a hole; after the last one tells the receiver the hash of the file,
    /// unless it went with the chunk.
    pub(super) fn hashed(&self, attempt: &Attempt, subtrees: &[Subtree], told: bool) -> Result<(), End> {
        let file = &attempt.file;
        let mut tree = attempt.tree.lock();
        let mut root = None;
        for subtree in subtrees {
            // A chunk comes here twice only if the receiver asked for it twice.
            let wrong = |_| PeerMisbehaved::WrongChunk { file: file.id.0, chunk: subtree.first.0 };
            root = tree.insert_subtree(*subtree).map_err(wrong)?;
        }
        drop(tree);
        let (Some(hash), false) = (root, told) else { return Ok(()) };
        if self.is_still(attempt, &hash) {
            self.say_root(attempt, hash);
        }
        Ok(())
    }

    /// Whether the source still is what was read of it, which has this `hash`; where it is not, it is withdrawn. May read a
    /// file of its size, so no lock is held meanwhile.
    fn is_still(&self, attempt: &Attempt, hash: &Hash) -> bool {
        let file = &attempt.file;
        // A file of one chunk was checked when it was read.
        let Some(source) = file.item.source().filter(|_| file.is_large()) else { return true };
        let Ok(open) = file.open(source) else { return true };
        // Where it is given up there is nobody left to tell.
        let go_on = || !attempt.is_over() && !self.is_closed();
        open.check_content(file.layout, hash, go_on).unwrap_or_else(|error| {
            self.withdraw(attempt, &error);
            false
        })
    }

    /// Every chunk was read and hashed.
    pub(super) fn say_root(&self, attempt: &Attempt, hash: Hash) {
        if attempt.root.set(hash).is_ok() {
            self.outbox.send(&SenderMessage::Root { file: attempt.file.id, hash });
        }
    }
}
