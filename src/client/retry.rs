//! When a receiver that was lost is looked for again, and when no more.

use std::time::Duration;

use tokio::time::Instant;

use crate::limits::{RETRY_PAUSE_FIRST, RETRY_PAUSE_MAX};

/// How long and how often a lost receiver is looked for.
pub(super) struct RetryClock {
    retry_for: Duration,
    /// Since when nothing has arrived, and how much had arrived by then; nothing before the first loss.
    since: Instant,
    arrived: Option<u64>,
    pause: Duration,
}

impl RetryClock {
    pub fn new(retry_for: Duration) -> RetryClock {
        RetryClock { retry_for, since: Instant::now(), arrived: None, pause: RETRY_PAUSE_FIRST }
    }

    /// A session was lost. Only one that brought something starts the clock anew: otherwise a receiver that
    /// dies each time would be looked for without end.
    pub fn lost(&mut self, arrived: u64) {
        if self.arrived.is_none_or(|before| arrived > before) {
            *self = RetryClock { arrived: Some(arrived), ..RetryClock::new(self.retry_for) };
        }
    }

    /// The pause before the next try; `None` once the time is up.
    pub fn pause(&mut self) -> Option<Duration> {
        if self.since.elapsed() >= self.retry_for {
            return None;
        }
        let mut random = [0; 2];
        // Without random numbers the pause is merely not spread.
        let _ = getrandom::fill(&mut random);
        let pause =
            self.pause.mul_f64(0.5 + f64::from(u16::from_le_bytes(random)) / f64::from(u16::MAX) / 2.0);
        self.pause = RETRY_PAUSE_MAX.min(2 * self.pause);
        Some(pause.min(self.retry_for.saturating_sub(self.since.elapsed())))
    }
}
