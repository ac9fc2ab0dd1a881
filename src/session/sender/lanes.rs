//! The sender's data connections: which there are, how each is doing, and what each has taken and the
//! receiver has not confirmed, which must be dealt again if it dies.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::attempt::{Attempt, Dealt};
use crate::limits::{CONNECTIONS_MAX, STRAGGLER_PATIENCE};
use crate::session::ending::PeerMisbehaved;
use crate::session::link::ConnectionHandle;
use crate::session::outbox::Outbox;
use crate::wire::message::SenderMessage;

/// How many times as long as over the others the rest of a data connection must take to be sent over those
/// instead.
const STRAGGLER_FACTOR: u32 = 2;

/// Chunks that were written to a data connection and may not have arrived, in the order in which they were
/// written.
pub type Unconfirmed = VecDeque<(Arc<Attempt>, Dealt)>;

/// One data connection as the sender's side of a session sees it.
pub struct DataConnection {
    pub number: u32,
    wire: Arc<dyn ConnectionHandle>,
    /// It is one too many: its worker takes no more chunks.
    retired: AtomicBool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Frames that the receiver has taken in.
    confirmed: u64,
    /// The frames after those, in the order in which they were written.
    unconfirmed: Unconfirmed,
    /// Since when the receiver has owed an answer: that it has the connection, or a frame of it.
    owed_since: Option<Instant>,
    /// What had been delivered when half of the patience was over.
    delivered: Option<u64>,
    /// Frames a second that the receiver has confirmed of late, and when it last did.
    rate: f64,
    confirmed_at: Option<Instant>,
    closed: bool,
}

impl DataConnection {
    pub fn new(number: u32, now: Instant, wire: Arc<dyn ConnectionHandle>) -> DataConnection {
        let state = State { owed_since: Some(now), ..State::default() };
        DataConnection { number, wire, retired: AtomicBool::new(false), state: Mutex::new(state) }
    }

    /// Notes a frame that is about to be written. False once the connection has ended: it must go another
    /// way.
    pub fn note(&self, attempt: &Arc<Attempt>, dealt: Dealt) -> bool {
        let mut state = self.state.lock();
        if !state.closed {
            state.unconfirmed.push_back((attempt.clone(), dealt));
            if state.owed_since.is_none() {
                state.owed_since = Some(Instant::now());
            }
        }
        !state.closed
    }

    /// Whether the connection is of no more use, though nobody has said so: the other side has ended it, or
    /// the receiver has owed an answer about it for `patience`, and nothing reaches it any more. A chunk may
    /// take longer than that on a slow link.
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
        for (attempt, dealt) in state.unconfirmed.drain(..news) {
            attempt.arrived(dealt);
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
    pub fn close(&self, frames: u64) -> Result<Unconfirmed, PeerMisbehaved> {
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

// The sender's data connections: which there are, and what happens to the chunks on one that ends.

/// The data connections that have not ended.
pub struct DataConnections {
    /// By number.
    all: Mutex<HashMap<u32, Arc<DataConnection>>>,
    /// How many of them the receiver allows at present.
    share: AtomicU8,
    /// Told when one of them has ended, or another number is allowed.
    pub changed: Notify,
    outbox: Outbox<SenderMessage>,
    pulse: Mutex<Pulse>,
}

impl DataConnections {
    pub fn new(outbox: Outbox<SenderMessage>) -> DataConnections {
        let share = AtomicU8::new(CONNECTIONS_MAX);
        DataConnections {
            all: Mutex::default(),
            share,
            changed: Notify::new(),
            outbox,
            pulse: Mutex::default(),
        }
    }

    /// A data connection was opened.
    pub fn add(&self, connection: Arc<DataConnection>) {
        self.all.lock().insert(connection.number, connection);
    }

    /// Of the data connections that there are, how many segments were sent again, and how many there were in
    /// all, as far as anybody knows.
    pub fn losses(&self) -> (u64, u64) {
        let connections = self.all.lock();
        connections.values().fold((0, 0), |(again, all), connection| {
            let segments = connection.wire.traffic().map_or(0, |traffic| {
                traffic.acknowledged.checked_div(traffic.segment_bytes.into()).unwrap_or_default()
            });
            (again + connection.wire.troubles().retransmits, all + segments)
        })
    }

    /// How many data connections have not ended.
    pub fn count(&self) -> usize {
        self.all.lock().len()
    }

    /// Whether the receiver has taken in one of them, and it has not ended.
    pub fn has_taken(&self) -> bool {
        self.all.lock().values().any(|connection| connection.is_taken())
    }

    /// How many data connections the receiver allows at present.
    pub fn share(&self) -> u8 {
        self.share.load(Ordering::Relaxed)
    }

    pub fn set_share(&self, connections: u8) {
        self.share.store(connections, Ordering::Relaxed);
        self.changed.notify_one();
    }

    /// Has all but `most` data connections end behind what is written on them, the youngest first. Whether
    /// there were any.
    pub fn retire_surplus(&self, most: usize) -> bool {
        let connections = self.all.lock();
        let mut working: Vec<&Arc<DataConnection>> =
            connections.values().filter(|connection| !connection.is_retired()).collect();
        let Some(surplus @ 1..) = working.len().checked_sub(most) else { return false };
        working.sort_by_key(|connection| std::cmp::Reverse(connection.number));
        for connection in &working[..surplus] {
            tracing::debug!("data connection {} is one too many now", connection.number);
            connection.retire();
        }
        true
    }

    /// A worker could not go on: asks the receiver how far its connection came.
    pub fn failed(&self, connection: &DataConnection) {
        connection.hang_up();
        self.outbox.send(&SenderMessage::HangUp { connection: connection.number });
    }

    /// Gives up the data connections that are stuck (see [`DataConnection::is_stuck`]).
    pub fn give_up_stuck(&self, now: Instant, patience: Duration) {
        let connections: Vec<Arc<DataConnection>> = self.all.lock().values().cloned().collect();
        for connection in connections.iter().filter(|connection| connection.is_stuck(now, patience)) {
            tracing::info!("data connection {} is stuck", connection.number);
            self.failed(connection);
        }
    }

    /// Gives up the data connections that have come to a stop though the receiver can be reached. Whether
    /// there were any.
    pub fn give_up_swallowed(&self) -> bool {
        let connections: Vec<Arc<DataConnection>> = self.all.lock().values().cloned().collect();
        let stopped: Vec<&Arc<DataConnection>> = connections
            .iter()
            .filter(|connection| !connection.is_closed() && connection.wire.swallowed().is_some())
            .collect();
        for connection in &stopped {
            tracing::info!("nothing of what data connection {} sends arrives", connection.number);
            self.failed(connection);
        }
        !stopped.is_empty()
    }

    /// Gives up the data connection that would hold up the end of a transfer whose chunks are all dealt, if
    /// there is one: see `straggler`. Whether there was.
    pub fn give_up_straggler(&self, now: Instant) -> bool {
        if !self.pulse.lock().is_steady(now) {
            return false;
        }
        let mut connections: Vec<Arc<DataConnection>> = self.all.lock().values().cloned().collect();
        connections.retain(|connection| !connection.is_closed());
        let speeds: Vec<Speed> = connections.iter().map(|connection| connection.speed(now)).collect();
        let Some((connection, speed)) =
            straggler(&speeds).and_then(|at| connections.get(at).zip(speeds.get(at)))
        else {
            return false;
        };
        let (number, backlog) = (connection.number, speed.backlog);
        tracing::info!("data connection {number} is slow; chunks on it that go another way: {backlog}");
        self.failed(connection);
        true
    }

    /// Ends all data connections under their workers.
    pub fn hang_up(&self) {
        self.all.lock().values().for_each(|connection| connection.hang_up());
    }

    pub fn confirmed(&self, number: u32, frames: u64) -> Result<(), PeerMisbehaved> {
        self.pulse.lock().beat(Instant::now());
        let connection = self.all.lock().get(&number).cloned();
        // It may be about one that was refused before it began.
        connection.map_or(Ok(()), |connection| connection.confirm(frames))
    }

    /// One has ended after the receiver had taken in so many frames. Returns the chunks on it that it had
    /// not.
    pub fn hung_up(&self, number: u32, frames: u64) -> Result<Unconfirmed, PeerMisbehaved> {
        let Some(connection) = self.all.lock().remove(&number) else { return Ok(Unconfirmed::new()) };
        let lost = connection.close(frames)?;
        tracing::info!("data connection {number} ended; chunks on it that go another way: {}", lost.len());
        self.changed.notify_one();
        Ok(lost)
    }
}

// The end of a transfer: all chunks are dealt, and one connection that is far slower than the others still
// has some. Sent again over the others they arrive sooner.

/// When the receiver has confirmed something, over whichever connection. Behind a silence of them all, as of a
/// network that has changed, each finds its speed anew, and none is slow yet.
#[derive(Default)]
struct Pulse {
    first_and_last: Option<(Instant, Instant)>,
    beats: u32,
    resumed: Option<Instant>,
}

/// A silence lasts so long, and so many times as long as it usually takes from one confirmation to the next.
const SILENCE: Duration = Duration::from_secs(1);
const SILENCE_FACTOR: u32 = 16;

/// For so long behind it no connection is judged.
const RECOVERY: Duration = Duration::from_secs(2);

impl Pulse {
    fn beat(&mut self, now: Instant) {
        let (first, last) = self.first_and_last.unwrap_or((now, now));
        let usual = last.duration_since(first) / self.beats.max(1);
        if now.saturating_duration_since(last) >= SILENCE.max(SILENCE_FACTOR * usual) {
            self.resumed = Some(now);
        }
        self.first_and_last = Some((first, now.max(last)));
        self.beats = self.beats.saturating_add(1);
    }

    fn is_steady(&self, now: Instant) -> bool {
        self.resumed.is_none_or(|at| now.saturating_duration_since(at) >= RECOVERY)
    }
}

/// How a connection is doing.
#[derive(Clone, Copy, Debug)]
pub struct Speed {
    /// Frames on it that the receiver has not confirmed.
    pub backlog: usize,
    /// Frames a second that it confirms.
    pub rate: f64,
}

impl Speed {
    fn time(&self, rate: f64) -> Duration {
        Duration::try_from_secs_f64(self.backlog as f64 / rate).unwrap_or(Duration::MAX)
    }
}

/// Which connection, if any, is worth giving up: what is on it would come much sooner over the others. Only
/// the slowest: once it is gone the others have its share of the way.
pub fn straggler(all: &[Speed]) -> Option<usize> {
    let slow = all.iter().enumerate().filter(|(_, this)| is_straggler(this, all));
    slow.max_by_key(|(_, this)| this.time(this.rate)).map(|(at, _)| at)
}

fn is_straggler(this: &Speed, all: &[Speed]) -> bool {
    let others = all.iter().map(|speed| speed.rate).sum::<f64>() - this.rate;
    if this.backlog == 0 || others <= 0.0 {
        return false;
    }
    let (stays, goes) = (this.time(this.rate), this.time(others));
    stays > goes.saturating_mul(STRAGGLER_FACTOR).saturating_add(STRAGGLER_PATIENCE)
}

#[cfg(test)]
#[path = "lanes_tests.rs"]
mod tests;

#[cfg(test)]
mod stragglers_tests {
    use super::*;

    fn judged(speeds: &[(usize, f64)]) -> Vec<bool> {
        let all: Vec<Speed> = speeds.iter().map(|&(backlog, rate)| Speed { backlog, rate }).collect();
        all.iter().map(|this| is_straggler(this, &all)).collect()
    }

    #[test]
    fn none_is_judged_behind_a_silence_of_all() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut pulse = Pulse::default();
        (0..100).for_each(|n| pulse.beat(at(10 * n)));
        assert!(pulse.is_steady(at(1000)));
        pulse.beat(at(3000));
        assert_eq!([3000, 4999, 5000].map(|now| pulse.is_steady(at(now))), [false, false, true]);
        // Where each confirmation takes a while anyway that is no silence.
        let mut slow = Pulse::default();
        (0..10).for_each(|n| slow.beat(at(1500 * n)));
        assert!(slow.is_steady(at(13_501)));
    }

    #[test]
    fn only_the_one_that_holds_the_others_up_is_given_up() {
        assert_eq!(judged(&[(2, 400.0), (3, 380.0), (20, 40.0)]), [false, false, true]);
        assert_eq!(judged(&[(20, 400.0), (20, 400.0), (20, 390.0)]), [false; 3]);
    }

    #[test]
    fn one_that_stands_still_is_given_up_and_the_only_one_that_moves_is_not() {
        assert_eq!(judged(&[(0, 100.0), (1, 0.0)]), [false, true]);
        assert_eq!(judged(&[(50, 1.0), (1, 0.0)]), [false, true]);
        assert_eq!(judged(&[(50, 1.0)]), [false]);
        assert_eq!(judged(&[(5, 0.0), (5, 0.0)]), [false, false]);
    }

    #[test]
    fn of_several_the_slowest_is_given_up_first() {
        let speed = |backlog, rate| Speed { backlog, rate };
        assert_eq!(straggler(&[speed(0, 400.0), speed(3, 4.0), speed(3, 2.0), speed(3, 4.0)]), Some(2));
        assert_eq!(straggler(&[speed(2, 400.0), speed(2, 400.0)]), None);
    }

    #[test]
    fn what_is_nearly_through_is_left_alone() {
        assert_eq!(judged(&[(0, 400.0), (4, 40.0)]), [false, false]);
    }
}
