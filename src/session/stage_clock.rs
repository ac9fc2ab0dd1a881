//! Clocks for the threads that move chunks: each knows what it does at a moment, so that in the end somebody
//! can say what the transfer was waiting for.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::os::cpu::CpuShares;
use crate::wire::stage_times::{Busy, STAGES, Spent, Stage};

/// Nanoseconds in each stage.
type Times = [AtomicU64; STAGES];

/// The time of all threads of one end of a session.
#[derive(Debug, Default)]
pub struct Stages {
    threads: Mutex<Threads>,
}

#[derive(Debug, Default)]
struct Threads {
    running: Vec<Arc<Times>>,
    /// Of those that have ended.
    ended: [u64; STAGES],
}

impl Stages {
    pub fn spent(&self, busy: Option<CpuShares>) -> Spent {
        let threads = self.threads.lock();
        let nanos = std::array::from_fn(|n| {
            let running = threads.running.iter().map(|times| times[n].load(Ordering::Relaxed));
            running.fold(threads.ended[n], u64::saturating_add)
        });
        Spent { nanos, busy: busy.map(|CpuShares { machine, own }| Busy { machine, own }) }
    }
}

/// The clock of one thread. It reads the time once for each change of stage, and writes to memory that is its
/// own: anybody may look at any moment, and no thread waits for another.
pub(super) struct Clock<'a> {
    stages: &'a Stages,
    own: Arc<Times>,
    doing: Stage,
    since: Instant,
}

impl<'a> Clock<'a> {
    pub fn new(stages: &'a Stages, doing: Stage) -> Clock<'a> {
        let own = Arc::new(Times::default());
        stages.threads.lock().running.push(Arc::clone(&own));
        Clock { stages, own, doing, since: Instant::now() }
    }

    /// From now on the thread does something else.
    pub fn turn_to(&mut self, stage: Stage) {
        let now = Instant::now();
        let time = &self.own[self.doing as usize];
        let spent = time.load(Ordering::Relaxed).saturating_add(nanos(now.duration_since(self.since)));
        // Nobody else writes it.
        time.store(spent, Ordering::Relaxed);
        (self.doing, self.since) = (stage, now);
    }

    /// So much of the time that counted as `from` belongs to `to`.
    pub fn reckon(&self, time: Duration, from: Stage, to: Stage) {
        let time = nanos(time).min(self.own[from as usize].load(Ordering::Relaxed));
        for (stage, spent) in [(from, time.wrapping_neg()), (to, time)] {
            // Nobody else writes it.
            self.own[stage as usize].fetch_add(spent, Ordering::Relaxed);
        }
    }

    /// Counts what it does as far as it has come, for those who look before it turns to something else.
    pub fn count(&mut self) {
        self.turn_to(self.doing);
    }
}

impl Drop for Clock<'_> {
    fn drop(&mut self) {
        self.count();
        let mut threads = self.stages.threads.lock();
        threads.running.retain(|times| !Arc::ptr_eq(times, &self.own));
        for (all, own) in threads.ended.iter_mut().zip(self.own.iter()) {
            *all = all.saturating_add(own.load(Ordering::Relaxed));
        }
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
