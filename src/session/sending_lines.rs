//! The sender's data connections: which there are, and what happens to the chunks on one that ends.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::PeerMisbehaved;
use super::line::Line;
use super::sending::Sending;
use super::stragglers::{Speed, straggler};
use crate::protocol::message::SenderMessage;

impl Sending {
    /// A data connection was opened.
    pub fn add_line(&self, line: Arc<Line>) {
        self.lines.lock().insert(line.number, line);
    }

    /// How many data connections have not ended.
    pub fn lines(&self) -> usize {
        self.lines.lock().len()
    }

    /// Whether the receiver has taken in one of them, and it has not ended.
    pub fn has_taken_line(&self) -> bool {
        self.lines.lock().values().any(|line| line.is_taken())
    }

    /// How many data connections the receiver allows at present.
    pub fn share(&self) -> u8 {
        self.share.load(Ordering::Relaxed)
    }

    pub fn set_share(&self, connections: u8) {
        self.share.store(connections, Ordering::Relaxed);
        self.lines_changed.notify_one();
    }

    /// Has all but `most` data connections end behind what is written on them, the youngest first.
    pub fn retire_surplus(&self, most: usize) {
        let lines = self.lines.lock();
        let mut working: Vec<&Arc<Line>> = lines.values().filter(|line| !line.is_retired()).collect();
        let Some(surplus @ 1..) = working.len().checked_sub(most) else { return };
        working.sort_by_key(|line| std::cmp::Reverse(line.number));
        for line in &working[..surplus] {
            tracing::debug!("data connection {} is one too many now", line.number);
            line.retire();
        }
        drop(lines);
        // A worker looks at its connection under this lock before it waits.
        drop(self.queue.lock());
        self.to_send.notify_all();
    }

    /// A worker could not go on: asks the receiver how far its connection came.
    pub fn line_failed(&self, line: &Line) {
        line.hang_up();
        self.outbox.send(&SenderMessage::HangUp { connection: line.number });
    }

    /// Gives up the data connections that are stuck (see [`Line::is_stuck`]).
    pub fn give_up_stuck(&self, now: Instant, patience: Duration) {
        let lines: Vec<Arc<Line>> = self.lines.lock().values().cloned().collect();
        for line in lines.iter().filter(|line| line.is_stuck(now, patience)) {
            tracing::info!("data connection {} is stuck", line.number);
            self.line_failed(line);
        }
    }

    /// Once all chunks are dealt, gives up the data connection that would hold up the end, if there is one: see
    /// `straggler`. Whether there was.
    pub fn give_up_straggler(&self, now: Instant) -> bool {
        if !self.queue.lock().is_dealt() {
            return false;
        }
        let mut lines: Vec<Arc<Line>> = self.lines.lock().values().cloned().collect();
        lines.retain(|line| !line.is_closed());
        let speeds: Vec<Speed> = lines.iter().map(|line| line.speed(now)).collect();
        let Some((line, speed)) = straggler(&speeds).and_then(|at| lines.get(at).zip(speeds.get(at))) else {
            return false;
        };
        let (number, backlog) = (line.number, speed.backlog);
        tracing::info!("data connection {number} is slow; chunks on it that go another way: {backlog}");
        self.line_failed(line);
        true
    }

    /// Whether one more data connection than `lines` would find something to do. At the end a new one, which is slow at first,
    /// would only take the last chunks from those that wait for them.
    pub fn has_work_beside(&self, lines: usize) -> bool {
        lines == 0 || self.queue.lock().has_more_than(lines)
    }

    /// Ends all data connections under their workers.
    pub fn hang_up(&self) {
        self.lines.lock().values().for_each(|line| line.hang_up());
    }

    pub(super) fn line_confirmed(&self, connection: u32, frames: u64) -> Result<(), PeerMisbehaved> {
        let line = self.lines.lock().get(&connection).cloned();
        // It may be about one that was refused before it began.
        line.map_or(Ok(()), |line| line.confirm(frames))
    }

    pub(super) fn line_hung_up(&self, connection: u32, frames: u64) -> Result<(), PeerMisbehaved> {
        let Some(line) = self.lines.lock().remove(&connection) else { return Ok(()) };
        let lost = line.close(frames)?;
        tracing::info!(
            "data connection {connection} ended; chunks on it that go another way: {}",
            lost.len()
        );
        for (attempt, chunk) in lost {
            self.deal_again(&attempt, chunk);
        }
        // Its worker may be among those who wait.
        self.to_send.notify_all();
        self.lines_changed.notify_one();
        Ok(())
    }
}
