//! How many data connections a transfer has: few at first, and more for as long as they really make it
//! faster.
//!
//! More connections help where each has a window of its own that loss or a long round trip keeps small, and
//! cost where a disk or a CPU is the limit. Which it is shows in the rate alone: it is measured, then twice
//! as many connections are tried, and those are kept only if it rose. After a try that brought nothing the
//! next one waits, each time longer.

use std::time::{Duration, Instant};

use crate::limits::{CLIMB_MEASURE, CLIMB_PAUSE_FIRST, CLIMB_PAUSE_MAX};

/// How long new data connections may take to come up to their speed before it is measured.
const CLIMB_SETTLE: Duration = Duration::from_millis(200);

/// How much faster twice the connections must be to be kept: what a busy machine's rates vary by.
const CLIMB_GAIN: f64 = 1.05;

/// Finds out how many connections are worth having.
#[derive(Debug)]
pub struct Climb {
    most: u8,
    now: u8,
    phase: Phase,
    /// How many there were before those that are being tried, and their rate in bytes a second.
    before: Option<(u8, f64)>,
    pause: Duration,
}

#[derive(Debug)]
enum Phase {
    /// New connections come up to their speed, and buffers fill.
    Settle {
        until: Instant,
    },
    Measure {
        since: Instant,
        bytes: u64,
    },
    Rest {
        until: Instant,
    },
}

impl Climb {
    /// Begins with `first` connections and never goes beyond `most`.
    pub fn new(first: u8, most: u8, now: Instant) -> Climb {
        let phase = Phase::Settle { until: now + CLIMB_SETTLE };
        Climb { most, now: first.min(most), phase, before: None, pause: CLIMB_PAUSE_FIRST }
    }

    /// How many connections there should be.
    pub fn now(&self) -> u8 {
        self.now
    }

    /// Whether nothing is measured or tried at present.
    pub fn rests(&self) -> bool {
        matches!(self.phase, Phase::Rest { .. })
    }

    /// To be called now and then with the bytes sent so far. `busy`: the CPUs of this machine have no rest,
    /// so that more threads cannot help.
    pub fn step(&mut self, bytes: u64, busy: bool, now: Instant) {
        match self.phase {
            Phase::Settle { until } | Phase::Rest { until } if now >= until => {
                self.phase = Phase::Measure { since: now, bytes };
            }
            Phase::Measure { since, bytes: before } if now.duration_since(since) >= CLIMB_MEASURE => {
                let rate = bytes.saturating_sub(before) as f64 / now.duration_since(since).as_secs_f64();
                self.measured(rate, busy, now);
            }
            _ => {}
        }
    }

    fn measured(&mut self, rate: f64, busy: bool, now: Instant) {
        match self.before.take() {
            Some((fewer, slower)) if rate < slower * CLIMB_GAIN => {
                self.now = fewer;
                self.rest(now);
            }
            Some(_) => {
                self.pause = CLIMB_PAUSE_FIRST;
                self.try_more(rate, busy, now);
            }
            None => self.try_more(rate, busy, now),
        }
    }

    fn try_more(&mut self, rate: f64, busy: bool, now: Instant) {
        // Nothing is being sent: that is not for want of connections.
        if busy || rate == 0.0 || self.now == self.most {
            return self.rest(now);
        }
        self.before = Some((self.now, rate));
        self.now = self.most.min(self.now.saturating_mul(2));
        self.phase = Phase::Settle { until: now + CLIMB_SETTLE };
    }

    fn rest(&mut self, now: Instant) {
        self.phase = Phase::Rest { until: now + self.pause };
        self.pause = CLIMB_PAUSE_MAX.min(2 * self.pause);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs a climb for a minute against a path on which so many connections have `rate`. Returns the numbers
    /// it had.
    fn climbed(first: u8, most: u8, busy: bool, rate: impl Fn(u8) -> f64) -> Vec<u8> {
        let start = Instant::now();
        let mut climb = Climb::new(first, most, start);
        let (mut bytes, mut seen) = (0.0, vec![first]);
        for tick in 1..600 {
            bytes += rate(climb.now()) / 10.0;
            climb.step(bytes as u64, busy, start + Duration::from_millis(100) * tick);
            if seen.last() != Some(&climb.now()) {
                seen.push(climb.now());
            }
        }
        seen
    }

    #[test]
    fn goes_up_as_long_as_that_helps() {
        assert_eq!(climbed(1, 8, false, |n| 1e6 * f64::from(n)), [1, 2, 4, 8]);
        assert_eq!(climbed(2, 6, false, |n| 1e6 * f64::from(n)), [2, 4, 6]);
    }

    #[test]
    fn goes_back_where_it_brought_nothing_and_tries_again_ever_more_rarely() {
        let seen = climbed(2, 8, false, |_| 1e8);
        assert_eq!(seen[..4], [2, 4, 2, 4]);
        assert!(seen.len() <= 13, "{seen:?}");
        let seen = climbed(2, 8, false, |n| if n <= 4 { 1e6 * f64::from(n) } else { 3e6 });
        assert_eq!(seen[..5], [2, 4, 8, 4, 8]);
    }

    #[test]
    fn stays_where_the_cpus_have_no_rest_or_nothing_is_sent() {
        assert_eq!(climbed(2, 8, true, |n| 1e6 * f64::from(n)), [2]);
        assert_eq!(climbed(2, 8, false, |_| 0.0), [2]);
    }

    #[test]
    fn a_fixed_number_stays_fixed() {
        for n in [1, 5, 16] {
            assert_eq!(climbed(n, n, false, |n| 1e6 * f64::from(n)), [n]);
        }
        assert_eq!(Climb::new(4, 2, Instant::now()).now(), 2);
    }
}
