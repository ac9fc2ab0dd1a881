//! A clock that goes on while the machine sleeps, as whoever is not asleep does.

use std::time::Duration;

use rustix::time::{ClockId, Timespec, clock_gettime};

/// That of macOS goes on by itself.
#[cfg(target_os = "linux")]
const CLOCK: ClockId = ClockId::Boottime;
#[cfg(not(target_os = "linux"))]
const CLOCK: ClockId = ClockId::Monotonic;

/// A moment of this run of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment(Timespec);

impl Moment {
    #[must_use]
    pub fn now() -> Moment {
        Moment(clock_gettime(CLOCK))
    }

    /// That which was so long ago.
    #[must_use]
    pub fn before(age: Duration) -> Moment {
        let Moment(mut time) = Moment::now();
        let (seconds, nanos) = (i64::try_from(age.as_secs()), i64::from(age.subsec_nanos()));
        time.tv_sec = time.tv_sec.saturating_sub(seconds.unwrap_or(i64::MAX));
        time.tv_nsec -= nanos;
        if time.tv_nsec < 0 {
            time.tv_nsec += 1_000_000_000;
            time.tv_sec = time.tv_sec.saturating_sub(1);
        }
        Moment(time)
    }

    /// How long ago it was.
    #[must_use]
    pub fn elapsed(self) -> Duration {
        let Moment(now) = Moment::now();
        let nanos = |time: Timespec| i128::from(time.tv_sec) * 1_000_000_000 + i128::from(time.tv_nsec);
        let passed = u64::try_from(nanos(now) - nanos(self.0));
        passed.map_or(Duration::ZERO, Duration::from_nanos)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_passes() {
        let moment = Moment::now();
        let before = moment.elapsed();
        while moment.elapsed() == before {}
        assert!(moment.elapsed() > before);
        let age = Duration::from_millis(86_400_999);
        let since = Moment::before(age).elapsed();
        assert!(since >= age && since < age + Duration::from_secs(60), "{since:?}");
    }
}
