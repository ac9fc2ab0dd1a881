//! Clocks for the threads that move chunks: each knows what it does at a moment, so that in the end somebody can say what
//! the transfer was waiting for.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::limits::STAGES_TOLD_EVERY;
use crate::protocol::spent::{Busy, STAGES, Spent, Stage};

/// The time of all threads of one end of a session.
#[derive(Debug, Default)]
pub struct Stages {
    nanos: [AtomicU64; STAGES],
}

impl Stages {
    pub fn spent(&self, busy: Option<Busy>) -> Spent {
        Spent { nanos: std::array::from_fn(|n| self.nanos[n].load(Ordering::Relaxed)), busy }
    }
}

/// The clock of one thread. It reads the time once for each change of stage, and tells the others only now and then.
pub(super) struct Clock<'a> {
    stages: &'a Stages,
    own: [u64; STAGES],
    doing: Stage,
    since: Instant,
    told: Instant,
}

impl<'a> Clock<'a> {
    pub fn new(stages: &'a Stages, doing: Stage) -> Clock<'a> {
        let now = Instant::now();
        Clock { stages, own: [0; STAGES], doing, since: now, told: now }
    }

    /// From now on the thread does something else.
    pub fn turn_to(&mut self, stage: Stage) {
        let now = Instant::now();
        self.own[self.doing as usize] += nanos(now.duration_since(self.since));
        (self.doing, self.since) = (stage, now);
        if now.duration_since(self.told) >= STAGES_TOLD_EVERY {
            self.told = now;
            self.tell();
        }
    }

    fn tell(&mut self) {
        for (all, own) in self.stages.nanos.iter().zip(&mut self.own) {
            if *own > 0 {
                all.fetch_add(std::mem::take(own), Ordering::Relaxed);
            }
        }
    }
}

impl Drop for Clock<'_> {
    fn drop(&mut self) {
        self.turn_to(self.doing);
        self.tell();
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
