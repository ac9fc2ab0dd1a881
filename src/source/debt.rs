//! How long others have waited for one reader of a shared source, and how much longer they may.

use std::time::{Duration, Instant};

use crate::limits::{SHARED_WAIT_MAX, SHARED_WAIT_PART};

/// Waiting is forgotten in [`SHARED_WAIT_PART`] times the time it took.
#[derive(Default)]
pub(super) struct Debt {
    /// When what others have waited will be forgotten.
    settled_at: Option<Instant>,
    /// Up to when waiting was counted: threads that wait together wait once.
    counted_to: Option<Instant>,
}

impl Debt {
    /// How much longer others may wait.
    pub fn credit(&self, now: Instant) -> Duration {
        let debt = self.settled_at.map_or(Duration::ZERO, |at| at.saturating_duration_since(now));
        SHARED_WAIT_MAX.saturating_sub(debt / SHARED_WAIT_PART)
    }

    /// Somebody waited from `since` to `now`.
    pub fn add(&mut self, since: Instant, now: Instant) {
        let from = self.counted_to.map_or(since, |to| to.max(since));
        let time = now.saturating_duration_since(from) * SHARED_WAIT_PART;
        self.counted_to = Some(now);
        self.settled_at = Some(self.settled_at.map_or(now, |at| at.max(now)) + time);
    }
}
