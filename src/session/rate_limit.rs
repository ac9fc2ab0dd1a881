//! `--limit`: how fast chunks may be sent, all connections to all receivers together, or received, from all
//! senders together.

use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::{Clock, MonotonicClock};
use governor::middleware::NoOpMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};

use crate::limits::{CHUNK_BYTES, PACE_BURST};

/// What a limited rate is counted in, in bytes: fine enough for 2 % at the lowest rate, coarse enough for 32
/// bits at the highest.
const PACE_UNIT_BYTES: u64 = 1024;

type Limiter = RateLimiter<NotKeyed, InMemoryState, MonotonicClock, NoOpMiddleware<std::time::Instant>>;

/// A bucket that fills at the rate (the generic cell rate algorithm of ITU-T I.371, by the crate governor),
/// and that all connections take from before they send. What a connection may send it sends at once; the
/// kernel spreads it, as the transport tells it to.
#[derive(Debug)]
pub struct Pace {
    bucket: Limiter,
    /// Bytes a second.
    rate: u64,
    clock: MonotonicClock,
}

impl Pace {
    /// `rate` in bytes a second.
    pub fn new(rate: u64) -> Pace {
        let units =
            |bytes: u64| NonZeroU32::new(u32::try_from(bytes.div_ceil(PACE_UNIT_BYTES)).unwrap_or(u32::MAX));
        // Room for a chunk with its frame, and for as long as a thread may oversleep.
        let burst = (2 * CHUNK_BYTES as u64).max(rate.saturating_mul(PACE_BURST.as_millis() as u64) / 1000);
        let quota = Quota::per_second(units(rate).unwrap_or(NonZeroU32::MIN));
        let burst = units(burst).unwrap_or(NonZeroU32::MIN);
        let clock = MonotonicClock;
        let bucket = RateLimiter::direct_with_clock(quota.allow_burst(burst), clock.clone());
        // It begins empty: over ten seconds nobody is to see more than the rate.
        let _ = bucket.check_n(burst);
        Pace { bucket, rate, clock }
    }

    /// Bytes a second.
    pub fn rate(&self) -> u64 {
        self.rate
    }

    /// Takes the right to send so many bytes. Returns how long to wait before asking again where it cannot be
    /// had yet.
    pub fn take(&self, bytes: u64) -> Option<Duration> {
        let units = bytes.div_ceil(PACE_UNIT_BYTES);
        let units = u32::try_from(units).ok().and_then(NonZeroU32::new)?;
        match self.bucket.check_n(units) {
            Ok(Err(not_until)) => Some(not_until.wait_time_from(self.clock.now())),
            // More than the bucket ever holds cannot be: it has room for two chunks.
            Ok(Ok(())) | Err(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn begins_empty_and_says_when_there_is_enough() {
        let pace = Pace::new(10_000_000);
        let wait = pace.take(CHUNK_BYTES as u64).unwrap();
        let expected = Duration::from_secs_f64(CHUNK_BYTES as f64 / 10_000_000.0);
        assert!(wait <= expected && wait >= expected / 2, "{wait:?} and not about {expected:?}");
    }

    #[test]
    fn a_chunk_can_be_had_at_any_rate() {
        for rate in [crate::limits::LIMIT_MIN, 1 << 20, 1 << 30, u64::MAX] {
            let pace = Pace::new(rate);
            let wait = pace.take(CHUNK_BYTES as u64 + 100).unwrap_or_default();
            assert!(wait <= Duration::from_secs(5), "{wait:?} at {rate} bytes a second");
        }
    }
}
