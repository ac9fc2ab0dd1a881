//! What one data connection has taken and the receiver has not confirmed: what must be dealt again if it dies.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::PeerMisbehaved;
use super::run::Attempt;
use super::stragglers::Speed;
use crate::chunk::ChunkIndex;

/// What carries a data connection.
pub trait Wire: Send + Sync {
    /// Ends it under a worker that is writing to it.
    fn hang_up(&self);
    /// Whether the other side has ended it. A worker finds out only when it writes.
    fn is_dead(&self) -> bool;
    /// Says that nothing more will be written.
    fn finish(&self);
    /// Bytes that have reached the other machine, where anybody knows.
    fn delivered(&self) -> Option<u64>;
}

/// One data connection as the sender's side of a session sees it.
pub struct Line {
    pub number: u32,
    wire: Box<dyn Wire>,
    /// It is one too many: its worker takes no more chunks.
    retired: AtomicBool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Frames that the receiver has taken in.
    confirmed: u64,
    /// The frames after those, in the order in which they were written.
    unconfirmed: VecDeque<(Arc<Attempt>, ChunkIndex)>,
    /// Since when the receiver has owed an answer: that it has the connection, or a frame of it.
    owed_since: Option<Instant>,
    /// What had been delivered when half of the patience was over.
    delivered: Option<u64>,
    /// Frames a second that the receiver has confirmed of late, and when it last did.
    rate: f64,
    confirmed_at: Option<Instant>,
    closed: bool,
}

impl Line {
    pub fn new(number: u32, now: Instant, wire: Box<dyn Wire>) -> Line {
        let state = State { owed_since: Some(now), ..State::default() };
        Line { number, wire, retired: AtomicBool::new(false), state: Mutex::new(state) }
    }

    /// Notes a frame that is about to be written. False once the connection has ended: it must go another way.
    pub fn note(&self, attempt: &Arc<Attempt>, chunk: ChunkIndex) -> bool {
        let mut state = self.state.lock();
        if !state.closed {
            state.unconfirmed.push_back((attempt.clone(), chunk));
            if state.owed_since.is_none() {
                state.owed_since = Some(Instant::now());
            }
        }
        !state.closed
    }

    /// Whether the connection is of no more use, though nobody has said so: the other side has ended it, or the receiver
    /// has owed an answer about it for `patience`, and nothing reaches it any more. A chunk may take longer than that on a slow
    /// link.
    pub fn is_stuck(&self, now: Instant, patience: Duration) -> bool {
        let mut state = self.state.lock();
        if state.closed {
            return false;
        }
        let owed = state.owed_since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
        if owed < patience / 2 {
            state.delivered = None;
        } else if owed < patience {
            state.delivered = state.delivered.or_else(|| self.wire.delivered());
        } else if self.wire.delivered().zip(state.delivered).is_some_and(|(now, before)| now > before) {
            (state.owed_since, state.delivered) = (Some(now), None);
        } else {
            return true;
        }
        self.wire.is_dead()
    }

    /// Whether the receiver has it, and it has not ended.
    pub fn is_taken(&self) -> bool {
        let state = self.state.lock();
        state.confirmed_at.is_some() && !state.closed
    }

    pub fn is_closed(&self) -> bool {
        self.state.lock().closed
    }

    /// Has the worker take no more chunks, and end the connection behind those that it has written.
    pub fn retire(&self) {
        self.retired.store(true, Ordering::Relaxed);
    }

    pub fn is_retired(&self) -> bool {
        self.retired.load(Ordering::Relaxed)
    }

    /// The worker has written all that it will write.
    pub fn finish(&self) {
        self.wire.finish();
    }

    /// The receiver has taken in the first `frames` frames; 0 says that it has the connection.
    pub fn confirm(&self, frames: u64) -> Result<(), PeerMisbehaved> {
        let mut state = self.state.lock();
        let news = frames.checked_sub(state.confirmed).and_then(|n| usize::try_from(n).ok());
        let news =
            news.filter(|news| *news <= state.unconfirmed.len()).ok_or(PeerMisbehaved::Unexpected {
                got: "a count of frames that were not sent",
                expected: "how many of those that were",
            })?;
        for (attempt, chunk) in state.unconfirmed.drain(..news) {
            attempt.arrived(chunk);
        }
        state.confirmed = frames;
        let now = Instant::now();
        if let Some(before) = state.confirmed_at.filter(|_| news > 0) {
            let rate = news as f64 / now.duration_since(before).as_secs_f64().max(1e-3);
            // Half of what is told is as old as this confirmation.
            state.rate = (state.rate + rate) / if state.rate > 0.0 { 2.0 } else { 1.0 };
        }
        if news > 0 || state.confirmed_at.is_none() {
            state.confirmed_at = Some(now);
        }
        state.owed_since = (!state.unconfirmed.is_empty()).then_some(now);
        Ok(())
    }

    /// How it is doing.
    pub(super) fn speed(&self, now: Instant) -> Speed {
        let state = self.state.lock();
        // It had nothing to say while it owed nothing.
        let since = state.confirmed_at.max(state.owed_since);
        let silent = since.map_or(0.0, |at| now.saturating_duration_since(at).as_secs_f64());
        // One that has stopped confirming has the rate that one frame since then would make.
        let rate =
            if state.unconfirmed.is_empty() { state.rate } else { state.rate.min(1.0 / silent.max(1e-3)) };
        Speed { backlog: state.unconfirmed.len(), rate }
    }

    /// The connection has ended after the receiver had taken in `frames` frames. Returns the others.
    pub fn close(&self, frames: u64) -> Result<VecDeque<(Arc<Attempt>, ChunkIndex)>, PeerMisbehaved> {
        self.confirm(frames)?;
        let mut state = self.state.lock();
        state.closed = true;
        let lost = std::mem::take(&mut state.unconfirmed);
        drop(state);
        self.wire.hang_up();
        Ok(lost)
    }

    /// Ends the connection, whatever is on it.
    pub fn hang_up(&self) {
        self.state.lock().closed = true;
        self.wire.hang_up();
    }
}

#[cfg(test)]
#[path = "line_tests.rs"]
mod tests;
