//! The data connections of one session at the receiver: who may open one, and how far each has come.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Instant;

use parking_lot::Mutex;

use super::handshake::Refusal;
use super::queue::{Counted, Slot};
use crate::limits::{CONNECTION_NUMBERS_MAX, FORGED_IN_A_ROW_MAX, SURPLUS_GRACE};
use crate::os::threads;
use crate::session::End;
use crate::session::carrier::AnyLane;
use crate::session::link::{ConnectionHandle, Troubles};
use crate::session::receiver::Receiving;
use crate::wire::message::ReceiverMessage;
use crate::wire::seal::Opener;

/// The data connections of one session. Shared by its control connection and its threads.
#[derive(Default)]
pub(super) struct DataConnections {
    state: Mutex<State>,
}

/// What this machine has too little of.
fn here(error: io::Error) -> Refusal {
    Refusal::Here(format!("this machine cannot take one more data connection: {error}"))
}

#[derive(Default)]
struct State {
    /// The numbers that were used. None is used twice, also when its connection is gone: its keys would be
    /// used twice, and whoever recorded the connection could play it once more.
    used: Numbers,
    live: HashMap<u32, Live>,
    threads: Vec<JoinHandle<()>>,
    /// Connections that were tampered with, and how many of those in a row had brought nothing.
    forged: u32,
    forged_in_a_row: u32,
    /// Since when there are more than the session's share allows.
    too_many_since: Option<Instant>,
    closed: bool,
    /// What went wrong on those that have ended.
    troubles: Troubles,
}

/// Numbers of connections, a bit each: all that a session may use up are 8 KiB.
#[derive(Default)]
struct Numbers(Vec<u64>);

impl Numbers {
    /// Whether it was not there.
    fn insert(&mut self, number: u32) -> bool {
        let (word, bit) = ((number / 64) as usize, 1 << (number % 64));
        if self.0.len() <= word {
            self.0.resize(word + 1, 0);
        }
        self.0.get_mut(word).is_some_and(|word| {
            let new = *word & bit == 0;
            *word |= bit;
            new
        })
    }
}

struct Live {
    handle: Arc<dyn ConnectionHandle>,
    frames: Arc<AtomicU64>,
    /// What the sender was told last; nothing until it was told that the connection is here.
    told: Option<u64>,
}

impl DataConnections {
    /// Gives a connection that has proved that it belongs here a thread. `wanted` is how many the sender has
    /// asked for; the place says how many of them there may be now.
    pub fn start(
        self: &Arc<Self>,
        receiving: &Arc<Receiving>,
        lane: Box<dyn AnyLane>,
        number: u32,
        opener: Opener,
        wanted: u8,
        slot: &Arc<Slot>,
    ) -> Result<(), Refusal> {
        let handle = lane.handle().map_err(here)?;
        let frames = Arc::new(AtomicU64::new(0));
        let mut state = self.state.lock();
        if state.closed {
            return Err(Refusal::Late);
        }
        // Of one that does not read what it was told, none is taken: each would have more to be told.
        let allowed =
            state.live.len() < wanted.into() && number < CONNECTION_NUMBERS_MAX && receiving.has_room();
        if !allowed || !state.used.insert(number) {
            return Err(Refusal::NoSuchSession);
        }
        let Some(counted) = slot.open() else {
            drop(state);
            receiving.say(ReceiverMessage::HungUp { connection: number, frames: 0 });
            return Err(Refusal::Surplus);
        };
        let (connections, session, counter) = (self.clone(), receiving.clone(), frames.clone());
        let work = move || {
            let result = lane.receive_frames(&session, opener, &counter);
            connections.ended(&session, number, &counter, result, counted);
        };
        let builder = threads::worker("receive");
        state.threads.retain(|thread| !thread.is_finished());
        match builder.spawn(work) {
            Ok(thread) => {
                state.threads.push(thread);
                state.live.insert(number, Live { handle, frames, told: None });
                Ok(())
            }
            Err(error) => {
                drop(state);
                // Its number is used up: if the sender asks what became of it, it is not told any more.
                receiving.say(ReceiverMessage::HungUp { connection: number, frames: 0 });
                Err(here(error))
            }
        }
    }

    /// How many there are.
    pub fn live(&self) -> usize {
        self.state.lock().live.len()
    }

    /// A connection has ended. The network and whoever sits on it may end any; the sender deals the rest of
    /// its chunks again. What the sender itself did wrong, or what this machine cannot do, ends the session.
    fn ended(
        &self,
        receiving: &Receiving,
        number: u32,
        frames: &AtomicU64,
        result: Result<(), End>,
        counted: Counted,
    ) {
        match result {
            Ok(()) => {}
            Err(end @ End::Lost(_)) => tracing::debug!("data connection {number}: {end}"),
            Err(end @ End::Forged(_)) => {
                if self.forged(number, frames.load(Ordering::Acquire), &end) >= FORGED_IN_A_ROW_MAX {
                    return receiving.ending().decide(end);
                }
            }
            Err(end) => return receiving.ending().decide(end),
        }
        {
            let mut state = self.state.lock();
            if let Some(live) = state.live.remove(&number) {
                state.troubles = state.troubles.plus(live.handle.troubles());
                live.handle.hang_up();
            }
        }
        // Before the sender hears of it, and may open another one.
        drop(counted);
        receiving.say(ReceiverMessage::HungUp { connection: number, frames: frames.load(Ordering::Acquire) });
    }

    /// Counts a connection that was tampered with. Returns how many there were in a row that had brought
    /// nothing.
    fn forged(&self, number: u32, frames: u64, end: &End) -> u32 {
        let mut state = self.state.lock();
        state.forged = state.forged.saturating_add(1);
        state.forged_in_a_row = if frames == 0 { state.forged_in_a_row + 1 } else { 0 };
        // Whoever sits on the network decides how many there are, and must not fill the log.
        if state.forged <= FORGED_IN_A_ROW_MAX {
            tracing::warn!("data connection {number}: {end}; it is closed");
        } else {
            tracing::debug!("data connection {number}: {end}; it is closed");
        }
        state.forged_in_a_row
    }

    /// The sender gives a connection up, one that may not even have come here. Its thread says how far it
    /// came.
    pub fn hang_up(&self, receiving: &Receiving, number: u32) {
        let mut state = self.state.lock();
        if let Some(live) = state.live.get(&number) {
            live.handle.hang_up();
            return;
        }
        // Answered once: what ended by itself was told then.
        let first = number < CONNECTION_NUMBERS_MAX && state.used.insert(number);
        drop(state);
        if first {
            receiving.say(ReceiverMessage::HungUp { connection: number, frames: 0 });
        }
    }

    /// Ends those that are more than `allowed`, the youngest first, where the sender has not done so for
    /// [`SURPLUS_GRACE`].
    pub fn trim(&self, allowed: u8, now: Instant) {
        let mut state = self.state.lock();
        let surplus = state.live.len().saturating_sub(allowed.into());
        if surplus == 0 {
            state.too_many_since = None;
            return;
        }
        let since = *state.too_many_since.get_or_insert(now);
        if now.saturating_duration_since(since) >= SURPLUS_GRACE {
            let mut numbers: Vec<u32> = state.live.keys().copied().collect();
            numbers.sort_unstable_by_key(|number| Reverse(*number));
            for live in numbers.iter().take(surplus).filter_map(|number| state.live.get(number)) {
                live.handle.hang_up();
            }
        }
    }

    /// What the sender has not been told of yet.
    pub fn news(&self) -> Vec<ReceiverMessage> {
        let mut news = Vec::new();
        for (&connection, live) in &mut self.state.lock().live {
            let frames = live.frames.load(Ordering::Acquire);
            if live.told.replace(frames) != Some(frames) {
                news.push(ReceiverMessage::Confirmed { connection, frames });
            }
        }
        news
    }

    /// What went wrong on all there were.
    pub fn troubles(&self) -> Troubles {
        let state = self.state.lock();
        state.live.values().fold(state.troubles, |sum, live| sum.plus(live.handle.troubles()))
    }

    /// Ends all of them and hands out their threads.
    pub fn close(&self) -> Vec<JoinHandle<()>> {
        let mut state = self.state.lock();
        state.closed = true;
        for live in state.live.values() {
            live.handle.hang_up();
        }
        std::mem::take(&mut state.threads)
    }
}
