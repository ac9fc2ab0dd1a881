//! What a receiver counts for whoever watches it from outside. Nothing is counted twice for that: sums are
//! taken, when somebody asks, from what the sessions under way know of themselves, and kept of those that
//! have ended.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;

use super::handshake::Reason;
use super::queue::Admission;
use super::session::Session;
use crate::session::Progress;
use crate::session::link::Troubles;
use crate::wire::message::SessionId;
use crate::wire::stage_times::STAGES;

/// Sums over all transfers, those under way included. They only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    /// Bytes that crossed the network and were written, and those that were there already.
    pub written: u64,
    pub kept: u64,
    /// Bytes of the frames that brought them.
    pub wire: u64,
    /// Nanoseconds of all threads in each [`Stage`](crate::wire::stage_times::Stage).
    pub nanos: [u64; STAGES],
    pub troubles: Troubles,
}

/// What is there at this moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Present {
    pub sessions: usize,
    /// Senders that wait for their turn.
    pub waiting: usize,
    pub data_connections: usize,
}

/// The books of one receiver.
#[derive(Default)]
pub struct Ledger {
    sessions: Mutex<Sessions>,
    refused: [AtomicU64; Reason::ALL.len()],
    admission: OnceLock<Arc<Admission>>,
}

#[derive(Default)]
struct Sessions {
    /// Of sessions that have ended.
    past: Sums,
    live: HashMap<SessionId, Arc<Session>>,
}

impl Ledger {
    /// All that was counted up to now, and what is there.
    pub fn read(&self) -> (Sums, Present) {
        let sessions = self.sessions.lock();
        let sums = sessions.live.values().fold(sessions.past, |sums, session| sums.plus(Sums::of(session)));
        let present = Present {
            sessions: sessions.live.len(),
            waiting: self.admission.get().map_or(0, |admission| admission.waiting()),
            data_connections: sessions.live.values().map(|session| session.data_connections()).sum(),
        };
        (sums, present)
    }

    pub fn refused(&self, reason: Reason) -> u64 {
        self.refused.get(reason as usize).map_or(0, |count| count.load(Ordering::Relaxed))
    }

    pub(super) fn open(&self, admission: &Arc<Admission>) {
        // A ledger is one receiver's; of a second one its queue would not be counted.
        let _ = self.admission.set(admission.clone());
    }

    pub(super) fn began(&self, id: SessionId, session: &Arc<Session>) {
        self.sessions.lock().live.insert(id, session.clone());
    }

    /// Its threads have ended, so that its numbers are final.
    pub(super) fn ended(&self, id: SessionId) {
        let mut sessions = self.sessions.lock();
        if let Some(session) = sessions.live.remove(&id) {
            sessions.past = sessions.past.plus(Sums::of(&session));
        }
    }

    pub(super) fn refuse(&self, reason: Reason) {
        if let Some(count) = self.refused.get(reason as usize) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Sums {
    /// Of a session that only measures nothing counts but what went wrong on the way.
    fn of(session: &Session) -> Sums {
        let troubles = session.troubles();
        let receiving = &session.receiving;
        if receiving.measures() {
            return Sums { troubles, ..Sums::default() };
        }
        Sums {
            written: Progress::get(&receiving.progress().written),
            kept: Progress::get(&receiving.progress().kept),
            wire: Progress::get(&receiving.progress().wire),
            nanos: receiving.spent(None).nanos,
            troubles,
        }
    }

    fn plus(self, other: Sums) -> Sums {
        Sums {
            written: self.written.saturating_add(other.written),
            kept: self.kept.saturating_add(other.kept),
            wire: self.wire.saturating_add(other.wire),
            nanos: std::array::from_fn(|n| self.nanos[n].saturating_add(other.nanos[n])),
            troubles: self.troubles.plus(other.troubles),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_its_own_place_and_label() {
        for (at, reason) in Reason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, at, "{reason:?}");
            assert!(Reason::ALL.iter().filter(|other| other.name() == reason.name()).count() == 1);
        }
    }
}
